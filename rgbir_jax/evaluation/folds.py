"""Runs on several folds of a dataset, averaged: the form in which figures on RegDB are published."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rgbir_jax.evaluation.runs import Run
from rgbir_jax.evaluation.scores import systems

# Keys in which the runs of one recipe may differ: the fold, and where things are.
_DIFFERENT = {"fold", "data_dir", "prepared_dir", "source", "from_run", "transfer_from"}


def over_folds(runs: Sequence[Run]) -> list[Run]:
    """Replaces runs that differ only in their fold by one run, whose scores are means over the folds.

    A second run on a fold is averaged with the second runs on other folds. Runs that have no fold are returned as they
    are.
    """
    groups: dict[str, dict[int, Run]] = {}  # runs by fold
    for run in runs:
        number = 0
        fold = run.config.get("fold", 0) if isinstance(run.config, dict) else 0
        while fold in groups.get(key := _key(run, fold, number), {}):
            number += 1
        groups.setdefault(key, {})[fold] = run
    return [_mean(group) if len(group) > 1 else next(iter(group.values())) for group in groups.values()]


def _key(run: Run, fold: int, number: int) -> str:
    """Describes what a run shares with those that it is averaged with; `number` counts its recipe's runs on a fold."""
    if not fold or "trained" not in run.scores:
        return str(run.folder)
    recipe = _without(run.config, _DIFFERENT)
    return json.dumps([recipe, run.scores.get("dataset"), run.scores.get("protocol"), number], sort_keys=True)


def _without(tree, keys: set[str]):
    """Returns a nested config without some keys."""
    if not isinstance(tree, dict):
        return tree
    return {key: _without(value, keys) for key, value in tree.items() if key not in keys}


def _mean(by_fold: Mapping[int, Run]) -> Run:
    """Averages runs by fold into one, which counts each fold as a trial."""
    folds = sorted(by_fold)
    runs = [by_fold[fold] for fold in folds]
    scored = [systems(run.scores) for run in runs]
    scores = runs[0].scores | {
        system: {setting: _mean_score([one[system][setting] for one in scored]) for setting in by_setting}
        for system, by_setting in scored[0].items()
        if all(system in one and one[system].keys() == by_setting.keys() for one in scored)
    }
    if len({run.scores.get("steps") for run in runs}) > 1:
        scores["steps"] = None
    folder = runs[0].folder.parent
    place = Path(runs[0].name).parent
    where = "" if place == Path() else f"{place.as_posix()}, "
    return Run(folder, f"{where}folds {', '.join(map(str, folds))}", runs[0].config, scores)


def _mean_score(scores: Sequence[Mapping]) -> dict:
    """Averages what `metrics.summarise` gives; the deviations are those of the folds."""
    rank1, mAP = ([score["cmc"][0] for score in scores], [score["mAP"] for score in scores])
    first = {name: value for name, value in scores[0].items() if name != "verification"}  # pairs of one network
    return first | {
        "cmc": [statistics.fmean(column) for column in zip(*(score["cmc"] for score in scores), strict=True)],
        "mAP": statistics.fmean(mAP),
        "mINP": statistics.fmean(score["mINP"] for score in scores),
        "std": {"rank1": statistics.pstdev(rank1), "mAP": statistics.pstdev(mAP)},
        "trials": [{"rank1": one, "mAP": other} for one, other in zip(rank1, mAP, strict=True)],
        "different_galleries": len(scores),
    }
