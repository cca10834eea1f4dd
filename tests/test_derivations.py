"""Every derivation holds, and would be found out if one of its formulas were wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sympy as sp

import derivations
from derivations.derivation import Derivation
from derivations.page import page

ALL = {name: derivation for name, derivation in zip(derivations.NAMES, derivations.load(), strict=True)}


def test_no_file_is_forgotten() -> None:
    files = {path.stem for path in Path(derivations.__file__).parent.glob("*.py")}
    assert files - {"__init__", "__main__", "derivation", "page"} == set(derivations.NAMES)
    assert all(derivation.name == name for name, derivation in ALL.items())


@pytest.mark.parametrize("derivation", ALL.values(), ids=ALL)
def test_it_holds_and_is_shown(derivation: Derivation) -> None:
    shown = page(derivation, derivation.verify())
    assert shown.count("{") == shown.count("}")
    assert all(sp.latex(symbol) in shown for symbol in derivation.symbols)


@pytest.mark.parametrize(("name", "formula"), [(name, key) for name in ALL for key in ALL[name].formulas])
def test_a_wrong_formula_is_found(name: str, formula: str) -> None:
    right = ALL[name].formulas
    wrong = replace(ALL[name], formulas={**right, formula: right[formula] * (1 + sp.Rational(1, 10**6))})
    with pytest.raises(ArithmeticError, match=name):
        wrong.verify()


@pytest.mark.parametrize("derivation", ALL.values(), ids=ALL)
def test_its_symbols_are_explained(derivation: Derivation) -> None:
    used = set().union(*(expression.free_symbols for expression in derivation.formulas.values()))
    # An indexed symbol has also its base and the base's label among its free symbols.
    sequences = {s for s in derivation.symbols if isinstance(s, sp.IndexedBase)}
    labels = {sequence.label for sequence in sequences}
    assert {s for s in used if isinstance(s, sp.Symbol)} - labels <= set(derivation.symbols)
    assert {s.base for s in used if isinstance(s, sp.Indexed)} <= sequences
