"""What train.py and eval.py share: flags in, and one sentence out when something is wrong."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

from rgbir_jax.training.interrupt import Interrupted

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error arose, not its sentence alone.")


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; what the user can mend ends in one sentence and a non-zero exit."""
    app.run(lambda argv: _one_sentence(main), flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        # A config file that fails leaves its whole traceback in the message; the last line says what is wrong.
        sentence = str(error).strip("; \n").splitlines()[-1].removeprefix("ValueError: ")
        sys.exit(f"{_program()}: {sentence} --help lists the flags.")
    except (AttributeError, KeyError) as error:
        # ml_collections names the key in quotes, and quotes that, and guesses where it can.
        unknown, *guess = re.findall(r"^\W*(\w+)|Did you mean \W*(\w+)", str(error))
        said = f"; did you mean {guess[0][1]}?" if guess else "; its file lists the keys that there are."
        sys.exit(f"{_program()}: the config has no key {unknown[0]}{said}")
    except (TypeError, ValueError, ImportError, OSError, SyntaxError) as error:
        sys.exit(f"{_program()}: {error}")
    if len(rest) > 1:
        sys.exit(f"{_program()}: {rest[1]} is not understood; flags are written --name=value.")
    return rest


def _one_sentence(main: Callable[[], None]) -> None:
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    try:
        main()
    except (Interrupted, ValueError, OSError, ImportError, FloatingPointError) as error:
        if _TRACEBACK.value:
            raise
        sys.exit(f"{_program()}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{_program()}: stopped; the same command goes on from the last checkpoint.")


def _program() -> str:
    return Path(sys.argv[0]).name
