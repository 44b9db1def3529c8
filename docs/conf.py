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
exclude_patterns = ["conf.py"]
html_theme = "furo"
html_title = f"rgbir_jax {release}"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True
napoleon_use_ivar = True

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


def setup(app: Sphinx) -> None:
    """Connects the above."""
    app.connect("include-read", make_links_relative)
