"""The same global batches on one device and on four give the same parameters, BatchNorm statistics included."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("train_on_devices.py")


@pytest.mark.parametrize("preset", ["paper", pytest.param("dgnet", marks=pytest.mark.slow)])
def test_one_device_and_four_agree(tmp_path, preset):
    found = {}
    for devices in (1, 4):
        out = tmp_path / f"{devices}.npz"
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, PROGRAM, out, preset], env=environment, check=True)
        found[devices] = np.load(out)
    one, four = found[1], found[4]
    assert set(one) == set(four)
    assert one["devices"] == 1
    assert four["devices"] == 4
    for name in set(one) - {"devices"}:
        scale = np.abs(one[name]).max() + 1e-6
        np.testing.assert_allclose(four[name] / scale, one[name] / scale, atol=2e-3, err_msg=name)
