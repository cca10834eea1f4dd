"""The guide and the reference: everything public is in the reference, once, and the tables are what the code says.

Nothing here needs Sphinx; `make docs` is what looks whether the pages can be built.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections import Counter
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

import qtheory
import qtheory.arrivals
import qtheory.laws
import qtheory.sizing
from docs.methods import PART, files_of, measured_by, methods
from qtheory.solve import METHODS
from validation.atlas.frame import answered

ROOT = Path(__file__).parent.parent
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.rst"))
ENTRIES = [
    (kind, path)
    for page in REFERENCE
    for kind, path in re.findall(r"^\.\. auto(\w+):: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]
PUBLIC = [qtheory, qtheory.arrivals, qtheory.laws, qtheory.sizing, qtheory.stations, qtheory.controllers]
PUBLIC += [qtheory.engines]


def found(kind: str, path: str) -> object:
    """What an entry names: a module, or an attribute of the nearest module above it."""
    if kind == "module":
        return importlib.import_module(path)
    parts = path.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        return attrgetter(".".join(parts[n:]))(module)
    raise AssertionError(path)


def names(module: ModuleType) -> list[str]:
    """What a module makes public."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]


def test_everything_public_is_in_the_reference_once() -> None:
    entered = Counter(id(found(*entry)) for entry in ENTRIES)
    public = {f"{module.__name__}.{name}": getattr(module, name) for module in PUBLIC for name in names(module)}
    assert len(public) > 120
    assert {name: entered[id(thing)] for name, thing in public.items() if entered[id(thing)] != 1} == {}


def test_no_name_of_the_reference_stands_twice_or_for_something_else() -> None:
    assert [path for path, number in Counter(path for _, path in ENTRIES).items() if number > 1] == []
    for kind, path in ENTRIES:
        thing = found(kind, path)
        is_class = isinstance(thing, type)
        of_kind = {
            "module": isinstance(thing, ModuleType),
            "class": is_class and not issubclass(thing, Exception),
            "exception": is_class and issubclass(thing, Exception),
            "function": callable(thing) and not is_class,
            "data": not callable(thing),
        }
        assert of_kind[kind], path


def test_what_pages_and_docstrings_lead_to_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("recipes/*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    texts += [getattr(found(*entry), "__doc__", None) or "" for entry in ENTRIES]
    names = {name for text in texts for name in re.findall(r"`qt\.(\w+(?:\.\w+)*)", text)}
    assert len(names) > 30
    for name in sorted(names):
        assert attrgetter(name)(qtheory) is not None


@pytest.mark.parametrize("page", [path.stem for path in REFERENCE])
def test_every_page_of_the_reference_is_in_the_contents(page: str) -> None:
    assert f"reference/{page}\n" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


def test_the_doors_state_the_methods_that_they_have() -> None:
    assert tuple(method.name for method in methods("solve")) == METHODS
    given = {
        name
        for path in (ROOT / "qtheory" / "drain").glob("*.py")
        for name in re.findall(r'(?:method=|integrated\(\s*)"(\w+)"', path.read_text(encoding="utf-8"))
    }
    of_others = {"dynamic_programming", "LSODA"}  # of `optimal_limits`, and of scipy
    assert {method.name for method in methods("drain")} == given - of_others


@pytest.mark.parametrize("door", ["solve", "drain"])
def test_methods_are_exact_where_they_are_said_to_be(door) -> None:
    """By all answers of the atlas: how many of each method were exact, and how many not."""
    seen = answered().filter(pl.col("part") == PART[door]).group_by("method").agg(pl.col("exact").unique())
    answers = {method.name: method.answer for method in methods(door)}
    assert set(seen["method"]) <= set(answers)
    for method, exact in seen.iter_rows():
        said = answers[method]
        assert True not in exact or "exact" in said or said == "as each disk alone", method
        assert False not in exact or "approximate" in said or said == "as each disk alone", method


@pytest.mark.parametrize("door", ["solve", "drain"])
def test_every_method_has_a_file_and_what_it_names_as_measured_exists(door) -> None:
    for method in methods(door):
        assert files_of(door, method.name)
        for script in measured_by(door, method.name):
            assert (ROOT / script).exists(), (method.name, script)


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [project["version"]]
    assert re.findall(r"^  - name: (.+)$", citation, re.MULTILINE) == [author["name"] for author in project["authors"]]
    assert re.findall(r"^license: (.+)$", citation, re.MULTILINE) == [project["license"]]
