"""Converts arrays between JAX's layout [batch, height, width, channels] and PyTorch's, where channels come second."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'rgbir-jax[parity]'")

torch.set_num_threads(1)  # PyTorch's idle threads spin and slow JAX down


def to_torch(x) -> "torch.Tensor":
    """Converts a JAX or NumPy array; images change their layout."""
    x = np.asarray(x)
    return torch.from_numpy((x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).copy())


def from_torch(x: "torch.Tensor") -> np.ndarray:
    """Converts a PyTorch tensor; images change their layout."""
    x = x.detach().numpy()
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def assert_alike(ours, theirs, tolerance=1e-4):
    """Checks the largest difference against `tolerance` times the largest value, or times 1 if that is smaller."""
    ours, theirs = np.asarray(ours), from_torch(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(1, np.abs(theirs).max())
