"""The project's pages: what stands in their code and links."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "rgbir_jax" / "trained" / "drawn" / "README.md",
]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"

SHELL = {"", "sh", "bash"}  # languages of blocks that hold commands; an indented block has none
NO_CODE = {"text", "bibtex"}
PROGRAMS = ("make", "pip", "python", "srun", "gcloud", "train.py", "eval.py")
IS_COMMAND = re.compile(rf"({'|'.join(PROGRAMS)})\s|rgbir-\w+")  # of code within a sentence


class Command(NamedTuple):
    """A command of a page.

    Attributes:
        page: the page's path in the repository.
        words: the words, without what a shell does with the output.
        is_whole: whether it stands in a block; a command within a sentence may leave out what is needed.
    """

    page: str
    words: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def tokens(page: Path) -> list[Token]:
    """Parses a page; the tokens within sentences are among the others."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return [inner for token in parsed for inner in (token, *(token.children or []))]


def language(token: Token) -> str:
    """Returns the language of a block of code."""
    return token.info.split()[0] if token.info.strip() else ""


def blocks(page: Path, languages: set[str]) -> list[str]:
    """Returns the blocks of code in some languages."""
    return [t.content for t in tokens(page) if t.type in ("fence", "code_block") and language(t) in languages]


def commands(page: Path) -> Iterator[Command]:
    """Yields the commands of a page, those in blocks and those within sentences."""
    name = str(page.relative_to(ROOT))
    for block in blocks(page, SHELL):
        yield from (Command(name, words, True) for words in split(block))
    for token in tokens(page):
        if token.type == "code_inline" and IS_COMMAND.match(token.content):
            yield from (Command(name, words, False) for words in split(token.content))


def split(text: str) -> list[tuple[str, ...]]:
    """Splits lines into commands, and these into words."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [shlex.split(re.sub(r"\s2?>.*", "", line), comments=True) for line in lines]
    return [tuple(words) for words in found if words]


def links(page: Path) -> list[str]:
    """Returns the targets of a page's links and pictures that are in the repository."""
    ends = [token for token in tokens(page) if token.type in ("link_open", "image")]
    targets = [str(token.attrGet("href") or token.attrGet("src") or "") for token in ends]
    return [target for target in targets if target and not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Returns the names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def notebook_cells() -> list[dict]:
    """Returns the notebook's cells of code."""
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def notebook_commands() -> list[Command]:
    """Returns the notebook's commands, with the values of its first cell."""
    values: dict[str, object] = {}
    exec("".join(notebook_cells()[0]["source"]), values)
    text = "\n".join("".join(cell["source"]) for cell in notebook_cells()).replace("\\\n", " ")
    shell = "\n".join(line.removeprefix("!") for line in text.splitlines() if line.startswith("!"))
    filled = re.sub(r"\{(\w+)\}", lambda name: str(values[name[1]]), shell)
    return [Command(str(NOTEBOOK.relative_to(ROOT)), words, True) for words in split(filled)]
