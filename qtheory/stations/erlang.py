"""Erlang's loss and delay formulas, for any real number of servers.

With offered load a and x servers (Erlang 1917; for real x Fortet, Jagerman 1974)

    1 / B(x, a) = a ∫_0^∞ e^{−at} (1 + t)^x dt,        C = x B / (x − a + a B),  a < x.

B is the blocking of M/M/x/x, C the delay probability of M/M/x. Real x is what peaked traffic (`peaked.py`), inverses
and derivatives need. Two forms, each without subtraction that matters, so that nothing is lost up to 1e6 and beyond:

* x <= a: Legendre's continued fraction of the incomplete gamma function, all terms positive up to k = x,

      a B = a − x + t,   t = x / (a−x+2 + 2(x−1) / (a−x+4 + 3(x−2) / (a−x+6 + ...))),

  evaluated from its end, which forgets errors; some 9 x^{1/3} terms do;
* x > a: B = p / (1 − p Σ_{k>=1} Π_{j<=k} a/(x+j)), where p = e^{−a} a^x / Γ(x+1). The sum times p is at most one half.
  The exponent of p, whose terms of 1e7 cancel, is taken in mpmath.

Derivatives follow from ∂ ln B/∂a = t/a, and from the integral: under the density ∝ e^{−at}(1+t)^x,
∂ ln B/∂x = −E ln(1 + T) (Jagerman 1974; Esteves, Craveirinha and Cardoso 1995).

>>> erlang_b(servers=2, load=1.0), round(erlang_c(servers=2, load=1.0), 12)
(0.2, 0.333333333333)
>>> import mpmath
>>> mpmath.nstr(erlang_b(servers=12.5, load=10, precision=20), 20)
'0.10102942320293890788'
>>> round(servers_for_blocking(load=10.0, blocking=0.01), 6)
17.444969
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qtheory.arguments import count, nonnegative, positive, probability

DIGITS = 40
"""Digits in which what floats cannot hold is computed."""
GUARD = 25
"""Digits beyond those asked for: 8 of them go where exponents of 1e7 cancel."""
EPSILON = 2.0**-53
LEAST = 5e-324


def erlang_b(*, servers: float, load: float, precision: int | None = None) -> float:
    """Blocking probability of M/M/c/c, Erlang B.

    Parameters
    ----------
    servers : float
        Number of servers, any real number >= 0.
    load : float
        Offered load a = arrival rate × mean service time [erlangs], positive.
    precision : int, optional
        Digits; the answer is then a number of mpmath's. Without it the relative error is below 1e-13, and what is
        smaller than the smallest float is 0.

    Raises ValueError for arguments out of range.

    Examples
    --------
    >>> erlang_b(servers=0, load=3.0), round(erlang_b(servers=1_000_000, load=1_000_000), 12)
    (1.0, 0.000797460307)
    """
    nonnegative("servers", servers)
    positive("load", load)
    return _at(precision, _blocking, servers, load)


def erlang_c(*, servers: float, load: float, precision: int | None = None) -> float:
    """Probability of a delay in M/M/c, Erlang C. Parameters as for `erlang_b`, with load < servers.

    Examples
    --------
    >>> round(erlang_c(servers=8, load=6.4), 12)
    0.457644925442
    """
    stable(servers, load)
    return _at(precision, _delay, servers, load)


def erlang_b_gradient(*, servers: float, load: float, precision: int | None = None) -> tuple[float, float]:
    """Derivatives of `erlang_b` by servers and by load; parameters as there.

    Examples
    --------
    One server: B = a/(1 + a), so ∂B/∂a = 1/(1 + a)².

    >>> erlang_b_gradient(servers=1, load=1.0)[1]
    0.25
    """
    nonnegative("servers", servers)
    positive("load", load)
    return _gradient(precision, _blocking_gradient, servers, load)


def erlang_c_gradient(*, servers: float, load: float, precision: int | None = None) -> tuple[float, float]:
    """Derivatives of `erlang_c` by servers and by load; parameters as there.

    Examples
    --------
    One server: C = a.

    >>> erlang_c_gradient(servers=1, load=0.5)[1]
    1.0
    """
    stable(servers, load)
    return _gradient(precision, _delay_gradient, servers, load)


def servers_for_blocking(*, load: float, blocking: float) -> float:
    """The real number of servers with which `erlang_b` is `blocking`; whole servers need its ceiling.

    Examples
    --------
    >>> round(erlang_b(servers=servers_for_blocking(load=100.0, blocking=1e-6), load=100.0) / 1e-6, 12)
    1.0
    """
    load, target = positive("load", load), probability("blocking", blocking)
    return _root("blocking", lambda x: erlang_b(servers=x, load=load), target, load)


def servers_for_delay(*, load: float, delay_probability: float) -> float:
    """The real number of servers, above `load`, with which `erlang_c` is `delay_probability`.

    Examples
    --------
    >>> math.ceil(servers_for_delay(load=100.0, delay_probability=0.2))
    111
    """
    load, target = positive("load", load), probability("delay_probability", delay_probability)

    def delay(beyond: float) -> float:
        return erlang_c(servers=load + beyond, load=load) if load + beyond > load else 1.0

    return load + _root("delay_probability", delay, target, math.sqrt(load))


def load_for_blocking(*, servers: float, blocking: float) -> float:
    """The offered load [erlangs] at which `erlang_b` is `blocking`.

    Examples
    --------
    >>> load_for_blocking(servers=1, blocking=0.5)
    1.0
    """
    servers, target = positive("servers", servers), probability("blocking", blocking)
    return _root("blocking", lambda a: erlang_b(servers=servers, load=a), target, servers)


def load_for_delay(*, servers: float, delay_probability: float) -> float:
    """The offered load [erlangs], below `servers`, at which `erlang_c` is `delay_probability`.

    Examples
    --------
    >>> load_for_delay(servers=1, delay_probability=0.5)
    0.5
    """
    servers, target = positive("servers", servers), probability("delay_probability", delay_probability)

    def delay(load: float) -> float:
        return erlang_c(servers=servers, load=load) if load < servers else 1.0

    return _root("delay_probability", delay, target, servers / 2.0)


def stable(servers: float, load: float) -> None:
    """Refuse what grows without bound."""
    c, a = positive("servers", servers), positive("load", load)
    if a >= c:
        raise ValueError(f"load must be less than servers for a system without limit, not {load!r}: rho = {a / c:.6g}")


def _at(precision: int | None, formula: Callable[..., Any], servers: Any, load: Any) -> float:
    """The formula in floats, or in numbers of that many digits."""
    if precision is None:
        return float(formula(float(servers), float(load), EPSILON))
    import mpmath as mp

    digits = count("precision", precision)
    with mp.workdps(digits + GUARD):
        value = formula(mp.mpmathify(servers), mp.mpmathify(load), mp.mpf(10) ** -(digits + GUARD))
    with mp.workdps(digits):
        rounded: float = +value
    return rounded


def _blocking(x: Any, a: Any, epsilon: Any) -> Any:
    """B for floats or mpmath's numbers."""
    if x <= a and a >= 1:
        return (a - x + _fraction(x, a, epsilon)) / a
    p = _density(x, a)
    term, total, k = p, 0 * p, 0
    while term > epsilon * total:
        k += 1
        term = term * a / (x + k)
        total += term
    return p / (1 - total)


def _delay(x: Any, a: Any, epsilon: Any) -> Any:
    """C for floats or mpmath's numbers."""
    b = _blocking(x, a, epsilon)
    return x * b / (x - a + a * b)


def _fraction(x: Any, a: Any, epsilon: Any) -> Any:
    """t = aB − (a − x), by more and more terms until they change nothing."""
    terms, last, value = 8, -1, x
    while abs(value - last) > epsilon * value:
        last, tail = value, 0 * x
        for k in range(terms, 0, -1):
            tail = k * (x + 1 - k) / (a - x + 2 * k + tail)
        value, terms = tail, 2 * terms
    return value


def _density(x: Any, a: Any) -> Any:
    """e^{−a} a^x / Γ(x + 1), in the kind of number that x is."""
    import mpmath as mp

    with mp.workdps(max(DIGITS, mp.mp.dps)):
        value = mp.exp(x * mp.log(a) - a - mp.loggamma(mp.mpf(x) + 1))
    return float(value) if isinstance(x, float) else value


def _gradient(precision: int | None, formula: Callable[..., Any], servers: Any, load: Any) -> tuple[Any, Any]:
    """Both derivatives in mpmath, rounded to floats where no precision is asked for."""
    import mpmath as mp

    digits = 16 if precision is None else count("precision", precision)
    with mp.workdps(digits + GUARD):
        by_servers, by_load = formula(mp.mpmathify(servers), mp.mpmathify(load), mp.mpf(10) ** -(digits + GUARD))
    if precision is None:
        return float(by_servers), float(by_load)
    with mp.workdps(digits):
        return +by_servers, +by_load


def _blocking_gradient(x: Any, a: Any, epsilon: Any) -> tuple[Any, Any]:
    b = _blocking(x, a, epsilon)
    return -b * _mean_log(x, a, epsilon), b * ((x - a) / a + b)


def _delay_gradient(x: Any, a: Any, epsilon: Any) -> tuple[Any, Any]:
    """By the chain rule from C = xB/D, D = x − a + aB."""
    b = _blocking(x, a, epsilon)
    b_x, b_a = _blocking_gradient(x, a, epsilon)
    d = x - a + a * b
    c = x * b / d
    return c * (1 / x + b_x / b - (1 + a * b_x) / d), c * (b_a / b - (b - 1 + a * b_a) / d)


def _mean_log(x: Any, a: Any, epsilon: Any) -> Any:
    """E ln(1 + T) under the density ∝ e^{−at}(1 + t)^x, t > 0, cut off where it has fallen below `epsilon`."""
    import mpmath as mp

    mode = max(x / a - 1, mp.mpf(0))
    drop = -mp.log(epsilon)
    width = mp.sqrt(2 * x * drop)
    edges = [max(mode - width / a, mp.mpf(0)), mode, mode + (width + 2 * drop) / a]
    top = x * mp.log1p(mode) - a * mode

    def density(t: Any) -> Any:
        return mp.exp(x * mp.log1p(t) - a * t - top)

    points = edges if mode > 0 else edges[1:]
    return mp.quad(lambda t: density(t) * mp.log1p(t), points) / mp.quad(density, points)


def _root(asked: str, formula: Callable[[float], float], target: float, start: float) -> float:
    """y > 0 where a monotone formula reaches the target, by Brent's method in the logarithms of both."""
    from scipy.optimize import brentq

    def excess(log_y: float) -> float:
        return math.log(max(formula(math.exp(log_y)), LEAST)) - math.log(target)

    low = high = math.log(start)
    step = 1.0
    while excess(low) * excess(high) > 0.0:
        low, high, step = low - step, high + step, 2.0 * step
        if step > 256.0:
            raise ValueError(f"{asked} must be one that a float can reach, not {target}")
    return math.exp(low if low == high else float(brentq(excess, low, high, xtol=1e-15, rtol=4.0 * 2.0**-52)))
