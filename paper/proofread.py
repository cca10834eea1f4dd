"""What must not be in the paper: numbers typed by hand, and what TeX and BibTeX complain of."""

from __future__ import annotations

import re
from collections.abc import Iterator

WIDEST = 1.0
"""[pt] A line may stick out so far."""
LONGEST = 20
"""Most pages of the paper proper: with its references, without the appendix."""

DISPLAYED = r"equation\*?|align\*?|gather\*?|picture"
# Environments of displayed formulas and drawings; displayed formulas in brackets; commands whose arguments are no text.
LEFT_OUT = (
    rf"\\begin\{{({DISPLAYED})\}}.*?\\end\{{\1\}}",
    r"\\\[.*?\\\]",
    r"\\(?:cite[a-z]*|nocite)\*?(?:\[[^]]*\])*\{[^}]*\}",
    r"\\given\{(?:[^{}]|\{[^{}]*\})*\}\{[^}]*\}",
    r"\\(?:result|ifresult|derived|ref|eqref|label|input|generatedtable|begin|end)\{[^}]*\}",
    r"\\includegraphics(?:\[[^]]*\])?\{[^}]*\}",
    r"\\(?:setlength|setcounter)\{?\\[a-z]+\}?\{[^}]*\}",
    r"\\[a-z]+=\d+[a-z]+",  # lengths
    r"\bM/[A-Z]+/\d",  # stations are called so
)


def typed(source: str) -> Iterator[tuple[int, str]]:
    r"""Lines and numbers of a section that are neither from results nor said where they are from.

    In formulas single digits are structure; a decimal, or a number of more digits, is a value.

    >>> list(typed(r"A loss of 5\,\% at $K=256$, or \result{eps}, takes $N-1$ slots. % 7"))
    [(1, '5'), (1, '256')]
    >>> list(typed(r"QEMU \given{7.2}{Debian}"))
    []
    """
    blanked = re.sub(r"(?<!\\)%.*", "", source)
    for pattern in LEFT_OUT:
        blanked = re.sub(pattern, lambda found: "\n" * found[0].count("\n"), blanked, flags=re.DOTALL)
    for start, part in _parts(blanked):
        value = r"\d+\.\d+|\d{2,}" if part.startswith("$") else r"\d[\d.,]*"
        for found in re.finditer(value, part):
            yield blanked.count("\n", 0, start + found.start()) + 1, found[0]


def defined(source: str) -> list[str]:
    r"""Symbols that the text says the meaning of, in the words in which it mostly does.

    >>> defined(r"Let $L$ be the time, with $u$ the quantile. Let $V_1\le V_2$ be what is left.")
    ['L', 'u']
    """
    return re.findall(r"\b(?:[Ll]et|[Ww]ith)\s+\$(\\?[A-Za-z]+(?:_[a-z])?)\$\s+(?:be|the)\b", source)


def _parts(source: str) -> Iterator[tuple[int, str]]:
    """Text and formulas in turn, with where they begin."""
    for found in re.finditer(r"(?<!\\)\$.*?(?<!\\)\$|(?:[^$\\]|\\.)+", source, flags=re.DOTALL):
        yield found.start(), found[0]


def complaints(log: str, bibliography: str = "") -> list[str]:
    r"""What the logs of TeX and BibTeX hold against the paper.

    >>> complaints("Overfull \\hbox (0.4pt too wide) at line 1\nLaTeX Warning: Reference `x' undefined")
    ["LaTeX Warning: Reference `x' undefined"]
    >>> complaints("Overfull \\hbox (3.5pt too wide) at line 1")
    ['Overfull \\hbox (3.5pt too wide) at line 1']
    """
    lines = log.splitlines()
    found = [line for line in lines if re.match(r"(LaTeX|Package natbib) Warning: .*(undefined|multiply)", line)]
    found += [line for line in lines if line.startswith("Missing character") or "destination with the same" in line]
    for line in lines:
        sticking = re.match(r"Overfull \\[hv]box \((\d+\.\d+)pt", line)
        if sticking and float(sticking[1]) > WIDEST:
            found.append(line)
    complained = ("Warning--", "I couldn't", "I found")
    return found + [line for line in bibliography.splitlines() if line.startswith(complained)]


def too_long(references: str) -> list[str]:
    r"""What TeX's file of references says against the length of the paper, which ends at the label end.

    >>> too_long(r"\newlabel{end}{{13}{20}{Conclusion}{section.13}{}}")
    []
    >>> too_long(r"\newlabel{end}{{13}{21}{Conclusion}{section.13}{}}")
    ['the paper proper has 21 pages, of at most 20']
    """
    found = re.search(r"\\newlabel\{end\}\{\{[^}]*\}\{(\d+)\}", references)
    if not found:
        return ["the label at the end of the paper proper is missing"]
    return [f"the paper proper has {found[1]} pages, of at most {LONGEST}"] if int(found[1]) > LONGEST else []
