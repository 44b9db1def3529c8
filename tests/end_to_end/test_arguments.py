"""Wrong arguments of a user: one sentence, a non-zero exit code, and nothing is written."""

import shutil

import pytest

from tests.end_to_end.conftest import RECIPE, run


def _train(*arguments, printed=""):
    code, out, err = run("train.py", *arguments)
    assert code != 0
    assert out == printed
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("train.py: ")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config.data_dir=nowhere"], "the dataset's folder nowhere does not exist; set --config.data_dir"),
        (["--config.teacher.step=3"], "config.teacher has no key step; did you mean steps?"),
        (["--config.dataset=sysu"], 'config.dataset "sysu" is unknown; choose "sysu_mm01", "regdb"'),
        (["extra"], "extra is not understood"),
        (["--workdri=x"], "Unknown command line flag 'workdri'"),
    ],
)
def test_wrong_arguments_of_training(tmp_path, arguments, sentence):
    (message,) = _train(f"--config={RECIPE}", f"--workdir={tmp_path / 'run'}", *arguments)
    assert sentence in message
    assert not (tmp_path / "run").exists()


def test_an_unknown_preset():
    (message,) = _train("--config=quickstart:papre", "--workdir=x")
    assert 'preset "papre" is unknown; choose one of best, paper' in message


@pytest.mark.parametrize("source", ["memory", "tf_data"])
def test_a_truncated_image_is_named_before_training(drawn, tmp_path, source):
    tree = tmp_path / "tree"
    shutil.copytree(drawn, tree)
    broken = next(tree.glob("cam*/0001/0002.jpg"))
    broken.write_bytes(broken.read_bytes()[:400])
    (message,) = _train(
        f"--config={RECIPE}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data_dir={tree}",
        f"--config.source={source}",
        printed="teacher: the ResNet of E_a starts from random weights; config.resnet50 takes an ImageNet file.\n",
    )
    assert f"{broken} cannot be decoded" in message
    assert not (tmp_path / "run").exists()


def test_scoring_without_a_run(tmp_path):
    code, _, err = run("eval.py", f"--workdir={tmp_path}")
    assert code != 0
    assert f"{tmp_path} holds no run; train one with train.py --config RECIPE --workdir" in err
    assert "Traceback" not in err
