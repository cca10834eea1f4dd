"""A derivation as a section of the paper's appendix, in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from inspect import cleandoc

import sympy as sp
from sympy.printing.latex import LatexPrinter

from derivations.derivation import Derivation, Outcome


def page(derivation: Derivation, outcomes: Sequence[Outcome]) -> str:
    """Statement, symbols, assumptions, steps, and what the checks gave."""
    symbols = [
        rf"\symbolrow{{${_shown(symbol)}$}}{{{kind(symbol)}}}{{{text}}}" for symbol, text in derivation.symbols.items()
    ]
    lines = [
        rf"\subsection{{{derivation.title}}}\label{{derivation:{derivation.name}}}",
        cleandoc(derivation.statement),
        "",
        *symbols,
        "",
    ]
    if derivation.assumptions:
        lines += [r"\paragraph{Assumptions}", *_items(derivation.assumptions)]
    lines += [r"\paragraph{Derivation}"]
    for step in derivation.steps:
        lines += [cleandoc(step.text)]
        if not step.math:
            lines += [""]
        else:
            lines += [r"\begin{gather*}", " \\\\\n".join(map(_shown, step.math)), r"\end{gather*}"]
    found = [f"{cleandoc(outcome.check.claim)} ({_powers(str(outcome))}.)" for outcome in outcomes]
    lines += [r"\paragraph{Checks}", *_items(found)]
    return "\n".join(lines) + "\n"


def kind(symbol: sp.Basic) -> str:
    """What sympy was told of the symbol, in words."""
    if not isinstance(symbol, sp.Symbol):
        return "function" if isinstance(symbol, sp.Function | sp.core.function.UndefinedFunction) else "sequence"
    sign = "positive " if symbol.is_positive else "nonnegative " if symbol.is_nonnegative else ""
    return sign + ("integer" if symbol.is_integer else "real" if symbol.is_real else "complex")


def _items(texts: Iterable[str]) -> list[str]:
    return [r"\begin{itemize}", *(rf"\item {cleandoc(text)}" for text in texts), r"\end{itemize}"]


def _powers(text: str) -> str:
    """1.0e-15 and 1e-12 as LaTeX has them."""
    text = re.sub(r"(?<![\d.])1e([+-]\d+)", lambda found: rf"$10^{{{int(found[1])}}}$", text)
    return re.sub(r"([\d.]+)e([+-]\d+)", lambda found: rf"${found[1]}\cdot10^{{{int(found[2])}}}$", text)


class _Printer(LatexPrinter):  # type: ignore[misc]  # sympy has no types
    """sympy's, but that sums begin with a positive term where they have one: 1 − x, not −x + 1; and H for harmonic."""

    def _print_Add(self, expr: sp.Add, order: str | None = None) -> str:
        terms = sorted(
            self._as_ordered_terms(expr, order=order), key=lambda term: bool(term.could_extract_minus_sign())
        )
        shown: str = super()._print_Add(sp.Add(*terms, evaluate=False), order="none")
        return shown

    def _print_harmonic(self, expr: sp.Expr, exp: str | None = None) -> str:
        number, *order = map(self._print, expr.args)
        shown = f"H_{{{number}}}" + "".join(f"^{{({r})}}" for r in order)
        return shown if exp is None else rf"\left({shown}\right)^{{{exp}}}"


def _shown(expression: sp.Basic) -> str:
    shown: str = _Printer().doprint(expression)
    return shown
