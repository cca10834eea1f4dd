"""One integer rule for the queue length of a shared engine, to be followed line by line in C.

Whole numbers only, signed 64-bit throughout: multiplications, divisions, an integer square root, a bit length
(`validation/integer_rule.c` is the same in C, and the tests compare the two). Where the numbers come from is in
`closed_forms.py`; here they are rounded to what a block layer can count.

    a         = rate · latency                    slots in use when nothing waits (Little's law), at most the rings
    need      = ⌈a⌉ + ⌊√a⌋/3                      one device
              = 0.95 a + slope · (G − 1) + 3 + E  one line before G devices of c = a/G: 5 % loss
    slope     = 19 √K / (√K + 10 + 2(c − 1)/3)    K the smallest ring: 19 as K → ∞, about 12 at 256
    E         = rings − N K                       what the other rings have more
    drained   in budget D with probability 99 %, L = log2 G, counted in whole doublings:
                at one device      M(0), all of it there
                spread over G      the larger of
                                     G · M(v)                               like a normal law, by the rings' ends
                                     √(M(0)² + (rate · D/(ln G + 4.6) − G)²)  like a geometric law, few of many
                at most e^{D/latency − 4.6}, if that is below a: the longest of so many services alone takes D
    M(v)      = c + R + z²/2 − √(z² (R + v) + z⁴/4 + (16 + 3 L) c²),    R = c (D/latency − ln c − 0.6)
    Q         = min(need, drained, rings), at least 1

M solves k + √(z² (k + v) + (16 + 3 L) c²) = R for k = M − c, the requests that a device completes before its last c:
their number must exceed k by z = 2.4 + 0.2 L standard deviations, where v is the variance of their
number at a device; the term with c² is the tail of the last c services.

Behind one line before saturated devices the numbers left in the rings, K_i − n_i, are independent Poisson variables of
one mean x, cut off at K_i, given their sum: the weights y^n K!/(K − n)! of `closed_forms.py` are x^w/w! in w = K − n,
x = 1/y. So every ring keeps the same x, and a device idles when its whole ring is left there (Erlang's loss formula for
K_i servers and the load x). The smallest ring decides how large x may be, and those that have more than it have all of
that at their devices: E. The number at a device varies as what is left in its ring, so v = (1 − 1/G) x, where
x = K − M for the largest ring K, in two rounds from x = K. If rings differ, there are taken to be two sizes, of which

    G' = G (rings − N smallest) / (N (largest − smallest))

devices have the largest. They stand for G above, and the others have M − (largest − smallest), if more than none.

The latency is that of a request at the device when nothing waits there (as the least of recent means), the rate is
completions a second at full load. The drain goes first: where both cannot be met, loss is what gives.

Against the optimum for 5 % loss over the grid of `validation/sizing.py` (1 to 64 disks with rings of 64 and 256; one
shared device of 1 to 64 servers under open guests at loads of 0.5 to 1.2, closed and saturated ones, also with rings of
32 and 256 together and with hyperexponential (scv 4), lognormal (scv 2) and constant service; saturated devices of 1, 4
and 16 servers behind one line, also with rings of 64 and 256, a quarter to three quarters of them deep; no budget, 10
and 50 ms, before unlike rings 250 ms as well, at 1 ms of service): 907 cases, of which 847 have an optimum. Throughput
is at most 1.7 % of all below the 5 %, the drain at most 4.6 % longer than the optimum's, before unlike rings 9.1 %, and
a budget that some Q meets is missed by at most 3.6 %.

Outside that: the rule lets no disk lose much more than 5 %, so where a few of many disks behind one line have small
rings, it is far longer than the loss of the sum needs (one ring of 64 among fifteen of 256: 3025 slots against 420, by
which the one would lose 72 %): only dividing the queue helps. Three sizes of rings, most of them between the ends, may
miss a budget. One line before devices that are not saturated, and bursts, were not measured.
Nothing overflows up to 2^20 ring slots, 10^7 completions a second, latencies of 10 s and budgets of 100 s; the
largest number on the way is `rate · budget`, 10^18.
"""

from __future__ import annotations

from math import isqrt

from qtheory.arguments import count

BILLION = 1_000_000_000


def integer_rule(
    *,
    ring_sizes: int,
    disks: int,
    devices: int,
    latency_ns: int,
    rate: int,
    budget_ns: int | None = None,
    smallest_ring: int | None = None,
    largest_ring: int | None = None,
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
    smallest_ring, largest_ring : int, optional
        Sizes of these; None: that of the mean ring.

    Raises ValueError when one is not a whole number of at least 1, or the mean ring is not between those two.

    Examples
    --------
    Sixteen disks with a device each, all rings of 256, then half of them of 64; then one shared device of four servers,
    1 ms, and 10 ms to drain.

    >>> integer_rule(ring_sizes=16 * 256, disks=16, devices=16, latency_ns=1_000_000, rate=16_000)
    194
    >>> integer_rule(ring_sizes=8 * (64 + 256), disks=16, devices=16, latency_ns=1_000_000, rate=16_000,
    ...              smallest_ring=64, largest_ring=256)
    1681
    >>> integer_rule(ring_sizes=4 * 256, disks=4, devices=1, latency_ns=1_000_000, rate=4_000, budget_ns=10_000_000)
    4
    """
    rings, n, g = count("ring_sizes", ring_sizes), count("disks", disks), count("devices", devices)
    latency, x = count("latency_ns", latency_ns), count("rate", rate)
    small = rings // n if smallest_ring is None else count("smallest_ring", smallest_ring)
    large = max(rings // n, small) if largest_ring is None else count("largest_ring", largest_ring)
    if small * n > rings:
        raise ValueError(f"smallest_ring must be at most ring_sizes / disks, not {smallest_ring!r}")
    if large < rings // n:
        raise ValueError(f"largest_ring must be at least ring_sizes / disks, not {largest_ring!r}")
    used = min(max((x * latency + BILLION - 1) // BILLION, 1), rings)
    c = max(used // g, 1)
    extra, apart = rings - n * small, large - small
    need = used + isqrt(used) // 3
    if g > 1:
        root = isqrt(small)
        need = (19 * used + 19) // 20 + 57 * root * (g - 1) // (3 * root + 28 + 2 * c) + 3 + extra
    drained = rings
    if budget_ns is not None:
        budget = count("budget_ns", budget_ns)
        flow = x * budget // (BILLION // 10)
        at_once = _at_once(10 * budget // latency, used)
        drained = min(max(_drained(c, flow // g, 0, 0), min(at_once, c)), rings)
        deep = max(g * extra // (n * apart), 1) if apart else g
        if deep > 1:
            log, left, each = deep.bit_length() - 1, large, 0
            for _ in range(2):
                each = _drained(c, flow // g, left * (deep - 1) // deep, log)
                left = max(large - each, 0)
            uneven = min(max(flow * deep // g // (46 + 7 * log) - deep, 0), rings)
            drained = max(deep * each + (g - deep) * max(each - apart, 0), isqrt(drained * drained + uneven * uneven))
        if at_once < used:
            drained = min(drained, at_once)
    return max(min(need, drained, rings), 1)


def _at_once(tenths: int, most: int) -> int:
    """e^{D/latency − 4.6}, at most `most`, for a budget of so many tenths of the latency; ln 2 is taken as 0.7."""
    if tenths < 46:
        return 0
    doublings, rest = (tenths - 46) // 7, (tenths - 46) % 7
    return most if doublings >= most.bit_length() else min((1 << doublings) * (7 + rest) // 7, most)


def _drained(c: int, flow: int, spread: int, log: int) -> int:
    """c + k requests at a device of c servers that completes `flow` tenths of a request in the budget."""
    r = max(flow - c * (6 + 7 * (c.bit_length() - 1) + 5 // c), 0)
    zz = (24 + 2 * log) ** 2
    root = isqrt(zz * (r + 10 * spread) // 10 + zz * zz // 400 + 100 * (16 + 3 * log) * c * c)
    return max(10 * c + r + zz // 20 - root, 0) // 10
