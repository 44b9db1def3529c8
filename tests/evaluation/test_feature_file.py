"""Feature files: all spellings are read, faults are named, and the written scores equal the printed ones."""

import json

import numpy as np
import pytest

from rgbir_jax.datasets import sysu_mm01
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import feature_file
from rgbir_jax.evaluation.evaluate import evaluate


def arrays() -> dict[str, np.ndarray]:
    """Returns the arrays of four persons in six cameras, two images each."""
    person_id, camera, index = np.stack(np.meshgrid([1, 2, 3, 4], np.arange(1, 7), [1, 2])).reshape(3, -1)
    feature = np.random.default_rng(0).normal(size=(len(index), 5)).astype(np.float32)
    return {"feature": feature, "person_id": person_id, "camera": camera, "index": index}


@pytest.mark.parametrize("person_id", ["person_id", "pid"])
@pytest.mark.parametrize("camera", ["camera", "cam"])
def test_spellings(tmp_path, person_id, camera):
    content = arrays()
    new_content = {
        "feature": content["feature"],
        person_id: content["person_id"].astype(np.uint16),
        camera: content["camera"],
        "index": content["index"],
    }
    np.savez(tmp_path / "f.npz", **new_content)
    file = feature_file.read_features(tmp_path / "f.npz")
    for name, array in content.items():
        np.testing.assert_array_equal(getattr(file, name), array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": None}, "has no array index; it has feature, person_id, camera"),
        ({"person_id": None}, "has no array person_id or pid"),
        ({"feature": np.zeros(48)}, r"feature is float64 \[48\]"),
        ({"feature": np.zeros((48, 2), int)}, r"feature is int64 \[48, 2\]"),
        ({"feature": np.full((48, 2), np.nan)}, "not finite"),
        ({"camera": np.ones(47, int)}, r"camera is int64 \[47\]; it must hold 48 integers"),
        ({"camera": np.ones(48)}, r"camera is float64 \[48\]"),
        ({"index": np.ones(48, int)}, "image 1 of identity 1, camera 1, is there 2 times"),
        ({"index": np.array([None])}, "not an .npz file of plain numbers"),
    ],
)
def test_faults_are_named(tmp_path, change, message):
    content = {name: array for name, array in (arrays() | change).items() if array is not None}
    np.savez(tmp_path / "f.npz", **content)
    with pytest.raises(ValueError, match=message):
        feature_file.read_features(tmp_path / "f.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "f.npz").write_text("features")
    np.save(tmp_path / "f.npy", np.zeros((3, 2)))
    for name in ("f.npz", "f.npy"):
        with pytest.raises(ValueError, match=r"not an \.npz file of plain numbers"):
            feature_file.read_features(tmp_path / name)
    with pytest.raises(UserError, match="--features"):
        feature_file.read_features(tmp_path / "absent.npz")


def test_scores_are_printed_and_written(tmp_path):
    np.savez(tmp_path / "f.npz", **arrays())
    (tmp_path / "ids.txt").write_text("1,2,4")
    out = tmp_path / "out.json"
    table = feature_file.score_feature_file(str(tmp_path / "f.npz"), None, str(tmp_path / "ids.txt"), "agw", str(out))
    content = json.loads(out.read_text())
    assert content.pop("protocol") == "agw"
    file = feature_file.read_features(tmp_path / "f.npz")
    searches = sysu_mm01.drawn_searches(file.records(), "agw", test_ids=[1, 2, 4])
    assert content == evaluate(file.feature, file.records(), searches)
    headline, _, *rows = table.splitlines()
    assert "f.npz; protocol agw" in headline
    assert [row.split()[0] for row in rows] == list(sysu_mm01.SETTINGS)
    single = content["all_single"]
    assert rows[0].split()[1:4] == [
        f"{100 * single['cmc'][0]:.2f}",
        "±",
        f"{100 * single['std']['rank1']:.2f}",
    ]
    assert (single["gallery_images"], single["probe_images"]) == (12, 12)
    assert rows[0].split()[-2:] == ["12", "12"]
