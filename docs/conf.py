"""Settings of Sphinx: pages in Markdown, the reference from the docstrings, nothing fetched from anywhere."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version as version_of
from itertools import pairwise
from typing import Any

from docs.methods import atlas_held_out, atlas_table, atlas_words, methods_table
from qtheory.result import Result

project = "qtheory"
author = "The qtheory authors"
copyright = author
release = version = version_of("qtheory-aio")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"qtheory {release}"
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False

myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3
myst_substitutions = {
    "solve_methods": methods_table("solve"),
    "drain_methods": methods_table("drain"),
    "atlas": atlas_table(),
    "atlas_words": atlas_words(),
    "atlas_held_out": atlas_held_out(),
    "version": release,
}

default_role = "literal"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

LISTS = ("Parameters", "Attributes", "Returns", "Raises")
ARRAY = re.compile(r"~?(numpy\.)?ndarray\[~?tuple\[.*?\.\.\.\], ~?(numpy\.)?dtype\[~?(numpy\.)?(\w+)\]\]")
ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
NAME = re.compile(r"\w+(\.\w+)*(?=$|\()")
"""A name, or what is called."""


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", end_sections, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-signature", shorten)
    app.connect("doctree-resolved", link)


def end_sections(_app: Any, what: str, _name: str, _thing: object, _options: Any, lines: list[str]) -> None:
    """A paragraph at the margin ends a list of parameters: "Raises ValueError for ..." is not one more of them.

    And what stands before a colon is not the type of a property: an empty comment tells napoleon so. Of a named tuple's
    field Python itself says no more than its number.
    """
    if what in ("attribute", "data", "property"):
        lines[:] = ["..", "", *(line for line in lines if not line.startswith("Alias for field"))]
        return
    listing = False
    out: list[str] = []
    for line, after in pairwise([*lines, ""]):
        if after.startswith("---"):
            listing = line in LISTS
        elif listing and line and not line[0].isspace() and out[-1] == "" and not after[:1].isspace():
            out += ["Notes", "-----"]
            listing = False
        out.append(line)
    lines[:] = out


def shorten(
    _app: Any, what: str, _name: str, thing: object, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Arrays by their short names, and no signature for answers: users read them, and never make them."""
    if what == "class" and inspect.isclass(thing) and issubclass(thing, Result):
        return "", None
    return signature and short(signature), returned and short(returned)


def short(types: str) -> str:
    """Types as they stand in the source."""
    return ALIAS.sub(r"\1", ARRAY.sub(r"NDArray[\4]", types))


def link(app: Any, doctree: Any, page: str) -> None:
    """Lead from `qt.solve` and from `SteadyState`, in a page or a docstring, to where the reference has it."""
    from docutils import nodes
    from sphinx import addnodes
    from sphinx.util.nodes import make_refnode

    for node in list(doctree.findall(addnodes.desc_annotation)):
        if ARRAY.search(node.astext()):
            node[:] = [nodes.Text(short(node.astext()))]

    objects = app.env.get_domain("py").objects
    classes = {name.rsplit(".", 1)[-1]: name for name, entry in objects.items() if entry.objtype == "class"}
    for literal in list(doctree.findall(nodes.literal)):
        found = NAME.match(literal.astext())
        word = found.group() if found else ""
        name = "qtheory" + word[2:] if word.startswith("qt.") else word if "." in word else classes.get(word)
        if name in objects and not isinstance(literal.parent, nodes.reference):
            entry = objects[name]
            reference = make_refnode(app.builder, page, entry.docname, entry.node_id, literal.deepcopy(), name)
            literal.replace_self(reference)
