"""The report of a scored run: its figures and what they are made of."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from rgbir_jax.commands import explained, failures, generated
from rgbir_jax.commands.recipe import sample_rows
from rgbir_jax.commands.scoring import Scored, way_out
from rgbir_jax.data import augment
from rgbir_jax.datasets import find_dataset
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import disentanglement
from rgbir_jax.evaluation.comparison import SEEDS, sentence, signed, verdict
from rgbir_jax.evaluation.counterfactuals import swapper, true_drawing
from rgbir_jax.evaluation.disentanglement import Table
from rgbir_jax.evaluation.scores import earlier_stages, systems, verification_table
from rgbir_jax.evaluation.thresholds import Thresholds
from rgbir_jax.evaluation.verification import CURVE, SUPPORT
from rgbir_jax.synthetic import open_drawn
from rgbir_jax.visualize import curves, report, tsne
from rgbir_jax.visualize.counterfactuals import beside_truth

PEOPLE = 10


def write(scored: Scored, measured: Mapping | None = None) -> str:
    """Writes `report.html` and its figures next to the scores.

    Args:
        scored: a scored run.
        measured: the content of disentanglement.json, if it was measured.

    Returns:
        The path of the page.
    """
    run, figure = scored.run, report.Section.of
    verdicts = disentanglement.sentences(measured) if measured else []
    people, shown = _some_people(scored)
    without = tsne.cannot_plot(scored.features[shown])
    sections = [_reranked(scored.scores["reranked"], scored)] if "reranked" in scored.scores else []
    sections += [figure(_cmc(scored)), _verification(scored), failures.section(scored), failures.ranked_lists(scored)]
    if evidence := explained.shown(scored):
        sections.append(figure(evidence))
    if not without:
        sections.append(figure(_tsne(scored, people, shown)))
    if measured:
        sections.append(report.Section("Disentanglement", verdicts[1:], disentanglement.tables(measured)))
    sections += map(figure, generated.figures(scored))
    if measured and "dci" in measured and len(sample_rows(run.config, scored.source.records)):
        sections.append(figure(_truth(scored)))
    sections += [figure(shown) for name in run.stages if (shown := _training(scored, name))]
    path = report.write(
        scored.folder,
        title=f"{run.folder.resolve().name}: RGB-infrared person re-identification",
        headline=_headline(scored, [*verdicts[:1], *filter(None, [without])]),
        facts=_facts(scored),
        scores=scored.scores,
        sections=sections,
        way_out=way_out(run),
    )
    return str(path)


def _headline(scored: Scored, notes: Sequence[str]) -> report.Headline:
    """Puts rank-1 and mAP of the first search next to those of what the run is compared with."""
    scores, search = scored.scores, scored.benchmark.searches[0]
    own = scores["trained"][search.name]
    people = len(np.unique(scored.benchmark.records.person_id[search.probes]))
    rows, words = [["trained", *_percent(own), "", ""]], []
    for name in ("chance", "raw_pixels", *earlier_stages(scores)):
        ahead = ["", ""]
        if name != "chance":
            gain = scored.probes.ahead(scored.probes, search.name, "AP", "trained", name)
            ahead = [signed(gain), verdict(gain)]
            words += [sentence(gain, f"its {name}")] if name in ("teacher", "control") else []
        rows.append([report.SYSTEM_NAMES.get(name, name), *_percent(scores[name][search.name]), *ahead])
    table = Table(
        f"What it is compared with, in %. How far the trained stage is ahead in mAP, with the 95% interval of a paired "
        f"bootstrap over the {people} persons",
        ["", "rank-1", "mAP", "trained is ahead by", "verdict"],
        rows,
    )
    text = (
        f"{search.title}, protocol {scores['protocol']}: {own['counted_probes']:,} images of {people} people never "
        f"seen in training are looked for among {own['gallery_images']:,} images. {scores['dataset']}."
    )
    return report.Headline(100 * own["cmc"][0], 100 * own["mAP"], text, table, [*words, *_notes(scored), *notes])


def _percent(score: Mapping) -> list[str]:
    return [f"{100 * score['cmc'][0]:.2f}", f"{100 * score['mAP']:.2f}"]


def _notes(scored: Scored) -> list[str]:
    notes = [SEEDS]
    if "control" in scored.run.stages:
        notes.append(
            "control: the teacher, trained further with its identification loss only, for as many iterations as the "
            "image stages, in the same batches and at the rates of the first of them."
        )
    if "(drawn)" in scored.scores["dataset"]:
        notes.append("The people in this dataset are drawn by a program: its scores say nothing about real cameras.")
    return notes


def _reranked(again: Mapping, scored: Scored) -> report.Section:
    """Shows re-ranked scores apart from the others."""
    rows = [
        [scored.scores["settings"][setting], *_percent(row), f"{100 * row['cmc'][9]:.2f}", f"{100 * row['mINP']:.2f}"]
        for setting, row in again["scores"].items()
    ]
    caption = f"trained, {again['label']}; protocol {scored.scores['protocol']}; in %, mean over the trials"
    text = (
        "Images are near if they have the same neighbours, the other probes among them. A search for one person has no "
        "other probes, so these scores do not compare with those above, nor with published ones that are not re-ranked."
    )
    return report.Section("Re-ranked", [text], [Table(caption, ["", "rank-1", "mAP", "rank-10", "mINP"], rows)])


def _verification(scored: Scored) -> report.Section:
    """Says how well a threshold of distance tells whether two images show the same person."""
    search = scored.benchmark.searches[0]
    rows = {
        report.SYSTEM_NAMES.get(name, name): by_setting[search.name]["verification"]
        for name, by_setting in systems(scored.scores).items()
        if "verification" in by_setting[search.name]
    }
    curve = {"chance": (CURVE, CURVE)} | {name: tuple(row["roc"].values()) for name, row in rows.items()}
    figure = report.Shown(
        "roc",
        "ROC",
        f"Share of the pairs of one person and of two persons that a threshold accepts; {search.title}. The line ends "
        f"where fewer than {SUPPORT} pairs would decide.",
        curves.roc_curves(curve),
    )
    return report.Section(
        "Same person or not", [_threshold(scored.thresholds)], [verification_table(rows, search.title)], [figure]
    )


def _threshold(found: Thresholds | None) -> str:
    """Says which threshold the run keeps."""
    if found is None:
        return "No identities were kept out of training for validation, so the run keeps no threshold."
    try:
        distance = found.at(1e-3)
    except UserError as error:
        return f"The run keeps thresholds found on validation identities: {error}"
    return (
        f"On {found.people} validation identities, one in 1,000 of {found.different_pairs:,} pairs of two persons is "
        f"closer than {distance:.3f}: Run.threshold(1e-3) gives this distance."
    )


def _facts(scored: Scored) -> dict[str, str]:
    """Returns what was run, by name."""
    run, config = scored.run, scored.run.config
    records, dataset = scored.source.records, find_dataset(config.dataset)
    unused = dataset.unused_options(Path(config.data_dir)) if dataset.unused_options else ()
    options = {key: config[key] for key in dataset.options if key in config and key not in unused}
    of_split = {split: records.person_id[records.split == split] for split in dict.fromkeys(records.split.tolist())}
    splits = ", ".join(
        f"{split} {len(person_id):,} images of {len(np.unique(person_id)):,} people"
        for split, person_id in of_split.items()
    )
    return {
        "recipe": " → ".join(f"{name} ({config[name].steps:,} iterations)" for name in config.recipe),
        "scored": f"iteration {scored.scores['steps']:,} of {run.last}; {time.strftime('%Y-%m-%d %H:%M')}",
        "dataset": f"{scored.scores['dataset']}, {config.data_dir}, images {'×'.join(map(str, config.image_size))}",
        "splits": splits,
        **{key: str(value) for key, value in options.items() if value != ""},
        "trained on": f"{config.train_split}; scored on identities never seen in training",
        "seed": str(config.seed),
        "command": run.facts.command,
        "started": f"{run.facts.started}; {_duration(scored)}",
        "code": ", ".join(
            [f"commit {run.facts.commit}"] * bool(run.facts.commit)
            + [f"{package} {version}" for package, version in run.facts.versions.items()]
        ),
        "device": f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}",
    }


def _duration(scored: Scored) -> str:
    """Returns in words how long the stages of this run trained."""
    run = scored.run
    logs = [run.folder / name / "metrics.jsonl" for name in run.stages]
    began = time.mktime(time.strptime(run.facts.started, "%Y-%m-%d %H:%M"))
    minutes = max(((log.stat().st_mtime - began) / 60 for log in logs if log.is_file()), default=0)
    return f"the log ends {minutes:,.0f} min later"


def _cmc(scored: Scored) -> report.Shown:
    setting, title = next(iter(scored.scores["settings"].items()))
    curve = {
        report.SYSTEM_NAMES.get(name, name): by_setting[setting]["cmc"]
        for name, by_setting in systems(scored.scores).items()
    }
    caption = f"Share of probes whose person is among the first k; {title}, mean over the trials."
    return report.Shown("cmc", "CMC curves", caption, curves.cmc_curves(curve))


def _some_people(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Chooses test people. Returns their numbers, and which of the scored images show them."""
    person_id = scored.benchmark.records.person_id
    people = np.random.default_rng(0).permutation(np.unique(person_id[person_id > 0]))[:PEOPLE]
    return people, np.isin(person_id, people)


def _tsne(scored: Scored, people: np.ndarray, shown: np.ndarray) -> report.Shown:
    table = scored.benchmark.records
    figure = tsne.embedding_plot(scored.features[shown], table.person_id[shown], table.modality[shown])
    caption = f"t-SNE of the features of {len(people)} test identities, one colour each: squares RGB, circles IR."
    return report.Shown("tsne", "Features in the plane", caption, figure)


def _truth(scored: Scored) -> report.Shown:
    """Draws swapped images of the first test people next to the drawings that they should be."""
    run, source = scored.run, scored.source
    drawn = open_drawn(run.config.data_dir)
    rows = sample_rows(run.config, source.records)
    by_modality = np.array_split(rows, len(run.config.modalities))
    i = np.concatenate([structures[:2] for structures in by_modality for _ in by_modality])
    j = np.concatenate([np.roll(appearances, 1)[:2] for _ in by_modality for appearances in by_modality])
    swap = swapper(run.stages[run.last], run.states[run.last], source)
    shown = {"structure i": source.read(i), "appearance j": source.read(j)}
    shown["G(a_j, s_i)"] = np.asarray(augment.denormalise(swap(i, j)))
    shown["true drawing"] = np.stack(
        [true_drawing(drawn, source, *pair) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    )
    caption = (
        "Person j in the pose of image i, before its camera, in the modality of image j: as G makes it from the two "
        "images, and as the drawing program draws it."
    )
    return report.Shown("truth", "Swapped images and the truth", caption, beside_truth(shown))


def _training(scored: Scored, name: str) -> report.Shown | None:
    figure = curves.training_curves(curves.read_log(scored.run.folder / name / "metrics.jsonl"))
    caption = "Losses by the paper's symbols."
    return figure and report.Shown(f"training_{name}", f"Training of stage {name}", caption, figure)
