"""The report of a scored run: which figures it has and what they are made of."""

import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from rgbir_jax import recipe, scoring
from rgbir_jax.data import augment
from rgbir_jax.evaluation.scores import SETTING_NAMES, systems
from rgbir_jax.scoring import Scored
from rgbir_jax.visualize import curves, rankings, report, swaps, tsne

PROBES, LIST, PEOPLE = 8, 10, 10
PAPER_ITERATIONS = 150_000  # of the image stage, as DG-Net trains with this many identities


def write(workdir: str, scored: Scored) -> Path:
    """Writes `report.html` and its figures into a run's folder.

    Args:
        workdir: of the run.
        scored: of `scoring.score`.

    Returns:
        The page's path.
    """
    config = scored.config
    folder = Path(workdir)
    *_, last = scored.stages
    figures = [_cmc(scored), _rankings(scored), _tsne(scored), *_pictures(scored, last)]
    figures += [_training(recipe.directory(config, workdir, name), name) for name in config.recipe]
    drawn = "(drawn)" in scored.scores["dataset"]
    facts = {
        "recipe": " → ".join(f"{name} ({config[name].steps:,} iterations)" for name in config.recipe),
        "dataset": f"{scored.scores['dataset']}, {config.data_dir}, images {'×'.join(map(str, config.image_size))}",
        "trained on": f"{config.train_split}; scored on identities never seen in training",
        "seed": str(config.seed),
        "scored": time.strftime("%Y-%m-%d %H:%M"),
        "device": f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}",
        "versions": ", ".join(f"{package} {version(package)}" for package in ("rgbir-jax", "jax", "flax")),
    }
    notes = [comparison] if (comparison := scoring.comparison(scored.scores)) else []
    if "control" in config.recipe:
        notes.append(
            "control: the teacher, trained for as many more iterations as the image stage, with the same batches and "
            "learning rates, by its identification loss only."
        )
    if drawn:
        notes.append("The people in this dataset are drawn by a program: its scores say nothing of real cameras.")
    return report.write(folder, title=f"{folder.name}: RGB-infrared person re-identification", facts=facts,
                        scores=scored.scores, notes=notes, figures=figures)  # fmt: skip


def _cmc(scored: Scored) -> report.Shown:
    setting = next(iter(scored.scores["trained"]))
    curve = {
        report.SYSTEM_NAMES.get(name, name): found[setting]["cmc"] for name, found in systems(scored.scores).items()
    }
    caption = f"Share of probes whose person is among the first k; {SETTING_NAMES[setting]}, mean over the trials."
    return report.Shown("cmc", "CMC curves", caption, curves.cmc_curves(curve))


def _rankings(scored: Scored) -> report.Shown:
    """Probes spread over the test identities, each against every image of the other kind of camera it may see."""
    table, rows, features = scored.benchmark.records, scored.benchmark.rows, scored.features
    probes, gallery, hidden = scored.benchmark.search()
    chosen = _spread(probes, table.person_id, PROBES)
    order = rankings.nearest(features[chosen], features[gallery], hidden(chosen, gallery), LIST)
    ranked = gallery[order]
    images = scored.source.images(rows[np.concatenate([chosen, ranked.ravel()])])
    made = rankings.ranked_lists(
        images[: len(chosen)],
        images[len(chosen) :].reshape(*ranked.shape, *images.shape[1:]),
        table.person_id[ranked] == table.person_id[chosen][:, None],
    )
    caption = (
        "Probes on the left, then their ten nearest gallery images (all images of the gallery cameras). "
        "Solid green with a tick: the same person; dashed red with a cross: somebody else."
    )
    return report.Shown("rankings", "Ranked lists", caption, made)


def _tsne(scored: Scored) -> report.Shown:
    table = scored.benchmark.records
    people = np.random.default_rng(0).permutation(np.unique(table.person_id[table.person_id > 0]))[:PEOPLE]
    shown = np.isin(table.person_id, people)
    made = tsne.embedding_plot(scored.features[shown], table.person_id[shown], table.modality[shown])
    caption = f"t-SNE of the features of {len(people)} test identities, one colour each: squares RGB, circles IR."
    return report.Shown("tsne", "Features in the plane", caption, made)


def _pictures(scored: Scored, name: str) -> list[report.Shown]:
    stage, state = scored.stages[name]
    sources = scored.source.images(recipe.sample_rows(scored.config, scored.source))
    drawn = jax.jit(stage.pictures)(state, augment.normalise(sources))
    grids = {kind: np.asarray(augment.denormalise(np.asarray(grid))) for kind, grid in drawn.items()}
    made: list[tuple[str, str, str, Figure]] = []
    if "swapped" in grids:
        made.append((
            "swapped", "Swapped images",
            "Test people: each structure (row) combined with each appearance (column). The originals are framed. "
            f"The dotted diagonal is reconstruction; its target is the original itself. {progress(scored)}",
            swaps.swapped_grid(sources, grids["swapped"]),
        ))  # fmt: skip
    if "between_appearances" in grids:
        made.append((
            "between_appearances", "Between two appearances",
            "One structure per row, that of the left original. The appearance code moves from the left original's to "
            "the right one's.",
            swaps.strips(sources, grids["between_appearances"], "appearance"),
        ))  # fmt: skip
        made.append((
            "between_structures", "Between two structures",
            "One appearance per row, that of the left original. The structure code moves from the left original's to "
            "the right one's.",
            swaps.strips(sources, grids["between_structures"], "structure"),
        ))  # fmt: skip
    return [report.Shown(*shown) for shown in made]


def progress(scored: Scored) -> str:
    """Says how far training got: iterations beside the paper's, and the error of reconstructed test images."""
    error, steps = scored.scores["reconstruction"], scored.scores["steps"]
    share = error["l1"] / error["mean_image"]
    return (
        f"Drawn after {steps:,} iterations, where the paper trains {PAPER_ITERATIONS:,}. The mean L1 error of "
        f"reconstructed test images is {error['l1']:.2f}, {share:.0%} of what their mean image scores "
        f"({error['mean_image']:.2f})."
    )


def _training(folder: Path, name: str) -> report.Shown:
    made = curves.training_curves(curves.read_log(folder / "metrics.jsonl"))
    return report.Shown(f"training_{name}", f"Training of stage {name}", "Losses by the paper's symbols.", made)


def _spread(probes: np.ndarray, person_id: np.ndarray, count: int) -> np.ndarray:
    """One probe of each of `count` persons, spread over all of them."""
    _, first = np.unique(person_id[probes], return_index=True)
    return probes[first[np.linspace(0, len(first) - 1, min(count, len(first))).astype(int)]]
