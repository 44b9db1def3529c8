"""What a measurement says in words."""

from rgbir_jax.evaluation.disentanglement import sentences, tables

RECOGNISER = {"rank1_j": 0.48, "rank1_i": 0.02, "chance": 0.021}
COPIES = ("image_i", "image_j", "mean")


def block(l1, l1_person, ssim):
    """Returns a block whose swaps are nearer than the copies by these margins."""
    values = dict.fromkeys(("swap", "reconstruction", *COPIES), 0.3)
    by = {"l1": l1, "l1_person": l1_person, "ssim": ssim}
    margin = {measure: dict(zip(COPIES, margins, strict=True)) for measure, margins in by.items()}
    error = {"margin": {measure: dict.fromkeys(COPIES, 0.004) for measure in margin}}
    shared = {"l1": values, "l1_person": values, "ssim": values, "margin": margin}
    return shared | {"standard_error": error, "recogniser": RECOGNISER, "pairs": 9}


MEASURED = {
    "judge": "drawn",
    "rgb_rgb": block(l1=(0.005, 0.367, 0.246), l1_person=(0.267, 0.106, 0.076), ssim=(-0.023, 0.1, 0.2)),
    "rgb_ir": block(l1=(-0.1, -0.2, -0.3), l1_person=(0.1, 0.2, 0.3), ssim=(0.1, 0.2, 0.3)),
}


def test_a_sentence_names_what_swaps_are_nearer_than_and_by_how_much():
    first, second = sentences(MEASURED)
    assert first == (
        "RGB structure, RGB appearance: the judge finds the person of the appearance first in 48% of the swapped "
        "images and the person of the structure in 2% (chance 2%). By L1 (0.300) they are nearer to the truth than the "
        "copy of image i (+0.005 ± 0.004), the copy of image j (+0.367 ± 0.004) and the mean image (+0.246 ± 0.004). "
        "By L1 at the persons (0.300) they are nearer to the truth than the copy of image i (+0.267 ± 0.004), the copy "
        "of image j (+0.106 ± 0.004) and the mean image (+0.076 ± 0.004). "
        "By SSIM (0.300) they are nearer to the truth than the copy of image j (+0.100 ± 0.004) and the mean image "
        "(+0.200 ± 0.004), not than the copy of image i (-0.023 ± 0.004). ± is one standard error."
    )
    assert "By L1 (0.300) they are not nearer to the truth than the copy of image i (-0.100 ± 0.004), the" in second


def test_without_a_truth_the_judge_alone_speaks():
    (only,) = sentences({"judge": "its teacher", "ir_rgb": {"recogniser": RECOGNISER, "pairs": 9}})
    assert only.endswith("(chance 2%).")


def test_the_table_has_a_margin_for_each_copy_and_none_for_the_swap():
    probes = {"a": {"view": {"score": 0.5, "chance": 0.25, "mlp": 0.4}}}
    dci = {"disentanglement": 0.1, "completeness": 0.2, "informativeness": 0.3}
    further = {"probes": probes, "dci": dci | {"codes": dci}, "table_1": []}
    errors = tables(MEASURED | further)[0]
    margins = {row[0]: row[-3:] for row in errors.rows}
    assert margins["copy of image i"] == ["+0.005 ± 0.004", "+0.267 ± 0.004", "-0.023 ± 0.004"]
    assert margins["swapped image G(a_j, s_i)"] == ["", "", ""]
