"""What a derivation consists of: statement, typed symbols, assumptions, steps, formulas, and checks that can fail.

The steps hold expressions that sympy arrived at from those before; the formulas are what is used elsewhere, by their
names. A check gets the derivation itself and yields numbers that must be 0: differences of expressions, which must
vanish identically, or relative errors of a formula against the library's solver at random parameters. It takes the
formulas from the derivation it is given, so that a wrong formula makes it fail (`tests/test_derivations.py` tries).

>>> n = sp.Symbol("n", integer=True, nonnegative=True)
>>> k = sp.Symbol("k", integer=True, nonnegative=True)
>>> gauss = Derivation(
...     name="gauss",
...     title="Sum of the first integers",
...     statement="The first $n$ integers add up to a half of $n$ times the next.",
...     symbols={n: "how many"},
...     assumptions=(),
...     steps=(Step("Summed.", sp.factor(sp.summation(k, (k, 0, n)))),),
...     formulas={"sum": sp.summation(k, (k, 0, n))},
...     checks=(Check("One more adds $n$.", lambda d: [d["sum"] - d["sum"].subs(n, n - 1) - n]),),
... )
>>> [str(outcome) for outcome in gauss.verify()], gauss.lambdified("sum", n)(4)
(['1 identity'], mpf('10.0'))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import mpmath
import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

SEED = 8
"""Of the random parameters at which formulas are compared with the library's solvers."""

CLOSE = 1e-12
"""Largest relative difference allowed between a formula and the library."""


@dataclass(frozen=True, init=False)
class Step:
    """A sentence in LaTeX, and the expressions or equations it arrives at, shown displayed, one a line."""

    text: str
    math: tuple[sp.Basic, ...]

    def __init__(self, text: str, *math: sp.Basic) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "math", math)


@dataclass(frozen=True)
class Check:
    """A claim in LaTeX, and numbers that are all 0 if it holds: exactly, or within a `tolerance` above 0."""

    claim: str
    residuals: Callable[[Derivation], Iterable[sp.Expr | float]]
    tolerance: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a check gave: of how many numbers the largest, `largest`, is within the tolerance."""

    check: Check
    count: int
    largest: float

    def __str__(self) -> str:
        if self.check.tolerance == 0.0:
            return "1 identity" if self.count == 1 else f"{self.count} identities"
        return f"{self.count} compared, largest difference {self.largest:.1e} of {self.check.tolerance:.0e} allowed"


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """One result: `name` is its file's, `symbols` maps each symbol to its meaning and unit; texts are LaTeX."""

    name: str
    title: str
    statement: str
    symbols: Mapping[sp.Basic, str]
    assumptions: Sequence[str]
    steps: Sequence[Step]
    formulas: Mapping[str, sp.Expr]
    checks: Sequence[Check]

    def __getitem__(self, name: str) -> sp.Expr:
        return self.formulas[name]

    def lambdified(self, name: str, *arguments: sp.Basic) -> Callable[..., mpmath.mpf]:
        """The formula as a function of `arguments`, evaluated by mpmath."""
        function: Callable[..., mpmath.mpf] = sp.lambdify(arguments, self.formulas[name], "mpmath")
        return function

    def verify(self) -> list[Outcome]:
        """Run all checks; ArithmeticError, with the derivation's name and the claim, at the first that fails."""
        return [self._outcome(check) for check in self.checks]

    def _outcome(self, check: Check) -> Outcome:
        found = list(check.residuals(self))
        if not found:
            raise ArithmeticError(f"{self.name}: nothing was checked: {check.claim}")
        if check.tolerance == 0.0:
            for residual in found:
                if sp.simplify(residual) != 0:
                    raise ArithmeticError(f"{self.name}: {residual} is not 0: {check.claim}")
            return Outcome(check, len(found), 0.0)
        for residual in found:
            if not abs(float(residual)) <= check.tolerance:
                raise ArithmeticError(f"{self.name}: {residual} is not within {check.tolerance}: {check.claim}")
        return Outcome(check, len(found), max(abs(float(residual)) for residual in found))


def relative(found: ArrayLike, expected: ArrayLike) -> float:
    """Largest relative difference of `found` from `expected`, elementwise; absolute where 0 is expected."""
    a, b = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return float(np.max(np.abs(a - b) / np.where(b == 0.0, 1.0, np.abs(b))))


def upright(product: sp.Expr, typical: Mapping[sp.Basic, float]) -> sp.Expr:
    """The same product with each sum in it turned to be positive at typical values: 1 − ε, not −(ε − 1)."""
    turned = []
    for factor in sp.Mul.make_args(product):
        base, power = factor.as_base_exp()
        if base.is_Add and power.is_odd and base.subs(typical) < 0:
            turned += [sp.Integer(-1), (-base) ** power]
        else:
            turned.append(factor)
    return sp.Mul(*turned)
