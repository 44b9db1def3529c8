"""The same global batches on any number of devices give the same parameters, BatchNorm statistics included."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("train_on_devices.py")


@pytest.mark.parametrize(
    ("stage", "preset", "parts", "counts"),
    [
        ("image", "paper", 1, (4,)),
        ("two_stream", "bdtr", 1, (8,)),  # one identity per device: every negative is on another device
        ("teacher", "paper", 2, (2, 4)),
        pytest.param("image", "paper", 1, (2, 8), marks=pytest.mark.slow),
        pytest.param("image", "dgnet", 1, (2, 8), marks=pytest.mark.slow),
        pytest.param("hicmd", "paper", 1, (4,), marks=pytest.mark.slow),
        pytest.param("rle", "rle", 1, (4,), marks=pytest.mark.slow),
        pytest.param("sdl", "released", 1, (8,), marks=pytest.mark.slow),  # its norms are of the whole batch
        pytest.param("cmpig", "paper", 1, (4,), marks=pytest.mark.slow),  # each device draws one of four identities
    ],
)
def test_one_device_and_several_agree(tmp_path, stage, preset, parts, counts):
    one = _train(tmp_path, stage, preset, parts, 1)
    for devices in counts:
        several = _train(tmp_path, stage, preset, parts, devices)
        assert set(one) == set(several)
        for name in set(one) - {"devices"}:
            np.testing.assert_allclose(several[name], one[name], rtol=1e-6, atol=1e-9, err_msg=name)


def _train(folder: Path, stage: str, preset: str, parts: int, devices: int) -> dict[str, np.ndarray]:
    """Trains two iterations in a new process. Returns the state and the metrics by path."""
    out = folder / f"{devices}.npz"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, PROGRAM, out, stage, preset, str(parts)], env=environment, check=True)
    with np.load(out) as arrays:
        assert arrays["devices"] == devices
        assert arrays["state/step"] == 2
        return dict(arrays)
