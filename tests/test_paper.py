"""The paper says what the results say: numbers have names, references are cited, and stale results are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import paper.stale
from paper.__main__ import SECTIONS, misprints
from paper.notation import NOTATION, notation
from paper.numbers import numbers
from paper.proofread import LONGEST, complaints, defined, too_long, typed
from paper.results import optimal_control, quantile, table
from paper.tables import tables
from validation.tables import WRITES

SOURCES = "".join(path.read_text(encoding="utf-8") for path in SECTIONS)


def test_sections_have_no_typed_numbers() -> None:
    assert misprints() == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (r"It drains for 63\,ms.", ["63"]),
        (r"It drains for $T=0.063$\,s.", ["0.063"]),
        (r"A loss of \result{eps} of $1-1/N$.", []),
        (r"\begin{equation}12.5\end{equation} \citep[Theorem~3.1]{kelly1979reversibility} M/M/1", []),
        (r"\given{$10^{-12}$}{a test} and 7", ["7"]),
        ("a\n% 12\n\\[\n10\n\\]\n14", ["14"]),
    ],
)
def test_typed_numbers_are_found(source: str, found: list[str]) -> None:
    assert [value for _, value in typed(source)] == found


def test_typed_numbers_are_found_where_they_are() -> None:
    assert list(typed("a\n\\[\nx\n\\]\n14")) == [(5, "14")]


def test_results_that_sections_use_are_made() -> None:
    # Which cells of the bench there are, the section on it asks itself (\ifresult).
    used = {name for name in re.findall(r"\\result\{([^}]*)\}", SOURCES) if not name.startswith("qemu.")}
    assert used
    assert used <= set(numbers())


def test_tables_that_sections_use_are_made() -> None:
    assert set(re.findall(r"\\generatedtable\{([^}]*)\}", SOURCES)) == set(tables())


def test_references_are_cited_and_citations_have_references() -> None:
    bibliography = Path(paper.__file__).with_name("references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"@\w+\{([^,]+),", bibliography)
    cited = {key for keys in re.findall(r"\\(?:cite[a-z]*|nocite)(?:\[[^]]*\])*\{([^}]*)\}", SOURCES)
             for key in keys.split(",")}  # fmt: skip
    assert len(entries) == len(set(entries))
    assert set(entries) == cited


def test_notation_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paper.notation.NOTATION", (NOTATION[0]._replace(name="qtheory:Engine.discs"),))
    with pytest.raises(NameError, match=r"Engine\.discs"):
        notation()


def test_symbols_are_listed_and_defined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paper.notation.NOTATION", (*NOTATION, NOTATION[0]))
    with pytest.raises(ValueError, match="N twice"):
        notation()
    assert defined("Let $L$ be the latency, with $m$\nthe number, with $x$ small.") == ["L", "m"]


def test_paper_that_is_too_long_is_refused() -> None:
    last = r"\newlabel{end}{{13}{%d}{Conclusion}{section.13}{}}"
    assert too_long(last % LONGEST) == []
    assert "21 pages" in too_long(last % (LONGEST + 1))[0]
    assert too_long("") != []


def test_stale_results_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    divisions = paper.stale.divisions
    assert list(divisions())
    assert all(now == committed for _, committed, now in divisions())
    monkeypatch.setattr(paper.stale, "PARTS", (divisions,))
    row = next(row for row in table("sizing_line_or_shares") if row["requests"] == "256")
    monkeypatch.setitem(row, "line_slots", "43")
    assert [line for line in paper.stale.stale() if "line_slots of 4 disks is 43 in validation/results" in line]


def test_every_table_that_is_read_is_sampled_or_has_a_reason_not_to_be() -> None:
    def named(*files: str) -> set[str]:
        sources = "".join(Path(paper.__file__).with_name(file).read_text(encoding="utf-8") for file in files)
        return set(re.findall(r'\b(?:table|rows|cell|error)\(\s*"(\w+)"', sources))

    read, sampled = named("numbers.py", "tables.py", "figures.py"), named("stale.py")
    assert read
    assert read <= sampled | set(paper.stale.UNSAMPLED)
    assert not sampled & set(paper.stale.UNSAMPLED)
    assert set(paper.stale.UNSAMPLED) <= read


def test_orphans_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(paper.stale.orphans()) == []
    with pytest.raises(LookupError, match=r"nobody\.csv must be written by one script"):
        table("nobody")
    monkeypatch.setitem(WRITES, "shares", ("shares_disciplines.csv", "drain.csv"))
    found = list(paper.stale.orphans())
    assert any("shares_nvme.csv is not there, or not written by any script" in line for line in found)
    assert any("drain.csv is written by more than one script" in line for line in found)
    assert any("shares.py does not write drain.csv" in line for line in found)
    with pytest.raises(LookupError, match=r"drain\.csv must be written by one script"):
        table.__wrapped__("drain")


def test_a_sample_of_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper.stale, "PARTS", (lambda: iter(()),))
    assert [line for line in paper.stale.stale() if line.startswith("nothing is left to compare")]


def test_complaints_of_bibtex_are_found() -> None:
    assert complaints("", 'Warning--I didn\'t find a database entry for "x"\n') != []
    assert complaints("", "(There was 1 error message)\n") == []


def test_optimal_control_is_read_as_printed() -> None:
    first, *_, last = optimal_control()
    assert [first[name] for name in ("c", "rho", "D", "optimum", "one at a time")] == [1.0, 0.7, 60.0, 1.46, 1.18]
    assert (last["c"], last["ramp"], last["q"]) == (32.0, 0.0, 97.0)
    assert sum(row["optimum"] is None for row in optimal_control()) == 4


def test_quantiles_are_values_that_are_there() -> None:
    assert [quantile([3.0, 1.0, 2.0, 4.0], p) for p in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1.0, 1.0, 2.0, 3.0, 4.0]
