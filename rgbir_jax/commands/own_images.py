"""What the programs for a user's own images share: their flags, and what they end with.

Exit status: 0 if everything was read, 1 if some images could not be read and were left out, 2 if nothing was done, 130
after Ctrl-C, 141 if nobody reads what is printed.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable

from rgbir_jax.commands import stop
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError, of_machine
from rgbir_jax.origin import INCLUDED
from rgbir_jax.run import Run, load

DEFAULT = "drawn"


def parser(
    program: str, description: str | None, modality: str = "of all images; else it is guessed for each"
) -> argparse.ArgumentParser:
    """Returns a parser with the flags that the programs share. `modality` is the help of --modality."""
    flags = argparse.ArgumentParser(
        program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--run", help=f"a run's folder, or the name of a model that comes along; else {DEFAULT}")
    flags.add_argument("--modality", choices=MODALITIES, help=modality)
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
        status = 0 if function() else 1
        sys.stdout.flush()
        sys.exit(status)
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python still writes at its end
        sys.exit(141)  # as a program that SIGPIPE ends
    except KeyboardInterrupt:
        stop(f"{program}: stopped.")
    except Exception as error:
        sentence = error if isinstance(error, UserError) else of_machine(error)
        if sentence is None:
            raise
        print(f"{program}: {sentence}", file=sys.stderr)
        sys.exit(2)
