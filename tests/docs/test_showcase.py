"""What README, results.md and the model card say about the showcase is in its committed figures."""

import json

import pytest

from rgbir_jax.evaluation.disentanglement import BLOCKS
from tests.docs.pages import ROOT

RESULTS = (ROOT / "docs" / "results.md").read_text().partition("## The showcase")[2].partition("\n## ")[0]
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "showcase_disentanglement.json").read_text())
OTHERS = json.loads((ROOT / "benchmarks" / "results" / "showcase_disentanglement_200.json").read_text())
SCORES = json.loads((ROOT / "benchmarks" / "results" / "showcase_scores.json").read_text())
TITLES = BLOCKS | {"rgb_rgb": "RGB, RGB", "ir_ir": "IR, IR"}
COPIES = ("image_i", "image_j", "mean")
FACTORS = {
    "who": "person",
    "camera": "camera",
    "modality": "modality",
    "place": "place",
    "what hides the person": "occluder",
    "position in the image, x": "x",
    "position in the image, y": "y",
    "size in the image": "scale",
    "view": "view",
    "length of the stride": "swing",
    "moment of the stride": "phase",
    "height": "height",
    "build": "build",
    "colour of the skin": "skin_colour",
    "hair": "hair",
    "hat": "hat",
    "colour of the hat": "hat_colour",
    "infrared reflectance of the hat": "hat_infrared",
    "sleeves": "sleeves",
    "pattern of the upper garment": "upper_pattern",
    "colour of the upper garment": "upper_colour",
    "infrared reflectance of the upper garment": "upper_infrared",
    "lower garment": "lower",
    "pattern of the lower garment": "lower_pattern",
    "colour of the lower garment": "lower_colour",
    "infrared reflectance of the lower garment": "lower_infrared",
    "colour of the shoes": "shoes_colour",
    "infrared reflectance of the shoes": "shoes_infrared",
    "bag": "bag",
    "colour of the bag": "bag_colour",
    "infrared reflectance of the bag": "bag_infrared",
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
    errors += [measured["l1_person"][name] for name in ("swap", *COPIES)]
    assert in_results(TITLES[block], *(f"{error:.3f}" for error in errors))
    columns = [("l1", "image_i"), ("l1", "mean"), *(("l1_person", copy) for copy in COPIES)]
    margins = [
        f"{measured['margin'][by][copy]:+.3f} ± {measured['standard_error']['margin'][by][copy]:.3f}"
        for by, copy in (*columns, ("ssim", "image_i"), ("ssim", "mean"))
    ]
    assert in_results(TITLES[block], *margins)


@pytest.mark.parametrize("block", BLOCKS)
def test_swaps_of_other_people(block):
    measured, found = OTHERS[block], OTHERS[block]["recogniser"]
    margins = [
        f"{measured['margin'][by][copy]:+.3f} ± {measured['standard_error']['margin'][by][copy]:.3f}"
        for by, copy in (("l1", "image_i"), *(("l1_person", copy) for copy in COPIES))
    ]
    shares = [f"{100 * share:.1f}" for share in (found["rank1_j"], found["image_j"]["rank1_j"])]
    assert in_results(TITLES[block], f"{measured['l1']['swap']:.3f}", *margins, *shares)


@pytest.mark.parametrize("block", BLOCKS)
def test_whom_the_judge_finds(block):
    found = MEASURED[block]["recogniser"]
    shares = (found["rank1_j"], found["rank1_i"], found["image_j"]["rank1_j"])
    assert in_results(TITLES[block], *(f"{100 * share:.1f}" for share in shares))


@pytest.mark.parametrize("factor", FACTORS)
def test_what_the_codes_tell(factor):
    probes = [MEASURED["probes"][code][FACTORS[factor]] for code in ("a", "s", "feature")]
    figures = (probes[0]["chance"], *(one["score"] for one in probes), probes[-1]["mlp"])
    assert in_results(factor, *(f"{figure:.2f}" for figure in figures))


def test_dci():
    over_dimensions, over_codes = MEASURED["dci"], MEASURED["dci"]["codes"]
    text = " ".join(RESULTS.split())
    for scores in (over_dimensions, over_codes):
        assert f"disentanglement {scores['disentanglement']:.2f}" in text
        assert f"completeness {scores['completeness']:.2f}" in text
    assert f"informativeness {over_dimensions['informativeness']:.2f}" in text


def test_table_1():
    for line in MEASURED["table_1"]:
        assert in_results(line["text"], line["space"], f"{line['a']:.2f}", f"{line['s']:.2f}")


@pytest.mark.parametrize("system", SYSTEMS)
def test_scores(system):
    score = SCORES[SYSTEMS[system]]["all_single"]
    assert in_results(system, f"{100 * score['cmc'][0]:.1f}", f"{100 * score['mAP']:.1f}")


def test_the_readme_and_the_card_have_the_same_shares():
    found = {block: MEASURED[block]["recogniser"] for block in BLOCKS}
    own = {block: f"{100 * found[block]['rank1_j']:.0f}%" for block in BLOCKS}
    other = {block: f"{100 * found[block]['rank1_i']:.0f}%" for block in BLOCKS}
    readme, card = (
        " ".join((ROOT / path).read_text().split()) for path in ("README.md", "rgbir_jax/trained/drawn/README.md")
    )
    assert (
        f"first in {own['rgb_rgb']} (RGB) and {own['ir_ir']} (infrared) of them, the person of the structure in "
        f"{other['rgb_rgb']} and {other['ir_ir']}. Across the two kinds of camera it finds that person "
        f"({own['rgb_ir']} and {own['ir_rgb']})"
    ) in readme
    limit = [f"{100 * found[block]['image_j']['rank1_j']:.0f}%" for block in ("rgb_rgb", "ir_ir", "rgb_ir", "ir_rgb")]
    assert (
        f"first in {own['rgb_rgb']} of the swaps among RGB images and {own['ir_ir']} among infrared images. "
        f"With an RGB structure and an infrared appearance it is {own['rgb_ir']}, the other way round {own['ir_rgb']}. "
        "For the appearance's own image, which is the most that can be expected, these are "
        f"{', '.join(limit[:3])} and {limit[3]}."
    ) in card
