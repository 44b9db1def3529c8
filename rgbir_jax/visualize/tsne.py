"""Figure 5: features of a few identities in the plane."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from rgbir_jax.evaluation.evaluate import have_collapsed
from rgbir_jax.visualize import style

MARKERS = {0: ("s", "RGB"), 1: ("o", "IR")}


def cannot_plot(features: Float[np.ndarray, "n d"]) -> str:
    """Says in a sentence why features have no picture in the plane; empty if they have one."""
    if len(features) < 4:
        return f"There are features of {len(features)} images, and t-SNE needs 4: its figure is left out."
    if features.shape[1] < 2:
        return "The features have one dimension: the figure of t-SNE is left out."
    if have_collapsed(features):
        return (
            f"The features of all {len(features)} images are equal: they have collapsed, and the figure of t-SNE is "
            f"left out. Use an earlier checkpoint, or train with a lower learning rate."
        )
    return ""


def embedding_plot(
    features: Float[np.ndarray, "n d"], person_id: Int[np.ndarray, "n"], modality: Int[np.ndarray, "n"]
) -> Figure:
    """Draws t-SNE of features; squares are RGB, circles IR, and each person has a colour.

    Args:
        features: features for which `cannot_plot` is empty.
        person_id: the person on each image; at most ten persons, one colour each.
        modality: 0 RGB, 1 IR.
    """
    perplexity = min(20.0, (len(features) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features.astype(np.float32))
    drawing, (axes,) = style.figure(5.2, 4.6)
    for person, colour in zip(np.unique(person_id), style.COLOURS, strict=False):
        for kind, (marker, _) in MARKERS.items():
            chosen = (person_id == person) & (modality == kind)
            axes.scatter(
                *plane[chosen].T, marker=marker, color=colour, s=22, alpha=0.85, edgecolors="white", linewidths=0.4
            )
    for marker, name in MARKERS.values():
        axes.scatter([], [], marker=marker, color=style.PLAIN, s=22, label=name)
    axes.legend(frameon=False, loc="best")
    axes.set_xticks([])
    axes.set_yticks([])
    return drawing
