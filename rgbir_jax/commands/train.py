"""Trains a recipe: `python train.py --config quickstart --workdir runs/quickstart`.

The same command resumes what was interrupted and skips what is finished. `--config` takes a file or the name of
a shipped recipe, followed by :PRESET if it has presets; `--config.KEY=VALUE` changes a value. `--describe` prints the
recipe and trains nothing. With `--distributed`, several processes that were given the same command train one run.
"""

import contextlib

from absl import flags
from ml_collections import config_flags

from rgbir_jax.commands.flags import run
from rgbir_jax.errors import UserError
from rgbir_jax.training.interrupt import Interrupted

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The recipe: a file, or the name of a shipped one, such as quickstart or sysu_image:dgnet."
)
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder: checkpoints, logs and results.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Print the recipe instead of training.")
FLOPS = flags.DEFINE_bool("flops", False, "With --describe: compile each step and count its operations.")
JSON = flags.DEFINE_bool("json", False, "With --describe: print it as JSON.")
DEBUG_NANS = flags.DEFINE_bool(
    "debug_nans", False, "If training stops because numbers are not finite, replay that batch to find the operation."
)
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "This is one of several processes that train this run.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first process, if it cannot be detected.")
PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "The number of processes, if it cannot be detected.")
PROCESS_INDEX = flags.DEFINE_integer("process_index", None, "This process's number, from 0.")


def train() -> None:
    """Trains or describes, as the flags say."""
    if CONFIG.value is None:
        raise UserError("--config is missing: name a recipe, such as quickstart, or a config file.")
    if (FLOPS.value or JSON.value) and not DESCRIBE.value:
        raise UserError("--flops and --json belong to --describe; add it, or leave them out.")
    if DESCRIBE.value:
        from rgbir_jax.commands import describe

        print(describe.describe(CONFIG.value, as_json=JSON.value, flops=FLOPS.value))
        return
    if not WORKDIR.value:
        raise UserError("--workdir is missing: name the run's folder.")
    from rgbir_jax.commands import recipe
    from rgbir_jax.training import processes

    given = COORDINATOR.value, PROCESS_COUNT.value, PROCESS_INDEX.value
    several = DISTRIBUTED.value or any(value is not None for value in given)
    try:
        with processes.joined(*given) if several else contextlib.nullcontext():
            recipe.train(CONFIG.value, WORKDIR.value, DEBUG_NANS.value)
    except KeyboardInterrupt as error:  # before the first iteration, or the second Ctrl-C
        raise Interrupted("stopped; the same command resumes from the last checkpoint.") from error


def main() -> None:
    """Runs the command line."""
    run(train)
