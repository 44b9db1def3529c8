"""Builds the site: `make docs` writes build/docs/index.html. Warnings, such as dead links, are errors there."""

import os
import re
from pathlib import Path

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
ROOT = Path(__file__).parents[1]


def make_links_relative(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Rewrites the links of an included file: from its own folder to docs/, and to the page that includes the target.

    Args:
        app: the program that builds the site.
        path: the included file, relative to docs/.
        parent: the name of the page that includes it.
        content: its text, as the only item; it is replaced.
    """
    del app, parent
    folder = os.path.normpath(f"docs/{path.parent}")

    def replaced(link: re.Match) -> str:
        target, hash_, anchor = link[1].partition("#")
        target = os.path.normpath(f"{folder}/{target}")
        return f"]({PAGES.get(target) or os.path.relpath(target, 'docs')}{hash_}{anchor})"

    content[0] = re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", replaced, content[0])


def mark_examples(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Marks the indented lines of a docstring that are code, for a parser that takes them as a quotation.

    Args:
        app: the program that builds the site.
        what: the kind of thing that the docstring belongs to.
        name: its name.
        of: the thing.
        options: the options of the directive.
        lines: the docstring, which is changed.
    """
    del app, what, name, of, options
    for place in range(len(lines) - 1, 1, -1):
        before = lines[place - 2]
        if lines[place].startswith("    ") and not lines[place - 1] and before and not before.startswith(" "):
            lines[place:place] = ["::", ""]


def setup(app: Sphinx) -> None:
    """Connects the above."""
    app.connect("include-read", make_links_relative)
    app.connect("autodoc-process-docstring", mark_examples, priority=400)  # before napoleon
