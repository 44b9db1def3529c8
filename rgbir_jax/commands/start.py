"""What must hold before a run is started or resumed, and what it notes of itself in its folder."""

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from rgbir_jax.commands import check
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.sources import fingerprint
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.files import write_json
from rgbir_jax.run import Facts, flat, read_config
from rgbir_jax.training import processes
from rgbir_jax.training.checkpoints import has_checkpoint
from rgbir_jax.training.loop import DIVERGED

# Keys that may change between two runs of the same command: where things are and how long it takes, not what is
# computed.
_FREE = {"data_dir", "prepared_dir", "source", "steps", "log_every", "pictures_every", "evaluate_every"}
_FREE |= {"checkpoint_every", "rand_perm", "protocol", "patience_nonfinite"}


def check_files(config: ConfigDict, folder: Path) -> None:
    """Refuses files and runs that are not there, before the dataset is read."""
    if config.resnet50 and not Path(config.resnet50).is_file():
        raise UserError(f"config.resnet50 {config.resnet50} is not there; name torchvision's file, or leave it empty.")
    for name, run in _to_take(config, folder).items():
        if not has_checkpoint(Path(run) / name):
            raise UserError(
                f"{run}/{name} has no checkpoint: config.{name}.from_run does not name a run with a trained stage "
                f"{name}; train it first, or leave the name empty."
            )


def _to_take(config: ConfigDict, folder: Path) -> dict[str, str]:
    """Returns the runs that stages are still to be taken from, by the stage's name."""
    runs = {name: config[name].from_run for name in config.recipe}
    return {name: run for name, run in runs.items() if run and not has_checkpoint(folder / name)}


def check_taken(config: ConfigDict, folder: Path, people: np.ndarray) -> None:
    """Refuses a stage that is taken from a run on other training identities."""
    for name, run in _to_take(config, folder).items():
        if Facts.read(Path(run)).people != people.tolist():
            raise UserError(
                f"{run} was trained on other identities than this dataset's; config.{name}.from_run needs a run on "
                f"the same ones."
            )


def say_faults(config: ConfigDict, records: Records) -> None:
    """Prints what is wrong with the dataset and does not prevent training, such as a file that only scoring needs."""
    galleries = Path(config.rand_perm) if config.rand_perm else None
    dataset, root = find_dataset(config.dataset), Path(config.data_dir)
    for sentence in check.faults(dataset, root, records, (config.protocol,), galleries):
        processes.say(sentence)


def note_run(config: ConfigDict, folder: Path, sampler: IdentitySampler, records: Records) -> None:
    """Writes config.json and run.json if they change, so that a finished run needs no disk that can be written.

    Of a run that is resumed, only the place of its config file can be new.
    """
    if not processes.is_first():
        return
    dataset = find_dataset(config.dataset).title_of(Path(config.data_dir), records)
    facts = Facts.now(sampler.people, config, dataset, fingerprint(config.data_dir, records))
    is_begun = _is_begun(folder)
    if is_begun and (folder / "run.json").is_file():
        facts = dataclasses.replace(Facts.read(folder), config_folder=facts.config_folder)
        if facts != Facts.read(folder):
            facts.write(folder)
    else:
        facts.write(folder)
    before = read_config(folder).to_dict() if is_begun else {}
    if before == config.to_dict():
        return
    for key, rate in flat(config.to_dict()).items() if is_begun else ():
        if key.endswith(".learning_rate") and flat(before)[key] != rate:
            processes.say(
                f"{folder} is trained further with config.{key} = {rate}; up to now it was {flat(before)[key]}."
            )
    write_json(folder / "config.json", config.to_dict())


def _is_begun(folder: Path) -> bool:
    """Says whether a stage of the run has a checkpoint; without one, nothing binds the next start."""
    return any(has_checkpoint(stage) for stage in folder.glob("*"))


def check_same_data(folder: Path, people: np.ndarray, data_dir: str, records: Records) -> None:
    """Refuses to resume a run on other training identities; says so if only the image files changed.

    Args:
        folder: the run's folder.
        people: person_id of each training identity.
        data_dir: the dataset's folder.
        records: its table. The fingerprint of its files also changes if the tree was copied.
    """
    if not (_is_begun(folder) and (folder / "run.json").is_file()):
        return
    facts = Facts.read(folder)
    if facts.people != people.tolist():
        raise UserError(
            f"{folder} was trained on {len(facts.people)} other identities than the {len(people)} of this dataset; "
            f"set --config.data_dir back or choose another --workdir."
        )
    if facts.fingerprint != fingerprint(data_dir, records):
        processes.say(f"{folder} was started on other image files of the same identities; it resumes on these.")


def check_same_run(config: ConfigDict, folder: Path) -> None:
    """Refuses to resume a run with another config. Only a stage whose training has diverged may change its rates."""
    if not _is_begun(folder):
        return
    before, now = (flat(some.to_dict()) for some in (read_config(folder), config))
    for key in sorted(before.keys() | now.keys()):
        stage, last = key.split(".")[0], key.split(".")[-1]
        if last in _FREE or before.get(key) == now.get(key):
            continue
        if key not in before:
            raise UserError(
                f"{folder} was started by a version of this code without config.{key}; finish it with that version "
                f"(run.json names its commit), or choose another --workdir."
            )
        if last == "learning_rate" and (folder / stage / DIVERGED).is_file():
            continue
        raise UserError(
            f"{folder} was started with config.{key} = {before.get(key)}, now it is {now.get(key)}; "
            f"set it back or choose another --workdir."
        )
