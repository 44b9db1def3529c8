"""Trains a recipe: `python train.py --config configs/quickstart.py --workdir runs/quickstart`.

The same command goes on with what was interrupted and leaves alone what is finished. `--describe` prints the recipe and
trains nothing; `--config.KEY=VALUE` changes a value of the config.
"""

from absl import flags
from ml_collections import config_flags

from rgbir_jax import command_line

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe: a file of configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run: checkpoints, logs and results.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Print the recipe instead of training.")
JSON = flags.DEFINE_bool("json", False, "With --describe: print it as JSON.")
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

    recipe.train(CONFIG.value, WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main)
