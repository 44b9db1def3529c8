"""What README, results.md and the model card say about the showcase is in its committed figures."""

import json

import pytest

from rgbir_jax.evaluation.disentanglement import BLOCKS
from tests.docs.pages import ROOT

RESULTS = (ROOT / "docs" / "results.md").read_text().partition("## The showcase")[2].partition("\n## ")[0]
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "showcase_disentanglement.json").read_text())
SCORES = json.loads((ROOT / "benchmarks" / "results" / "showcase_scores.json").read_text())
TITLES = BLOCKS | {"rgb_rgb": "RGB, RGB", "ir_ir": "IR, IR"}
COPIES = ("image_i", "image_j", "mean")
FACTORS = {
    "who": "person",
    "colour of the upper garment": "upper_colour",
    "its infrared reflectance": "upper_infrared",
    "its pattern": "upper_pattern",
    "infrared reflectance of the shoes": "shoes_infrared",
    "height": "height",
    "view": "view",
    "place in the image, x": "x",
    "what hides the person": "occluder",
    "place": "place",
    "modality": "modality",
}
SYSTEMS = {
    "teacher, 12,000 iterations": "teacher",
    "`drawing`, 14,000 more": "drawing",
    "the image system, 4,000 more": "trained",
    "by the appearance code itself": "a",
    "by the structure code": "s",
}


def in_results(name, *cells):
    """Says whether results.md has this row."""
    return f"| {name} | {' | '.join(cells)} |" in RESULTS


@pytest.mark.parametrize("block", BLOCKS)
def test_distances_from_the_truth(block):
    measured = MEASURED[block]
    errors = [measured["l1"][name] for name in ("swap", *COPIES, "reconstruction")]
    errors += [measured["l1_person"][name] for name in ("swap", "image_i", "mean")]
    assert in_results(TITLES[block], *(f"{error:.3f}" for error in errors))
    margins = [
        f"{measured['margin'][by][copy]:+.3f} ± {measured['standard_error']['margin'][by][copy]:.3f}"
        for by in ("l1", "l1_person", "ssim")
        for copy in ("image_i", "mean")
    ]
    assert in_results(TITLES[block], *margins)


@pytest.mark.parametrize("block", BLOCKS)
def test_whom_the_judge_finds(block):
    found = MEASURED[block]["recogniser"]
    shares = (found["rank1_j"], found["rank1_i"], found["image_j"]["rank1_j"])
    assert in_results(TITLES[block], *(f"{100 * share:.1f}" for share in shares))


@pytest.mark.parametrize("factor", FACTORS)
def test_what_the_codes_tell(factor):
    probes = [MEASURED["probes"][code][FACTORS[factor]] for code in ("a", "s", "feature")]
    assert in_results(factor, *(f"{figure:.2f}" for figure in (probes[0]["chance"], *(one["score"] for one in probes))))


def test_table_1():
    for line in MEASURED["table_1"]:
        assert in_results(line["text"], line["space"], f"{line['a']:.2f}", f"{line['s']:.2f}")


@pytest.mark.parametrize("system", SYSTEMS)
def test_scores(system):
    score = SCORES[SYSTEMS[system]]["all_single"]
    assert in_results(system, f"{100 * score['cmc'][0]:.1f}", f"{100 * score['mAP']:.1f}")


def test_the_readme_and_the_card_have_the_same_shares():
    found = {block: MEASURED[block]["recogniser"] for block in BLOCKS}
    readme = (ROOT / "README.md").read_text().replace("\n", " ")
    shares = {block: f"{100 * found[block]['rank1_j']:.0f}%" for block in BLOCKS}
    assert f"first in {shares['rgb_rgb']} (RGB) and {shares['ir_ir']} (infrared) of them" in readme
    card = (ROOT / "rgbir_jax" / "trained" / "drawn" / "README.md").read_text().replace("\n", " ")
    assert f"first in {shares['rgb_rgb']} of the swaps among RGB images" in card
