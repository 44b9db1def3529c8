"""What results.md says about swaps of the quickstart is in its committed figures."""

import json

import numpy as np
import pytest

from rgbir_jax.evaluation.disentanglement import BLOCKS
from tests.docs.pages import ROOT

RESULTS = (ROOT / "docs" / "results.md").read_text().partition("## The quickstart")[2].partition("\n## ")[0]
ONE_RUN = json.loads((ROOT / "benchmarks" / "results" / "quickstart_disentanglement.json").read_text())
SCORES = json.loads((ROOT / "benchmarks" / "results" / "quickstart_scores.json").read_text())
SEEDS = json.loads((ROOT / "benchmarks" / "results" / "quickstart_swaps.json").read_text())["seeds"].values()
TITLES = BLOCKS | {"rgb_rgb": "RGB, RGB", "ir_ir": "IR, IR"}


def spread(values, form):
    """Writes mean and sample standard deviation; `form` is that of the mean."""
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form.lstrip('+')}}"


def test_scores():
    scores = [SCORES[system]["all_single"] for system in ("teacher", "control", "drawing", "trained")]
    for name, figures in (("rank-1", [one["cmc"][0] for one in scores]), ("mAP", [one["mAP"] for one in scores])):
        assert f"| {name} | {' | '.join(f'{100 * figure:.1f}' for figure in figures)} |" in RESULTS


@pytest.mark.parametrize("block", BLOCKS)
def test_one_run(block):
    l1, found = ONE_RUN[block]["l1"], ONE_RUN[block]["recogniser"]
    cells = [f"{l1[name]:.3f}" for name in ("swap", "image_i", "image_j", "mean", "reconstruction")]
    cells += [f"{100 * found[name]:.1f}" for name in ("rank1_j", "rank1_i")]
    assert f"| {TITLES[block]} | {' | '.join(cells)} |" in RESULTS


@pytest.mark.parametrize("block", BLOCKS)
def test_three_seeds(block):
    measured = [seed[block] for seed in SEEDS]
    l1, found = [one["l1"] for one in measured], [one["recogniser"] for one in measured]
    cells = [spread([one["swap"] for one in l1], ".3f")]
    cells += [f"{l1[0][name]:.3f}" for name in ("image_i", "image_j", "mean")]
    cells += [spread([one["reconstruction"] for one in l1], ".3f")]
    cells += [spread([100 * one[name] for one in found], ".1f") for name in ("rank1_j", "rank1_i")]
    assert f"| {TITLES[block]} | {' | '.join(cells)} |" in RESULTS


@pytest.mark.parametrize("block", BLOCKS)
def test_how_much_nearer_swaps_are_with_three_seeds(block):
    columns = [
        ("l1", "image_i"),
        *(("l1_person", copy) for copy in ("image_i", "image_j", "mean")),
        ("ssim", "image_i"),
    ]
    margins = [[seed[block]["margin"][by][name] for seed in SEEDS] for by, name in columns]
    errors = [[seed[block]["standard_error"]["margin"][by][name] for seed in SEEDS] for by, name in columns]
    cells = [spread(margin, "+.3f") for margin in margins]
    cells += [", ".join(f"{np.mean(error):.3f}" for error in errors)]
    assert f"| {TITLES[block]} | {' | '.join(cells)} |" in RESULTS
