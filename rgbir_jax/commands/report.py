"""The report of a scored run: its figures and what they are made of."""

import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from rgbir_jax.commands import explained
from rgbir_jax.commands.recipe import sample_rows
from rgbir_jax.commands.scoring import Scored, way_out
from rgbir_jax.data import augment
from rgbir_jax.datasets import find_dataset
from rgbir_jax.evaluation import disentanglement
from rgbir_jax.evaluation.counterfactuals import swapper, true_drawing
from rgbir_jax.evaluation.nearest import nearest
from rgbir_jax.evaluation.scores import comparison, systems
from rgbir_jax.synthetic import open_drawn
from rgbir_jax.visualize import curves, rankings, report, swaps, tsne
from rgbir_jax.visualize.counterfactuals import beside_truth

PROBES, LIST, PEOPLE = 8, 10, 10
PAPER_ITERATIONS = 150_000  # of the image stage, as DG-Net trains with this many identities


def write(scored: Scored, measured: Mapping | None = None) -> str:
    """Writes `report.html` and its figures beside the scores.

    Args:
        scored: a scored run.
        measured: the content of disentanglement.json, if it was measured.

    Returns:
        The path of the page.
    """
    run = scored.run
    figures = [_cmc(scored), _rankings(scored), *filter(None, [explained.shown(scored)])]
    people, shown = _some_people(scored)
    if not (without := tsne.cannot_plot(scored.features[shown])):
        figures.append(_tsne(scored, people, shown))
    figures += _pictures(scored)
    if measured and "dci" in measured and len(sample_rows(run.config, scored.source.records)):
        figures.append(_truth(scored))
    figures += [shown for name in run.stages if (shown := _training(scored, name))]
    notes = [sentence] if (sentence := comparison(scored.scores)) else []
    verdicts = disentanglement.sentences(measured) if measured else []
    notes += [*verdicts[:1], *filter(None, [without])]
    if "control" in run.stages:
        notes.append(
            "control: the teacher, trained for as many more iterations as the image stages, with the same batches and "
            "learning rates, by its identification loss only."
        )
    if "(drawn)" in scored.scores["dataset"]:
        notes.append("The people in this dataset are drawn by a program: its scores say nothing about real cameras.")
    title = f"{run.folder.resolve().name}: RGB-infrared person re-identification"
    path = report.write(
        scored.folder,
        title=title,
        facts=_facts(scored),
        scores=scored.scores,
        notes=notes,
        verdicts=verdicts[1:],
        measured=disentanglement.tables(measured) if measured else [],
        figures=figures,
        way_out=way_out(run),
    )
    return str(path)


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


def _rankings(scored: Scored) -> report.Shown:
    """Draws the lists of probes from the best to the worst in the gallery of the first trial."""
    table, features = scored.benchmark.records, scored.features
    search = scored.benchmark.searches[0]
    gallery = search.galleries[0]
    probes = _spread(search.probes, table.person_id)
    hidden = search.hidden(table.select(probes), table.select(gallery))
    order, distance = nearest(features[probes], features[gallery], hidden=hidden)
    right = (table.person_id[gallery[order]] == table.person_id[probes][:, None]) & np.isfinite(distance)
    found = right.any(axis=1)
    first = np.where(found, right.argmax(axis=1), len(gallery))
    probes, order, distance, right, first = (
        x[np.argsort(first, kind="stable")] for x in (probes, order, distance, right, first)
    )
    chosen = np.unique(np.linspace(0, len(probes) - 1, min(PROBES, len(probes))).astype(int))
    ranked = gallery[order[chosen, :LIST]]

    def images(rows):
        return scored.source.read(scored.benchmark.rows[rows])

    figure = rankings.ranked_lists(
        images(probes[chosen]),
        images(ranked.ravel()).reshape(*ranked.shape, *scored.source.image_size, 3),
        right[chosen, :LIST],
        [f"{table.person_id[row]}, camera {table.camera[row]}" for row in probes[chosen]],
        [
            [f"{table.person_id[row]}, c{table.camera[row]}\n{d:.2f}" for row, d in zip(rows, distances, strict=True)]
            for rows, distances in zip(ranked, distance[chosen, :LIST], strict=True)
        ],
    )
    caption = (
        f"{search.title}: probes from the best found (top) to the worst (bottom), one per person, and their nearest "
        f"images in the gallery of the first trial, with identity, camera and distance. "
        "Solid green with a tick: the same person; dashed red with a cross: somebody else."
    )
    return report.Shown("rankings", "Ranked lists", caption, figure)


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


def _pictures(scored: Scored) -> list[report.Shown]:
    run = scored.run
    stage, state = run.stages[run.last], run.states[run.last]
    rows = sample_rows(run.config, scored.source.records)
    if not len(rows):
        return []
    sources = scored.source.read(rows)
    grids = {
        name: np.asarray(grid) for name, grid in jax.jit(stage.pictures)(state, augment.normalise(sources)).items()
    }
    shown = []
    if "swapped" in grids:
        shown.append((
            "swapped", "Swapped images",
            "Test people: each structure (row) combined with each appearance (column). The originals are framed. "
            f"The dotted diagonal is reconstruction; its target is the original itself. {progress(scored)}",
            swaps.swapped_grid(sources, grids["swapped"]),
        ))  # fmt: skip
    if "between_appearances" in grids:
        shown.append((
            "between_appearances", "Between two appearances",
            "One structure per row, that of the left original. The appearance code moves from the left original's to "
            "the right one's.",
            swaps.strips(sources, grids["between_appearances"], "appearance"),
        ))  # fmt: skip
        shown.append((
            "between_structures", "Between two structures",
            "One appearance per row, that of the left original. The structure code moves from the left original's to "
            "the right one's.",
            swaps.strips(sources, grids["between_structures"], "structure"),
        ))  # fmt: skip
    return [report.Shown(*figure) for figure in shown]


def _truth(scored: Scored) -> report.Shown:
    """Draws swapped images of the first test people beside the drawings that they should be."""
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


def progress(scored: Scored) -> str:
    """Says how far training got: iterations compared with the paper's, and the error of reconstructed test images."""
    error, steps = scored.scores["reconstruction"], scored.scores["steps"]
    share = error["l1"] / error["mean_image"]
    return (
        f"Drawn after {steps:,} iterations; the paper trains {PAPER_ITERATIONS:,}. The mean L1 error of "
        f"reconstructed test images is {error['l1']:.2f}, {share:.0%} of what their mean image scores "
        f"({error['mean_image']:.2f})."
    )


def _training(scored: Scored, name: str) -> report.Shown | None:
    figure = curves.training_curves(curves.read_log(scored.run.folder / name / "metrics.jsonl"))
    caption = "Losses by the paper's symbols."
    return figure and report.Shown(f"training_{name}", f"Training of stage {name}", caption, figure)


def _spread(probes: np.ndarray, person_id: np.ndarray) -> np.ndarray:
    """Returns one probe of each person."""
    _, first = np.unique(person_id[probes], return_index=True)
    return probes[first]
