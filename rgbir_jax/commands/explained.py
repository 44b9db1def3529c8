"""The figure "Where it looks" of the report: activation maps of some probes and their nearest images."""

import jax
import jax.numpy as jnp
import numpy as np

from rgbir_jax.commands.scoring import Scored
from rgbir_jax.run import chain
from rgbir_jax.training.stage import image_spec
from rgbir_jax.visualize import report
from rgbir_jax.visualize.gradcam import pairs_with_maps

EACH = 4  # pairs of one person, and as many of two


def shown(scored: Scored) -> report.Shown | None:
    """Draws right and wrong nearest images of the first search beside their maps; None for a run without maps."""
    run, table, features = scored.run, scored.benchmark.records, scored.features
    if not run.stages[chain(run.config)[0]].has_feature_map:
        return None
    search = scored.benchmark.searches[0]
    _, first = np.unique(table.person_id[search.probes], return_index=True)
    probes, gallery = search.probes[first], search.galleries[0]
    hidden = search.hidden(table.select(probes), table.select(gallery))
    by_pair = np.where(hidden, -np.inf, features[probes] @ features[gallery].T)
    nearest, similarity = gallery[np.argmax(by_pair, axis=1)], np.max(by_pair, axis=1)
    right = table.person_id[nearest] == table.person_id[probes]
    chosen = np.concatenate([_spread(np.flatnonzero((right == kind) & ~hidden.all(axis=1))) for kind in (True, False)])

    probes, nearest, similarity, right = (x[chosen] for x in (probes, nearest, similarity, right))
    images = [scored.source.read(scored.benchmark.rows[rows]) for rows in (probes, nearest)]
    maps = run.explain(*images, table.modality[probes], table.modality[nearest])
    probe_labels = [f"{table.person_id[row]}, camera {table.camera[row]}" for row in probes]
    labels = [
        f"{table.person_id[row]}, c{table.camera[row]}\nsimilarity {y:.2f}"
        for row, y in zip(nearest, similarity, strict=True)
    ]
    figure = pairs_with_maps((images[0], images[1]), maps, right, probe_labels, labels)
    rows, columns = _positions(scored)
    caption = (
        f"{search.title}: probes and their nearest images in the gallery of the first trial, with the cosine "
        f"similarity of their features. Solid green with a tick: the same person; dashed red with a cross: somebody "
        f"else. The maps (Grad-CAM) show roughly from where in each image the features come that make the two similar. "
        f"They have {rows} × {columns} positions, each map is scaled by its own maximum, and an image in which no "
        f"position adds to the similarity stays dark."
    )
    return report.Shown("evidence", "Where it looks", caption, figure)


def _spread(pairs: np.ndarray) -> np.ndarray:
    """Returns at most `EACH` of some pairs, evenly spaced."""
    return pairs[np.unique(np.linspace(0, len(pairs) - 1, min(EACH, len(pairs))).astype(int))]


def _positions(scored: Scored) -> tuple[int, int]:
    """Returns the height and width of the feature map that the maps are computed from."""
    run = scored.run
    name = chain(run.config)[0]
    modality = jax.ShapeDtypeStruct((1,), jnp.int32)
    feature_map = jax.eval_shape(run.stages[name].feature_map, run.states[name], image_spec(run.config), modality)
    return feature_map.shape[1:3]
