"""One integer rule for the queue length of a shared engine, to be followed line by line in C.

Whole numbers only, signed 64-bit throughout: multiplications, divisions, an integer square root, a bit length. Where
the numbers come from is in `closed_forms.py`; here they are rounded to what a block layer can count.

    a         = rate · latency                        slots in use when nothing waits (Little's law)
    need      = ⌈a⌉ + ⌊√a⌋/2                          one device
              + slope · (G − 1) + 3                   one line before G devices: 5 % loss
    slope     = 19 √K / (√K + 10)                     rings of K: 19 as K → ∞, about 12 at 256
    tail(m)   = latency · (ln m + 4.6)                the longest of m services, with probability 99 %
    drained   in budget D with probability 99 %, c = a/G slots busy at each device:
                M = c + (rate/G) · (D − tail(c)),     or e^{D/latency − 4.6} if D < tail(c)
                one device: M
                several: all rings if M >= K, else the largest of three that are each enough
                    M                                 all of it at one device
                    G · (M − z √K)                    spread like a normal law of variance K, z = 2.4 + 0.2 log2 G
                    G · ((rate/G) · D/(ln G + 4.6) − 1)  spread like a geometric law (K large)
    Q         = min(need, drained, rings), at least 1

The latency is that of a request at the device when nothing waits there (as the least of recent means), the rate is
completions a second at full load. The drain goes first: where both cannot be met, loss is what gives.

Against the optimum for 5 % loss over the grid of `validation/sizing.py` (528 cases, 513 of them feasible: exponential
service, rings of 64 and 256, 1 to 64 disks, one shared device of 1 to 64 servers under open, closed and saturated
guests, or saturated devices of 1 and 4 servers behind one line; no budget, 10 and 50 ms at 1 ms of service):
throughput is more than a point below the 5 % in one case, by 8.9 % (four devices of four servers, where no Q but 37
and 38 meets both limits); the drain is longer than the optimum's by at most 9.1 %; a budget of 10 ms that some Q
meets is missed in 6 of 352 cases, by at most 18 %, all with a device for each disk. One line before devices that are
not saturated, bursts and other service laws were not measured.
"""

from __future__ import annotations

from math import isqrt

from qtheory.arguments import count

BILLION = 1_000_000_000


def integer_rule(
    *, ring_sizes: int, disks: int, devices: int, latency_ns: int, rate: int, budget_ns: int | None = None
) -> int:
    """Queue length by whole numbers alone.

    Parameters
    ----------
    ring_sizes : int
        Sum of the sizes of all rings.
    disks : int
        Number of disks.
    devices : int
        Number of devices below: 1 when one is shared, `disks` when each has its own.
    latency_ns, rate : int
        Mean latency of a request that does not wait [ns], completions a second over all disks.
    budget_ns : int, optional
        What a drain may take with probability 99 % [ns].

    Raises ValueError when one is not a whole number of at least 1.

    Examples
    --------
    Sixteen disks with a device each; then one shared device of four servers, 1 ms, and 10 ms to drain.

    >>> integer_rule(ring_sizes=16 * 256, disks=16, devices=16, latency_ns=1_000_000, rate=16_000)
    196
    >>> integer_rule(ring_sizes=4 * 256, disks=4, devices=1, latency_ns=1_000_000, rate=4_000, budget_ns=10_000_000)
    5
    """
    rings, n, g = count("ring_sizes", ring_sizes), count("disks", disks), count("devices", devices)
    latency, x = count("latency_ns", latency_ns), count("rate", rate)
    used = max((x * latency + BILLION - 1) // BILLION, 1)
    ring = rings // n
    root = isqrt(ring)
    need = used + isqrt(used) // 2
    if g > 1:
        need += 19 * root * (g - 1) // (root + 10) + 3
    drained = rings
    if budget_ns is not None:
        budget = count("budget_ns", budget_ns)
        at_one = _drained(max(used // g, 1), latency, x // g, budget)
        if g == 1:
            drained = at_one
        elif at_one < ring:
            normal = g * (10 * at_one - (24 + 2 * (g.bit_length() - 1)) * root) // 10
            geometric = 10 * x * budget // (BILLION * _tenths(g)) - g
            drained = max(at_one, normal, geometric)
    return max(min(need, drained, rings), 1)


def _drained(used: int, latency: int, rate: int, budget: int) -> int:
    """Most requests at a device with `used` slots busy that are drained within the budget."""
    tail = latency * _tenths(used) // 10
    if budget >= tail:
        return used + rate * (budget - tail) // BILLION
    sevenths = 10 * budget // latency
    return 0 if sevenths < 46 else 1 << ((sevenths - 46) // 7)


def _tenths(m: int) -> int:
    """10 (ln m + 4.6), the 99 % quantile of the longest of m exponential times of mean 1; ln 2 is taken as 0.7."""
    return 46 + 7 * (m.bit_length() - 1)
