"""The paper: sections in LaTeX by hand, and everything in them that is a number, a table or a figure by scripts.

`python -m paper` reads top to bottom:

    results.py     the tables in validation/results, and how numbers are written
    numbers.py     the numbers of the text, by names: \\result{name} in a section
    notation.py    the table of notation, with the names that the library has for the same
    tables.py      the other tables
    figures.py     the figures
    appendix.py    the derivations there are
    stale.py       committed results beside what the library gives today
    proofread.py   numbers typed by hand, and what TeX complains of
"""
