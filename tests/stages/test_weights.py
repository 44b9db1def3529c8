import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import sysu_image
from rgbir_jax import stages
from rgbir_jax.stages.weights import weight_schedules


@pytest.mark.parametrize(
    ("preset", "late"),
    [
        ("paper", {"L_code_s": (1, 2_000), "L_code_a": (1, 2_000), "L_dis": (1, 2_000)}),
        (
            "dgnet",
            {
                "L_code_s": (1, 2_000),
                "L_dis": (2, 4_000),
                "L_cycle": (2, 4_000),
                "L_fine_orig": (0.4, 4_000),
                "L_fine_recon": (0.4, 4_000),
            },
        ),
    ],
)
def test_full_length_ramps_at_their_corners(preset, late):
    config = sysu_image.get_config(preset).image
    schedules = weight_schedules(config.weights, config.ramp)
    for term, (final, length) in late.items():
        middle = {30_001: final / length, 31_000: 1_000 * final / length}
        corners = {0: 0, 30_000: 0} | middle | {30_000 + length: final, 150_000: final}
        for step, value in corners.items():
            assert schedules[term](step) == pytest.approx(value, abs=1e-6), (term, step)
    for step in (0, 30_000, 150_000):
        assert schedules["L_simple"](step) == 5
        assert schedules["L_id_recon"](step) == 0.5


@pytest.mark.parametrize("preset", ["paper", "dgnet"])
def test_full_length_learning_rates_at_their_corners(preset):
    config = sysu_image.get_config(preset)
    schedules = stages.build(config, "image", 4).schedules
    peaks = {"generation": 1e-4, "discrimination": 1e-4, "trunk": 0.002, "head": 0.02}
    for group, peak in peaks.items():
        rate = np.array([schedules[f"learning_rate/{group}"](step) for step in range(0, 150_000, 500)])
        assert np.all(np.diff(rate) <= 0)
        corners = {0: 1, 59_999: 1, 60_001: 0.1, 89_999: 0.1, 90_001: 0.01, 104_999: 0.01, 105_001: 1e-3, 150_000: 1e-3}
        for step, factor in corners.items():
            assert schedules[f"learning_rate/{group}"](step) == pytest.approx(peak * factor, rel=1e-4), (group, step)


def test_a_zero_weight_removes_the_term():
    assert "L_cycle" not in weight_schedules(sysu_image.get_config().image.weights)


def test_a_ramp_of_an_unknown_term_is_named():
    ramp = ConfigDict({"start": 0, "slope": {"L_coed": 1.0}})
    with pytest.raises(ValueError, match=r"ramp\.slope names L_coed; the terms are L_dis"):
        weight_schedules(ConfigDict({"L_dis": 1.0}), ramp)
