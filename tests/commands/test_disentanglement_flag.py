"""What was measured before, disentanglement.json."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from rgbir_jax.commands import disentanglement
from rgbir_jax.commands.scoring import Scored
from rgbir_jax.errors import UserError
from rgbir_jax.files import write_json
from rgbir_jax.run import load


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_measurement_is_left_out_and_said_so(content, tmp_path, capsys):
    nothing = dict.fromkeys(Scored._fields)
    scored = Scored(**nothing | {"folder": tmp_path, "run": SimpleNamespace(folder=tmp_path), "scores": {"steps": 7}})
    path = tmp_path / disentanglement.FILE
    write_json(path, {"steps": 7})
    assert disentanglement.kept(scored) == {"steps": 7}
    path.write_text(content)
    assert disentanglement.kept(scored) is None
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{path} is damaged")
    assert sentence.endswith(f"eval.py --workdir {tmp_path} --disentanglement measures it again.")


@pytest.mark.parametrize(
    ("fingerprint", "drawn_with", "refused"),
    [
        ("same", {}, True),  # an older version noted no seed
        ("of the tree drawn again", {"seed": 3}, True),
        ("other", {"seed": 4}, False),
        ("other", {}, False),
    ],
)
def test_a_judge_that_has_seen_the_people_is_refused(fingerprint, drawn_with, refused, monkeypatch):
    model = load("drawn")
    run = replace(model, facts=replace(model.facts, fingerprint="same"))
    judge = replace(model, facts=replace(model.facts, fingerprint=fingerprint, drawn_with=drawn_with))
    monkeypatch.setattr(disentanglement, "load", lambda name: judge)
    monkeypatch.setattr(disentanglement, "has_factors", lambda run: True)
    monkeypatch.setattr(disentanglement, "open_drawn", lambda folder: SimpleNamespace(seed=3))
    if not refused:
        assert disentanglement.check(run, "runs/judge") is judge
        return
    with pytest.raises(UserError, match="was trained on people drawn with seed 3, as were those of"):
        disentanglement.check(run, "runs/judge")
