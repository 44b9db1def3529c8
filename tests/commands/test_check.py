"""rgbir-check: what it recognises, counts and misses, and its exit status."""

import os
import shutil
import signal

import pytest

from rgbir_jax import synthetic
from rgbir_jax.commands import check
from rgbir_jax.datasets import DATASETS, REGDB
from tests.conftest import write_image
from tests.other_trees import write_duke, write_msmt17

PLANS = {
    "sysu_mm01": lambda: synthetic.sysu_plan(2, 1, 2, 2, 0),
    "regdb": lambda: synthetic.regdb_plan(2, 2, 2, 0),
    "llcm": lambda: synthetic.llcm_plan(2, 2, 2, 0),
    "market1501": lambda: synthetic.market_plan(2, 2, 2, 0),
    "folders": lambda: synthetic.folders_plan(2, 1, 2, 2, 0),
}
COPIES = {"duke": write_duke, "msmt17": write_msmt17}


@pytest.fixture(scope="module", params=[*PLANS, *COPIES])
def tree(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("trees") / request.param
    if request.param in COPIES:
        return COPIES[request.param](root, 2, 2)
    synthetic.write(PLANS[request.param](), root, seed=0, size=(32, 16), arguments={}, workers=1)
    return root


@pytest.fixture
def regdb(tmp_path):
    root = tmp_path / "RegDB"
    synthetic.write(PLANS["regdb"](), root, seed=0, size=(32, 16), arguments={}, workers=1)
    return root


@pytest.fixture
def checked(capsys):
    """Returns a function that runs the program. It returns the exit status and what was printed."""

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            check.main([str(argument) for argument in arguments])
        return (stop.value.code, *capsys.readouterr())

    return run


def test_a_whole_tree_is_recognised_and_nothing_is_wrong(tree, checked):
    status, out, _ = checked(tree)
    title = {"folders": "folders"}.get(tree.name, DATASETS[tree.name].title)
    assert status == 0, out
    assert out.splitlines()[0] == f"{tree}: {title} (drawn)"
    assert "wrong:" not in out
    assert "published" not in out  # these people are drawn
    for protocol in DATASETS[tree.name].protocols:
        assert protocol in out.split("protocols that can run:")[1].splitlines()[0]
    training = next(line for line in out.splitlines() if "training identities" in line)
    assert int(training.split()[2]) == (3 if tree.name in ("sysu_mm01", "folders") else 2)


def test_damaged_images_are_named(tree, checked, tmp_path):
    root = shutil.copytree(tree, tmp_path / tree.name)
    path = DATASETS[tree.name].read(root).path[-1]
    (root / path).write_bytes((root / path).read_bytes()[:100])
    status, out, _ = checked(root)
    assert status == 1
    assert f"wrong: {root}/{path} cannot be decoded" in out
    assert "cannot be used before its damaged images are replaced" in out
    status, out, _ = checked(root, "--quick")
    assert status == 0
    assert "No image was decoded" in out


def test_a_real_tree_is_compared_with_the_published_counts(sysu_root, checked):
    status, out, _ = checked(sysu_root)
    assert status == 1
    assert f"wrong: SYSU-MM01 has 491 identities, and {sysu_root} has 10." in out
    assert f"wrong: SYSU-MM01 has 395 training identities, and {sysu_root} has 8." in out
    assert "wrong: protocol official cannot run: " in out
    assert "rand_perm_cam.mat is not there; it comes with the SYSU-MM01 release" in out
    assert "protocols that can run: agw" in out
    assert out.endswith("The rest can be used. SYSU-MM01 comes from https://github.com/wuancong/SYSU-MM01\n")


def test_a_camera_that_the_dataset_does_not_have_is_named(market_root, tmp_path, checked):
    root = shutil.copytree(market_root, tmp_path / "market")
    (root / "query/0001_c1s1_001051_00.jpg").rename(root / "query/0001_c9s1_001051_00.jpg")
    status, out, _ = checked(root)
    assert status == 1
    assert f"wrong: Market-1501 has the cameras 1 to 6, and {root} has images of camera 9." in out


def test_a_broken_tree_is_still_recognised(make_sysu, checked):
    root = make_sysu(train=[1], test=[2])
    shutil.rmtree(root / "cam4")
    status, out, _ = checked(root)
    assert status == 1
    assert f"wrong: {root} has no folder cam4" in out
    assert "It cannot be used. SYSU-MM01 comes from https://" in out


def test_every_fold_is_read(regdb, checked):
    (regdb / "idx/test_thermal_7.txt").unlink()
    status, out, _ = checked(regdb)
    assert status == 1
    assert f"wrong: fold 7 cannot be used: {regdb} has no idx/test_thermal_7.txt, which lists images of RegDB" in out
    assert "folds that can be used: 1, 2, 3, 4, 5, 6, 8, 9, 10; the numbers above are those of fold 1\n" in out
    status, out, _ = checked(regdb, "--option=fold=2")
    assert status == 0
    assert "folds that" not in out
    assert checked(regdb, "--option=fold=7")[0] == 1


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-3])])
def test_a_broken_first_fold_leaves_the_others(regdb, checked, damage):
    damage(regdb / "idx/test_thermal_1.txt")
    status, out, _ = checked(regdb)
    assert status == 1
    assert f"wrong: fold 1 cannot be used: {regdb}" in out
    assert "folds that can be used: 2, 3, 4, 5, 6, 7, 8, 9, 10; the numbers above are those of fold 2\n" in out
    assert "test identities" in out
    assert "protocols that can run: all_images" in out
    assert "The rest can be used." in out
    assert checked(regdb, "--option=fold=1")[1].endswith(f"It cannot be used. RegDB comes from {REGDB.homepage}\n")


@pytest.mark.parametrize("fold", [1, 3])
def test_what_only_one_fold_lacks_is_named(regdb, checked, fold):
    for modality in ("visible", "thermal"):
        (regdb / f"idx/train_{modality}_{fold}.txt").unlink()
    (line,) = [line for line in checked(regdb)[1].splitlines() if "nobody to train" in line]
    assert line == f"fold {fold}: {regdb} has nobody to train: it can only be scored."


def test_without_any_whole_fold_nothing_can_be_used(regdb, checked):
    for path in regdb.glob("idx/test_thermal_*.txt"):
        path.unlink()
    status, out, _ = checked(regdb)
    assert status == 1
    assert f"wrong: {regdb} has no idx/test_thermal_1.txt" in out
    assert "It cannot be used." in out


def test_a_cut_permutation_file_is_named(drawn, checked, tmp_path):
    root = shutil.copytree(drawn, tmp_path / "tree")
    path = root / "rand_perm_cam.mat"
    path.write_bytes(path.read_bytes()[:200])
    status, out, _ = checked(root, "--quick")
    assert status == 1
    assert f"wrong: protocol official cannot run: {path} is not a MATLAB file" in out
    assert "protocols that can run: agw" in out


def test_images_that_are_not_there_are_named(make_sysu, checked):
    root = make_sysu(train=[1], test=[2])
    for path in ("cam1/0001/0001.jpg", "cam6/0002/0002.jpg"):
        (root / path).unlink()
        (root / path).symlink_to(root / "nowhere.jpg")
        status, out, _ = checked(root)
        assert status == 1
        assert f"wrong: {root}/{path} is a link to a file that is not there; put the file there" in out
        (root / path).unlink()
        shutil.copy(root / "cam1/0001/0002.jpg", root / path)


def test_what_cannot_be_read_is_named(make_sysu, checked, monkeypatch):
    """The tests may run as root, who can read everything."""
    root = make_sysu(train=[1], test=[2])
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("cam2/0002"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    status, out, _ = checked(root)
    assert status == 1
    assert f"wrong: {root}/cam2/0002 cannot be read (Permission denied); make it readable." in out


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_finds_the_damage(make_sysu, checked, workers):
    root = make_sysu(train=[1], test=[2])
    damaged = sorted(root.glob("cam*/*/0002.jpg"))[::3]
    for path in damaged:
        path.write_bytes(b"damaged")
    _, out, _ = checked(root, f"--workers={workers}")
    assert [line.split()[1] for line in out.splitlines() if "cannot be decoded" in line] == list(map(str, damaged))


def test_ctrl_c_ends_it(make_sysu, checked, monkeypatch):
    root = make_sysu(train=range(1, 30), test=[30])  # 720 images
    decoded = []

    def decode(path, size):
        decoded.append(path)
        if len(decoded) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(check, "decode", decode)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status, out, err = checked(root, "--workers=1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, err.splitlines()[-1]) == (130, "rgbir-check: stopped.")
    assert "wrong" not in out
    assert len(decoded) < 600


def test_people_in_one_modality_are_named(make_sysu, checked):
    root = make_sysu(train=[1, 2, 3], test=[4, 5])
    for camera in (3, 6):
        shutil.rmtree(root / f"cam{camera}/0002")
        shutil.rmtree(root / f"cam{camera}/0005")
    status, out, _ = checked(root, "--quick")
    assert status == 1
    assert "in one modality only: 2 persons: 2, 5\n" in out
    assert "tested in one modality only: 1 persons: 5. They cannot be found: as probes they are not counted, and" in out
    assert "wrong: 1 training identities have images of one modality only: 2; a recipe of both modalities ref" in out


def test_people_of_own_folders_in_one_modality_are_named(tmp_path, checked):
    for kind, names in (("rgb", ("anna", "bert", "carla", "dora", "emil")), ("ir", ("anna", "bert", "carla"))):
        for seed, name in enumerate(names):
            write_image(tmp_path / kind / name / "1.png", seed)
    (tmp_path / "train.txt").write_text("anna\nemil\n")
    (tmp_path / "test.txt").write_text("bert\ncarla\ndora\n")
    status, out, _ = checked(tmp_path)
    assert status == 0
    assert f"{tmp_path}: persons to train who have images of one modality only, left out: 1 (emil).\n" in out
    (line,) = [line for line in out.splitlines() if line.startswith(f"{tmp_path}: persons to test")]
    assert line.startswith(
        f"{tmp_path}: persons to test who have images of one modality only: 1 (dora). They cannot be"
    )


def test_names_have_numbers(tmp_path, checked):
    for kind in ("rgb", "ir"):
        for seed, name in enumerate(("zoe", "anna", "bert")):
            write_image(tmp_path / kind / name / "c1.JPEG", seed)
    (tmp_path / "rgb/zoe/notes.txt").touch()
    status, out, _ = checked(tmp_path, "--option=test_share=0.34", "--option", r"camera_pattern=c(?P<camera>\d)")
    assert "numbers of persons: 1 anna, 2 bert, 3 zoe" in out
    assert "left out: 1 (rgb/zoe/notes.txt)" in out
    assert status == 1
    assert "no probe has a match among the gallery images that it may see" in out  # all images are of one camera
    assert checked(tmp_path)[0] == 0


def test_a_name_stays_in_its_line(tmp_path, checked):
    for path in ("rgb/an\nna/1.png", "ir/an\nna/1.png"):
        write_image(tmp_path / path, 0)
    assert r"numbers of persons: 1 an\nna" in checked(tmp_path)[1]


def test_what_is_no_dataset_has_status_2(tmp_path, checked):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "inner/rgb").mkdir(parents=True)
    (tmp_path / "inner/ir").mkdir()
    shutil.rmtree(tmp_path / "rgb")
    status, out, err = checked(tmp_path)
    assert (status, out) == (2, "")
    assert f"{tmp_path} is no dataset that is known here; name the folder {tmp_path}/inner in it." in err
    for arguments, message in (
        ((tmp_path / "absent",), "there is no folder"),
        ((tmp_path, "--dataset=regdb2"), '--dataset "regdb2" is unknown; choose "sysu_mm01"'),
        ((tmp_path, "--dataset=regdb", "--option=seed=1"), "RegDB has no option seed; it has fold"),
        ((tmp_path, "--dataset=regdb", "--option=fold=11"), "--option fold 11 is unknown; choose 1, 2"),
        ((tmp_path, "--dataset=folders", "--option=test_share=half"), 'test_share is "half", which is no float'),
        ((tmp_path, "--workers=-1"), "--workers must not be negative"),
    ):
        status, _, err = checked(*arguments)
        assert status == 2
        assert message in err


def test_the_home_folder_is_expanded(tmp_path, checked, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("rgb", "ir"):
        for name in ("1", "2"):
            write_image(tmp_path / "mine" / kind / name / "1.png", 1)
    assert checked("~/mine")[0] == 0
