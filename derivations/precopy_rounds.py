r"""
When a live migration stops the guest: precopy rounds shrink geometrically, and the stop's time is the less certain the
nearer the dirty rate is to the bandwidth.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

import mpmath
import sympy as sp
from sympy.concrete.gosper import gosper_sum

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright

k, n = sp.symbols("k n", integer=True, nonnegative=True)
r, L, V, d, B, u = sp.symbols("r L V d B u", positive=True)
first, second, left = sp.symbols("theta_1 theta_2 ell", positive=True)
spread_d, spread_b = sp.symbols("v_d v_B", positive=True)
theta = sp.Function("theta")

# A round takes r times as long as the one before: what the k-th after the second takes, and the least k within L.
duration = sp.rsolve(sp.Eq(theta(k + 1), r * theta(k)), theta(k), {theta(0): second})
crossing = sp.solve(sp.Eq(sp.log(duration), sp.log(L)), k)[0]
rounds = sp.Max(sp.ceiling(crossing), 0)
total = first + gosper_sum(duration, (k, 0, n - 1))
stop, last = total.subs(n, rounds), duration.subs(k, rounds)

# Whatever the rounding: the sum in terms of what is left, and with θ_2 = rθ_1.
typical = {r: 0.5, first: 4, second: 2, left: 1, L: 1, V: 4, B: 1, d: 0.5}
conserved = upright(sp.factor(sp.simplify(total.subs(r**n, left / second))), typical)
near = upright(sp.factor(sp.simplify(conserved.subs(second, r * first))), typical)
width = sp.factor(sp.simplify(near.subs(left, r * L) - near.subs(left, L)))

# Elasticities of the stop, with L left, in the dirty rate d and the bandwidth B; and its relative variance.
of_rates = upright(sp.factor(near.subs({left: L, first: V / B, r: d / B})), typical)
by_dirty, by_band = (sp.simplify(x * sp.diff(sp.log(of_rates), x)) for x in (d, B))
by_dirty, by_band = (one.subs(V, first * B).subs(d, r * B) for one in (by_dirty, by_band))
by_dirty = upright(sp.factor(by_dirty), typical)
by_band = sp.Add(*(upright(term, typical) for term in sp.Add.make_args(sp.apart(sp.simplify(by_band), r))))
relative_variance = (by_dirty * spread_d) ** 2 + (by_band * spread_b) ** 2

# The last round's fraction of L is r^u with u uniform, where the number of rounds is a matter of chance.
falls = sp.Symbol("falls", positive=True)
mean_last = sp.factor(sp.simplify(sp.integrate(L * sp.exp(-u * falls), (u, 0, 1)).subs(falls, -sp.log(r))))


def geometric(of: Derivation) -> Iterator[sp.Expr]:
    """Round by round, for few rounds; and the elasticities by their definition."""
    for few in range(5):
        durations = [first, *(second * r**i for i in range(few))]
        yield sp.cancel(total.subs(n, few) - sum(durations))
        yield sp.cancel(conserved.subs(left, second * r**few) - sum(durations))
        yield sp.cancel(of["near"].subs(left, r ** (few + 1) * first) - sum(durations).subs(second, r * first))
    # derivatives by a relative error u of each rate
    by_error = [sp.diff(sp.log(of_rates.subs(x, x * (1 + u))), u).subs(u, 0) for x in (d, B)]
    variance = (by_error[0] * spread_d) ** 2 + (by_error[1] * spread_b) ** 2
    yield sp.simplify(variance.subs(V, first * B).subs(d, r * B) - of["relative_variance"])
    # ℓ has the density 1/(ℓ log(1/r)) between rL and L
    for ratio in (sp.Rational(1, 3), sp.Rational(4, 5)):
        mean = sp.integrate(left / (left * sp.log(1 / ratio)), (left, ratio * L, L))
        yield sp.expand(sp.expand_log(mean - of["mean_last"].subs(r, ratio)))


def drawn(rng: random.Random) -> tuple[qt.Precopy, float]:
    band, ratio = rng.uniform(1e8, 1e10), rng.uniform(0.05, 0.98)
    ram = rng.uniform(0.1, 200.0) * band
    kept = rng.choice((None, rng.uniform(0.05, 1.0) * ram))
    certain = {"dirty_rate_cv": 0.0, "bandwidth_cv": 0.0}
    return qt.Precopy(ram, ratio * band, band, working_set=kept, **certain), rng.uniform(0.01, 0.09)


def rounds_and_stop(of: Derivation) -> Iterator[float]:
    """The library's rounds, one by one, and its stop, which is a closed form too."""
    rng = random.Random(SEED)
    stop_of, last_of = (of.lambdified(name, first, second, r, L) for name in ("stop", "last"))
    for _ in range(60):
        precopy, limit = drawn(rng)
        ratio, one = precopy.dirty_rate / precopy.bandwidth, precopy.ram / precopy.bandwidth
        two = min(ratio * one, (precopy.working_set or precopy.ram) / precopy.bandwidth)
        with mpmath.workdps(30):
            at, final = float(stop_of(one, two, ratio, limit)), float(last_of(one, two, ratio, limit))
        found = precopy.stop(limit)
        yield relative([found.expected, found.last_ram], [at, final])
        yield relative(math.fsum(one.duration for one in precopy.rounds(limit)), at)


def within_the_width(of: Derivation) -> Iterator[float]:
    """How far the library's stop is outside of its bounds, where nothing bounds the second round."""
    rng = random.Random(SEED)
    near_of = of.lambdified("near", first, r, left)
    for _ in range(60):
        precopy, limit = drawn(rng)
        precopy = replace(precopy, working_set=None)
        ratio, one = precopy.dirty_rate / precopy.bandwidth, precopy.ram / precopy.bandwidth
        found = precopy.stop(limit)
        yield relative(found.expected, float(near_of(one, ratio, found.last_ram)))
        low, high = (float(near_of(one, ratio, final)) for final in (limit, ratio * limit))
        yield max(low / found.expected - 1.0, found.expected / high - 1.0, 0.0)


def uncertain(of: Derivation) -> Iterator[float]:
    """The library's standard deviation, of 160,000 pairs of rates, by the elasticities."""
    variance_of = of.lambdified("relative_variance", first, r, L, spread_d, spread_b)
    for ratio, spreads in ((0.3, (0.03, 0.0)), (0.8, (0.02, 0.0)), (0.5, (0.0, 0.03)), (0.7, (0.02, 0.02))):
        precopy = qt.Precopy(1e12, ratio * 1e9, 1e9, dirty_rate_cv=spreads[0], bandwidth_cv=spreads[1])
        found = precopy.stop(0.3)
        expected = float(mpmath.sqrt(variance_of(1000.0, ratio, 0.3, *spreads)))
        yield found.standard_deviation / found.mean / expected - 1.0


def by_chance(of: Derivation) -> Iterator[float]:
    """The library's last RAM, averaged over RAM sizes so spread that every fraction is as likely."""
    mean_of = of.lambdified("mean_last", r, L)
    for ratio in (0.2, 0.5, 0.9):
        sizes = [1e11 * ratio ** ((i + 0.5) / 500) for i in range(500)]
        mean = math.fsum(
            qt.Precopy(size, ratio * 1e9, 1e9, dirty_rate_cv=0, bandwidth_cv=0).stop(0.1).last_ram for size in sizes
        )
        yield mean / 500 / float(mean_of(ratio, 0.1)) - 1.0


DERIVATION = Derivation(
    name="precopy_rounds",
    title="Precopy rounds, and when they stop the guest",
    statement=r"""
        Let precopy send a guest's RAM at $B$ bytes a second while the guest dirties $d$, $r=d/B<1$, and stop it after
        the first round that leaves no more than $L$ seconds to send. If the first two rounds take $\theta_1$ and
        $\theta_2$, it stops after $\max(\lceil\log(L/\theta_2)/\log r\rceil,0)$ rounds more than the first, at
        $\theta_1+(\theta_2-\ell)/(1-r)$, where $\ell$, $rL<\ell\le L$ where there is more than one round, is left. With
        $\theta_2=r\theta_1$ the moment of the stop is known to within $L$, $\frac{\theta_1-L}{1-r}\le
        T<\frac{\theta_1-rL}{1-r}$, but it is sensitive to the rates: a relative error of $d$ is magnified by $r/(1-r)$.
    """,
    symbols={
        r: "dirty rate over bandwidth",
        d: "dirty rate [bytes/s]",
        B: "bandwidth [bytes/s]",
        V: "RAM [bytes]",
        L: "downtime limit: what the last RAM may take to send [s]",
        first: "duration of the first round, $V/B$ [s]",
        second: "duration of the second round, the lesser of $r\\theta_1$ and the working set over $B$ [s]",
        theta: "durations from the second round on [s]",
        left: "what the last RAM takes to send [s]",
        k: "rounds after the second",
        n: "rounds after the first",
        u: "a fraction",
        spread_d: "coefficient of variation of the dirty rate",
        spread_b: "coefficient of variation of the bandwidth",
    },
    assumptions=(
        "Rates are constant during a migration; a round begins where the one before ends.",
        "What is dirtied in a round is sent in the next; from the third on nothing bounds it but the dirty rate.",
    ),
    steps=(
        Step(
            r"""
            While a round of length $\theta$ is sent $d\theta$ bytes are dirtied: the next takes $r\theta$. From the
            second on they take
            """,
            sp.Eq(theta(k), duration),
        ),
        Step(
            r"""
            which is $L$ at the $k$ below; the guest is stopped after as many rounds, rounded up, after the first, if it
            is positive:
            """,
            sp.Eq(k, crossing),
        ),
        Step(r"Summed (a Gosper sum), $n$ rounds and the first take", total),
        Step(
            r"""
            With what is left, $\ell=\theta_2r^n$, the number of rounds cancels, and for $\theta_2=r\theta_1$ the stop
            is at
            """,
            conserved,
            near,
        ),
        Step(
            r"""
            $\ell$ is between $rL$ and $L$, for one round less would have left more than $L$. So all that is open of the
            stop is
            """,
            width,
        ),
        Step(
            r"""
            In terms of the rates, with $L$ left, the stop is what follows; its elasticities, derivatives of its
            logarithm in those of $d$ and of $B$, are
            """,
            of_rates,
            by_dirty,
            by_band,
        ),
        Step(
            "so that small independent errors of both give, to the first order, the relative variance",
            relative_variance,
        ),
        Step(
            r"""
            A depth limit must hold from before the earliest stop on: for some standard deviations of it, which grow as
            $1/(1-r)$ times the stop itself. Where the number of rounds is a matter of chance, $\log\ell$ is uniform
            between $\log rL$ and $\log L$, and the last RAM takes on average
            """,
            mean_last,
        ),
    ),
    formulas={
        "stop": stop,
        "last": last,
        "near": near,
        "relative_variance": relative_variance,
        "mean_last": mean_last,
    },
    checks=(
        Check("Rounds add up, one by one, and elasticities are relative derivatives.", geometric),
        Check("The library's rounds and stop are these, with and without a working set.", rounds_and_stop, CLOSE),
        Check(r"The stop is the closed form of what is left, and within its bounds.", within_the_width, CLOSE),
        Check("The library's standard deviation is that of the elasticities, to within 3 percent.", uncertain, 0.03),
        Check("Its last RAM, averaged, is the mean of the logarithmic law.", by_chance, 1e-3),
    ),
)
