"""Arrays between the two layouts: [batch, height, width, channels] here, [batch, channels, height, width] there."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'rgbir-jax[parity]'")

torch.set_num_threads(1)  # its waiting threads would keep JAX's from working


def to_torch(x) -> "torch.Tensor":
    x = np.asarray(x)
    return torch.from_numpy((x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).copy())


def from_torch(x: "torch.Tensor") -> np.ndarray:
    x = x.detach().numpy()
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def assert_alike(ours, theirs, tolerance=1e-4):
    """The largest difference against the largest value, or against 1 where all are smaller."""
    ours, theirs = np.asarray(ours), from_torch(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(1, np.abs(theirs).max())
