"""Feature files of every dataset: all spellings are read, faults are named, and scores are those of the dataset."""

import json

import numpy as np
import pytest

from rgbir_jax.datasets import MARKET1501, SYSU_MM01, sysu_mm01
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.market1501 import read as read_market1501
from rgbir_jax.datasets.records import tabulate
from rgbir_jax.datasets.search import Search
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import feature_file
from rgbir_jax.evaluation.evaluate import evaluate, reranked, summarised
from rgbir_jax.evaluation.reranking import Reranking
from rgbir_jax.evaluation.verification import with_verification


def arrays() -> dict[str, np.ndarray]:
    """Returns the arrays of four persons in six cameras, two images each."""
    person_id, camera, index = np.stack(np.meshgrid([1, 2, 3, 4], np.arange(1, 7), [1, 2])).reshape(3, -1)
    feature = np.random.default_rng(0).normal(size=(len(index), 5)).astype(np.float32)
    return {"feature": feature, "person_id": person_id, "camera": camera, "index": index}


def known(**changes) -> dict:
    """Returns what a file of SYSU-MM01 that names its dataset has in addition."""
    return {"dataset": "sysu_mm01", "modality": np.zeros(48, int), "split": np.full(48, "test")} | changes


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
    np.testing.assert_array_equal(file.feature, content.pop("feature"))
    for name, array in content.items():
        np.testing.assert_array_equal(getattr(file.records, name), array)
    np.testing.assert_array_equal(file.records.modality, np.isin(content["camera"], (3, 6)))
    assert (file.dataset, file.title) == (SYSU_MM01, "SYSU-MM01")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": None}, "has no array index; it has feature, person_id, camera"),
        ({"person_id": None}, "has no array person_id or pid"),
        ({"feature": np.zeros(48)}, r"feature is float64 \[48\]"),
        ({"feature": np.zeros((48, 2), int)}, r"feature is int64 \[48, 2\]"),
        ({"feature": np.full((48, 2), np.nan)}, "not finite"),
        ({"feature": np.zeros((48, 0))}, "feature is empty"),
        ({"feature": np.full((48, 2), 1e200)}, r"feature has values above 1e\+100, whose squares are not finite"),
        ({"camera": np.arange(48) % 9 + 1}, "in camera 7 cannot be scored: SYSU-MM01 has the cameras 1 to 6"),
        (
            known(dataset="market1501", camera=np.arange(48) % 9, split=np.full(48, "query")),
            "in camera 0 cannot be scored: Market-1501 has the cameras 1 to 6",
        ),
        (
            known(dataset="llcm", camera=np.arange(48) + 1),
            "in camera 10 cannot be scored: LLCM has the cameras 1 to 9",
        ),
        (known(dataset="folders", camera=np.zeros(48, int)), "in camera 0 cannot .*: cameras are numbered from 1"),
        ({"person_id": np.arange(48) - 1}, "identity -1 .*: probes show persons who are numbered from 1"),
        ({"camera": np.ones(47, int)}, r"camera is int64 \[47\]; it must hold 48 integers"),
        ({"camera": np.ones(48)}, r"camera is float64 \[48\]"),
        ({"person_id": np.full(48, 2**40)}, r"person_id is int64 \[48\]; it must hold 48 integers of 32 bits"),
        ({"index": np.ones(48, int)}, "image 1 of identity 1 in camera 1 is there 2 times"),
        ({"index": np.arange(48)}, "image 0 of identity 1 in camera 1 cannot be scored: images are numbered from 1"),
        ({"dataset": "sysu"}, r'f\.npz: the dataset "sysu" is unknown; choose "sysu_mm01", .* or "duke"'),
        ({"dataset": "nowhere:MINE"}, "there is no module nowhere.* PYTHONPATH can name the folder"),
        ({"dataset": "market1501"}, "has no array modality"),
        (known(split=None), "has no array split"),
        (known(split=np.ones(48)), r"split is float64 \[48\]; it must hold 48 texts"),
        (known(modality=np.full(48, 2)), "image 1 of identity 1 in camera 1 .* neither 0 .RGB. nor 1 .IR."),
        (
            known(split=np.array(["test"] * 47 + ["val"])),
            "image 2 of identity 4 .*none of the test images of SYSU-MM01",
        ),
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


def test_scores_are_a_table_and_values(tmp_path):
    np.savez(tmp_path / "f.npz", **arrays())
    (tmp_path / "ids.txt").write_text("1,2,4")
    table, content = feature_file.score_feature_file(str(tmp_path / "f.npz"), None, str(tmp_path / "ids.txt"), "agw")
    content = json.loads(json.dumps(content))
    assert (content.pop("dataset"), content.pop("protocol")) == ("SYSU-MM01", "agw")
    file = feature_file.read_features(tmp_path / "f.npz")
    asked = file.records.person_id != 3
    records = file.records.select(asked)
    searches = sysu_mm01.drawn_searches(records, "agw")
    feature = file.feature[asked]
    assert content == with_verification(evaluate(feature, records, searches), feature, records, searches)
    scores, pairs = table.split("\n\n")
    assert "same person or not?" in pairs
    headline, _, *rows = scores.splitlines()
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


def test_reranked_scores_have_a_table_of_their_own(tmp_path):
    np.savez(tmp_path / "f.npz", **arrays())
    parameters = Reranking(3, 2)
    plain, _ = score(tmp_path / "f.npz", protocol="agw")
    text, content = feature_file.score_feature_file(str(tmp_path / "f.npz"), None, None, "agw", parameters)
    before, table, after = text.split("\n\n")
    assert plain == f"{before}\n\n{after}"
    assert table.startswith("SYSU-MM01, f.npz, re-ranked (k1 3, k2 2, λ 0.3); protocol agw")
    file = feature_file.read_features(tmp_path / "f.npz")
    searches = sysu_mm01.drawn_searches(file.records, "agw")
    assert content["reranked"]["scores"] == summarised(
        reranked(file.feature, file.records, searches, parameters), searches
    )
    assert "re-ranked" not in plain


def score(path, *, rand_perm=None, test_ids=None, protocol=None) -> tuple[str, dict]:
    texts = [None if value is None else str(value) for value in (rand_perm, test_ids, protocol)]
    return feature_file.score_feature_file(str(path), *texts)


def written(path, records, dataset: str, title: str):
    """Writes random features of some images. Returns (path, features)."""
    feature = np.random.default_rng(0).normal(size=(len(records), 5)).astype(np.float32)
    feature_file.write_features(path, feature, records, dataset, title)
    return path, feature


def test_a_written_file_is_read_whole(market_root, tmp_path):
    records = read_market1501(market_root)
    records = records.select(MARKET1501.rows(records, "test"))
    path, feature = written(tmp_path / "f.npz", records, "market1501", "Market-1501 (drawn)")
    file = feature_file.read_features(path)
    np.testing.assert_array_equal(file.feature, feature)
    for name, array in vars(records).items():
        np.testing.assert_array_equal(getattr(file.records, name), array)
    assert (file.dataset, file.title) == (MARKET1501, "Market-1501 (drawn)")


def test_drawn_people_are_scored_as_drawn_without_lists_of_identities(drawn, tmp_path):
    records = sysu_mm01.read(drawn)
    records = records.select(SYSU_MM01.rows(records, "test"))
    path, feature = written(tmp_path / "f.npz", records, "sysu_mm01", "SYSU-MM01 (drawn)")
    table, content = score(path, rand_perm=drawn)
    assert table.startswith("SYSU-MM01 (drawn), f.npz; protocol official; ")
    assert (content.pop("dataset"), content.pop("protocol")) == ("SYSU-MM01 (drawn)", "official")
    searches = sysu_mm01.searches(records, "official", drawn)
    assert content == with_verification(evaluate(feature, records, searches), feature, records, searches)
    with pytest.raises(UserError, match=r"official needs rand_perm_cam\.mat: .*--rand_perm"):
        score(path)
    with pytest.raises(UserError, match="agw of SYSU-MM01 draws no galleries from a file; leave --rand_perm out"):
        score(path, rand_perm=drawn, protocol="agw")


def test_market_is_scored_by_its_own_searches(market_root, tmp_path):
    """A query and a gallery image may have the same person, camera and number."""
    images = [("query/a.jpg", 1, 1, 0, "query")]
    images += [(f"bounding_box_test/{i}.jpg", i % 3, 1 + i % 2, 0, "gallery") for i in range(9)]
    records = tabulate(images)
    path, feature = written(tmp_path / "f.npz", records, "market1501", "Market-1501")
    table, content = score(path)
    headline, _, *rows = table.split("\n\n")[0].splitlines()
    assert headline.startswith("Market-1501, f.npz; protocol single_query; ")
    assert [row.split()[0] for row in rows] == ["single_query_trapezoid", "single_query_hits"]
    scores = content["single_query_hits"]
    # Images 1, 4 and 7 show the query's person; number 4 is in camera 1, the query's own.
    distance = np.linalg.norm(feature - feature[records.path.tolist().index("query/a.jpg")], axis=1)
    gallery = [i for i in np.argsort(distance) if records.path[i] not in ("query/a.jpg", "bounding_box_test/4.jpg")]
    hits = [k for k, i in enumerate(gallery) if records.person_id[i] == 1]
    assert scores["mAP"] == pytest.approx(np.mean([(n + 1) / (k + 1) for n, k in enumerate(hits)]))
    assert (len(hits), scores["probe_images"], scores["gallery_images"]) == (2, 1, 9)


def test_flags_that_make_no_sense_for_the_dataset_are_refused(market_root, tmp_path):
    records = read_market1501(market_root)
    path, _ = written(tmp_path / "f.npz", records.select(MARKET1501.rows(records, "test")), "market1501", "Market-1501")
    (tmp_path / "ids.txt").write_text("1")
    with pytest.raises(UserError, match=r"--test_ids lists identities of SYSU-MM01, and .* features of Market-1501"):
        score(path, test_ids=tmp_path / "ids.txt")
    with pytest.raises(UserError, match=r"single_query of Market-1501 draws no galleries .* leave --rand_perm out"):
        score(path, rand_perm=tmp_path)
    with pytest.raises(UserError, match=r'--protocol.* "official" is unknown; choose "single_query"'):
        score(path, rand_perm=tmp_path, protocol="official")


def first_against_second(records, protocol, root):
    """Looks for the images of split `a` among those of split `b`. Nothing is hidden."""
    probes, gallery = (np.flatnonzero(records.split == split) for split in "ab")
    return [
        Search(
            "a_to_b", "a to b", probes, (gallery,), lambda p, g: np.zeros((len(p.camera), len(g.camera)), bool), "image"
        )
    ]


MINE = Dataset(
    "mine", "Mine", "A user's.", lambda root: tabulate([]), {"test": ("a", "b")}, ("all",), first_against_second
)


def test_a_user_s_own_dataset_is_scored_by_its_own_searches(tmp_path):
    records = tabulate((f"{split}/{i}.jpg", i, 9, 1, split) for split in "ab" for i in range(8))
    path, _ = written(tmp_path / "f.npz", records, f"{__name__}:MINE", "Mine")
    headline, _, row = score(path)[0].split("\n\n")[0].splitlines()
    assert headline == "Mine, f.npz; protocol all; in %, one trial"
    assert (row.split()[0], row.split()[-2:]) == ("a_to_b", ["8", "8"])
    with pytest.raises(UserError, match=r'--protocol.* "agw" is unknown; choose "all"'):
        score(path, protocol="agw")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("8,9", r"None of the test identities in .*ids\.txt has a feature in .*f\.npz"),
        ("", r"None of the test identities in .*ids\.txt has a feature"),
        ("1,9,2", r"ids\.txt lists identity 9, who has no feature in .*f\.npz"),
    ],
)
def test_listed_identities_without_features_are_named(tmp_path, ids, message):
    np.savez(tmp_path / "f.npz", **arrays())
    (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(UserError, match=message):
        score(tmp_path / "f.npz", test_ids=tmp_path / "ids.txt", protocol="agw")


@pytest.mark.parametrize(("cameras", "fault"), [((3, 6), "it has no gallery"), ((1, 2, 4, 5), "it has no probe")])
def test_images_of_one_modality_are_refused(tmp_path, cameras, fault):
    content = arrays()
    kept = np.isin(content["camera"], cameras)
    np.savez(tmp_path / "f.npz", **{name: array[kept] for name, array in content.items()})
    with pytest.raises(UserError, match=rf"allow no search of the protocol agw \(all_single: {fault}"):
        score(tmp_path / "f.npz", protocol="agw")


def test_a_setting_without_a_gallery_is_left_out(tmp_path, capsys):
    content = arrays()
    kept = content["camera"] > 2
    np.savez(tmp_path / "f.npz", **{name: array[kept] for name, array in content.items()})
    rows = score(tmp_path / "f.npz", protocol="agw")[0].split("\n\n")[0].splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["all_single", "all_multi"]
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["indoor_single", "indoor_multi"]


def test_arrays_that_are_not_used_are_named(tmp_path, capsys):
    content = arrays()
    np.savez(tmp_path / "f.npz", **content, modality=np.zeros(len(content["camera"]), int), note=np.zeros(1))
    feature_file.read_features(tmp_path / "f.npz")
    assert capsys.readouterr().err == (
        f"{tmp_path / 'f.npz'}: arrays that are not used: modality, note; without an array dataset, a file has test "
        "images of SYSU-MM01.\n"
    )


def test_a_modality_that_is_not_the_camera_s_is_refused(drawn, tmp_path):
    records = sysu_mm01.read(drawn)
    records = records.select(SYSU_MM01.rows(records, "test"))
    records.modality[records.camera == 3] = 0
    path, _ = written(tmp_path / "f.npz", records, "sysu_mm01", "SYSU-MM01")
    with pytest.raises(UserError, match=r"in camera 3 cannot be scored: it is RGB, and that camera is IR"):
        score(path, protocol="agw")


@pytest.mark.parametrize(("scale", "collapsed"), [(0.0, True), (1e-9, True), (1.0, False)])
def test_features_that_have_collapsed_are_mentioned(tmp_path, capsys, scale, collapsed):
    content = arrays()
    content["feature"] = (1 + scale * content["feature"]).astype(np.float32) * 1e-6  # of any magnitude
    np.savez(tmp_path / "f.npz", **content)
    score(tmp_path / "f.npz", protocol="agw")
    assert ("they have collapsed: ranks follow the order" in capsys.readouterr().err) == collapsed
