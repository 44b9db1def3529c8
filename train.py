"""Trains a recipe: `python train.py --config configs/quickstart.py --workdir runs/quickstart`.

The same command goes on with what was interrupted and leaves alone what is finished. `--describe` prints the recipe and
trains nothing; `--config.KEY=VALUE` changes a value of the config. With `--distributed`, several processes that were
given the same command train one run.
"""

import contextlib

from absl import flags
from ml_collections import config_flags

from rgbir_jax import command_line

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe: a file of configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run: checkpoints, logs and results.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Print the recipe instead of training.")
JSON = flags.DEFINE_bool("json", False, "With --describe: print it as JSON.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "This is one process of several that train this run.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first process, where none tells it.")
PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "Processes of this run, where none tells it.")
PROCESS_INDEX = flags.DEFINE_integer("process_index", None, "The number of this process, from 0.")
flags.mark_flag_as_required("config")


def main() -> None:
    """Trains or describes."""
    if DESCRIBE.value:
        from rgbir_jax import describe

        print(describe.describe(CONFIG.value, as_json=JSON.value))
        return
    if not WORKDIR.value:
        raise ValueError("--workdir is missing: name the folder of this run.")
    from rgbir_jax import recipe
    from rgbir_jax.training import processes

    given = COORDINATOR.value, PROCESS_COUNT.value, PROCESS_INDEX.value
    several = DISTRIBUTED.value or any(value is not None for value in given)
    with processes.joined(*given) if several else contextlib.nullcontext():
        recipe.train(CONFIG.value, WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main)
