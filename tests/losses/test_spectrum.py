"""SDL's losses, by hand and against plain NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.losses import spectrum

RNG = np.random.default_rng(0)


def test_disentanglement_by_hand():
    """X − (u + v) = (1, 0) − (0.6, 0.8) − (0, 1) = (0.4, −1.8)."""
    x, u, v = jnp.array([[1.0, 0.0]]), jnp.array([[0.6, 0.8]]), jnp.array([[0.0, 1.0]])
    assert spectrum.disentanglement(x, u, v, "mean") == pytest.approx(3.4, rel=1e-6)
    assert spectrum.disentanglement(x, u, v, "norm") == pytest.approx(1.843909, rel=1e-6)


def test_disentanglement_of_a_batch():
    x, u, v = RNG.normal(size=(3, 7, 5))
    rest = x - u - v
    arrays = tuple(jnp.asarray(part, jnp.float32) for part in (x, u, v))
    assert spectrum.disentanglement(*arrays, "mean") == pytest.approx(np.sum(rest**2) / 7, rel=1e-5)
    assert spectrum.disentanglement(*arrays, "norm") == pytest.approx(np.sqrt(np.sum(rest**2)), rel=1e-5)


def test_dispelling_by_hand():
    assert spectrum.dispelling(jnp.array([[2.0, 0.0, 0.0]]), "mean") == pytest.approx(1.572878, rel=1e-6)
    assert spectrum.dispelling(jnp.zeros((2, 3)), "mean") == pytest.approx(1.098612, rel=1e-6)


def test_dispelling_of_a_batch():
    logits = RNG.normal(size=(6, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = jnp.asarray(logits, jnp.float32)
    assert spectrum.dispelling(given, "mean") == pytest.approx(-np.log(p).sum(1).mean() / 4, rel=1e-5)
    assert spectrum.dispelling(given, "norm") == pytest.approx(np.linalg.norm(logits - 0.25), rel=1e-5)
