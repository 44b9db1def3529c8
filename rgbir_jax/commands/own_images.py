"""What the programs for a user's own images share: their flags, and what they end with.

Exit status: 0 if everything was read, 1 if some images could not be read and were left out, 2 if nothing was done, 130
after Ctrl-C.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.origin import INCLUDED
from rgbir_jax.run import Run, load

DEFAULT = "drawn"


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """Returns a parser with the flags that the programs share."""
    flags = argparse.ArgumentParser(
        program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--run", help=f"a run's folder, or the name of a model that comes along; else {DEFAULT}")
    flags.add_argument("--modality", choices=MODALITIES, help="of all images; else it is guessed for each")
    return flags


def opened(run: str | None) -> Run:
    """Opens a run. Without one, the model that comes with the package is opened, and its limit is printed on stderr."""
    model = load(os.path.expanduser(run or DEFAULT))
    if not run and model.folder.parent == INCLUDED:
        print(f"Without --run, {DEFAULT} computes the features; it knows drawn people only.", file=sys.stderr)
    return model


def ends(program: str, function: Callable[[], bool]) -> None:
    """Calls a program's function, which says whether every image was read, and ends with the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names need not be UTF-8
    try:
        sys.exit(0 if function() else 1)
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: stopped.", file=sys.stderr)
        sys.exit(130)
