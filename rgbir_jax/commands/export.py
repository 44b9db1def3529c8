"""Makes a small model of a trained run: what its features and its generated images need, without the optimisers.

    rgbir-export runs/quickstart --out quickstart_model

`rgbir_jax.load` opens the folder as it opens the run. It holds `config.json`, `run.json`, `weights.safetensors` and, if
eval.py found thresholds for "the same person" on validation identities, `thresholds.json`.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import thresholds
from rgbir_jax.files import write_json, writing
from rgbir_jax.inference import weights
from rgbir_jax.lookup import expanded
from rgbir_jax.origin import flat
from rgbir_jax.run import Run, chain, load


def export(run: Run, folder: Path) -> None:
    """Writes the model of a run into a new folder. The names of the persons who trained stay with the run.

    Raises:
        UserError: if the folder exists or cannot be written, or if the run's thresholds are of another iteration.
    """
    if folder.exists():
        raise UserError(f"{folder} exists and is not overwritten; name a new folder.")
    found = run.thresholds() if (run.folder / thresholds.FILE).is_file() else None
    with writing(folder):
        folder.mkdir(parents=True)
    names = chain(run.config)
    weights.write(folder / weights.FILE, {name: run.stages[name] for name in names}, run.states)
    write_json(folder / "config.json", run.config.to_dict())
    own_classes = any(":" in value for value in flat(run.config.to_dict()).values() if isinstance(value, str))
    config_folder = run.facts.config_folder if own_classes else ""
    dataclasses.replace(run.facts, config_folder=config_folder, names=[]).write(folder)
    if found:
        write_json(folder / thresholds.FILE, found.content())


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        "rgbir-export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", required=True, type=expanded, help="the folder to make")
    options = parser.parse_args(argv)
    try:
        export(load(options.run), options.out)
    except UserError as error:
        sys.exit(f"rgbir-export: {error}")


if __name__ == "__main__":
    main()
