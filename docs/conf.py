"""Builds the site: `make docs` writes build/docs/index.html. Warnings, such as dead links, are errors there."""

import os
import re

from sphinx.application import Sphinx

from rgbir_jax import __version__

project = "rgbir_jax"
author = "the authors of rgbir_jax"
release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebook has its outputs, and a test runs it
nb_merge_streams = True
html_theme = "furo"
html_title = f"rgbir_jax {release}"
html_static_path = ["site"]
html_css_files = ["wide.css"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_use_ivar = True
default_role = "code"
smartquotes = False  # they change the dashes of flags

# Files outside docs/ that a page of the site includes.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "rgbir_jax/trained/drawn/README.md": "model_card.md",
}


def with_links_from_docs(text: str, folder: str) -> str:
    """Rewrites links so that they start from docs/ and lead to the page that includes their target.

    Args:
        text: Markdown.
        folder: the folder that the links start from, relative to the repository.
    """

    def rewritten(link: re.Match) -> str:
        path, hash_, anchor = link[1].partition("#")
        target = os.path.normpath(f"{folder}/{path}")
        return f"]({PAGES.get(target) or os.path.relpath(target, 'docs')}{hash_}{anchor})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", rewritten, text)


def as_rst(lines: list[str]) -> None:
    """Changes a docstring to what its parser expects: indented code is marked, and stars are no emphasis."""
    plain, is_code = list(lines), False
    lines.clear()
    for place, line in enumerate(plain):
        before = plain[place - 2] if place > 1 and not plain[place - 1] else ""
        if line.startswith("    ") and before and not before.startswith(" "):
            lines += ["::", ""]
            is_code = True
        is_code = is_code and (not line or line.startswith(" "))
        lines.append(line if is_code else line.replace("*", "\\*"))


def setup(app: Sphinx) -> None:
    """Connects the above to what is read; `content` and `lines` are replaced in place."""

    def of_page(app, name, content):
        content[0] = with_links_from_docs(content[0], "docs")

    def of_included(app, path, page, content):
        content[0] = with_links_from_docs(content[0], f"docs/{path.parent}")

    def of_docstring(app, what, name, thing, options, lines):
        as_rst(lines)
        if what == "property":  # napoleon takes what stands before a colon for its type
            lines[0] = lines[0].replace(": ", " – ")

    app.connect("source-read", of_page)
    app.connect("include-read", of_included)
    # before napoleon
    app.connect("autodoc-process-docstring", of_docstring, priority=400)
