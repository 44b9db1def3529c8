import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.losses import adversarial

RNG = np.random.default_rng(1)
REAL = [jnp.asarray(RNG.normal(size=(3, h, h, 1)), jnp.float32) for h in (4, 2)]
FAKE = [jnp.asarray(RNG.normal(size=(3, h, h, 1)), jnp.float32) for h in (4, 2)]


def _log_d(logits):
    return np.log(1 / (1 + np.exp(-np.asarray(logits, float))))


def test_bce_is_the_paper_s_equation():
    by_hand = -sum(_log_d(r).mean() + _log_d(-f).mean() for r, f in zip(REAL, FAKE, strict=True))
    assert adversarial.discriminator_loss(REAL, FAKE, "bce") == pytest.approx(by_hand, rel=1e-5)


def test_generator_bce_does_not_saturate():
    by_hand = -sum(_log_d(f).mean() for f in FAKE)
    assert adversarial.generator_loss(FAKE, "bce") == pytest.approx(by_hand, rel=1e-5)


def test_lsgan_targets_and_the_doubled_generator():
    d = sum(((r - 1) ** 2).mean() + (f**2).mean() for r, f in zip(REAL, FAKE, strict=True))
    g = 2 * sum(((f - 1) ** 2).mean() for f in FAKE)
    assert adversarial.discriminator_loss(REAL, FAKE, "lsgan") == pytest.approx(float(d), rel=1e-5)
    assert adversarial.generator_loss(FAKE, "lsgan") == pytest.approx(float(g), rel=1e-5)


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match='"wgan" is unknown; choose "bce" or "lsgan"'):
        adversarial.generator_loss(FAKE, "wgan")


def test_r1_of_two_known_scales():
    """The gradients of the sums of D(x) = (w·x, x²) are w and 2x."""
    x = jnp.asarray(RNG.normal(size=(3, 2, 2, 3)), jnp.float32)
    w = jnp.asarray(RNG.normal(size=(2, 2, 3)), jnp.float32)

    def discriminator(x):
        return [jnp.sum(x * w, axis=(1, 2, 3), keepdims=True), jnp.sum(x**2, axis=-1, keepdims=True)]

    by_hand = (np.asarray(w, float) ** 2).sum() + ((2 * np.asarray(x, float)) ** 2).sum() / 3
    assert adversarial.r1_penalty(discriminator, x) == pytest.approx(by_hand, rel=1e-5)
