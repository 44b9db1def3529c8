"""What was measured before, disentanglement.json."""

from types import SimpleNamespace

import pytest

from rgbir_jax.commands import disentanglement
from rgbir_jax.commands.scoring import Scored
from rgbir_jax.files import write_json


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
