import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rgbir_jax.losses import identity
from rgbir_jax.losses.reconstruction import l1

RNG = np.random.default_rng(0)
LOGITS_P, LOGITS_Q = jnp.asarray(RNG.normal(size=(2, 6, 5)) * 3, jnp.float32)
LABEL = jnp.array([0, 4, 2, 2, 1, 3])


def test_l1_is_the_mean_absolute_difference():
    x, y = jnp.asarray(RNG.normal(size=(2, 3, 4, 5)), jnp.float32)
    by_hand = sum(abs(float(a) - float(b)) for a, b in zip(x.ravel(), y.ravel(), strict=True)) / x.size
    assert l1(x, y) == pytest.approx(by_hand, rel=1e-5)


def test_cross_entropy_is_the_expected_surprise():
    by_hand = 0.0
    for logits, label in zip(np.asarray(LOGITS_P, float), LABEL, strict=True):
        p = np.exp(logits) / np.exp(logits).sum()
        by_hand -= np.log(p[label]) / len(LABEL)
    assert identity.cross_entropy(LOGITS_P, LABEL) == pytest.approx(by_hand, rel=1e-5)


def test_cross_entropy_survives_extreme_logits():
    logits = jnp.array([[1e4, -1e4]])
    assert identity.cross_entropy(logits, jnp.array([1])) == pytest.approx(2e4)


def test_smooth_cross_entropy_computed_by_hand():
    logits, label = jnp.array([[2.0, 0, 0]]), jnp.array([0])
    assert identity.smooth_cross_entropy(logits, label, 0.1) == pytest.approx(0.372878, abs=1e-6)
    assert identity.smooth_cross_entropy(logits, label, 0.0) == pytest.approx(0.239545, abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_smooth_cross_entropy_is_the_surprise_of_a_smoothed_target(epsilon):
    by_hand = 0.0
    for logits, label in zip(np.asarray(LOGITS_P, float), LABEL, strict=True):
        log_p = logits - np.log(np.exp(logits).sum())
        target = np.full(5, epsilon / 5)
        target[label] += 1 - epsilon
        by_hand -= (target * log_p).sum() / len(LABEL)
    assert identity.smooth_cross_entropy(LOGITS_P, LABEL, epsilon) == pytest.approx(by_hand, rel=1e-5)


def test_accuracy_is_the_fraction_of_correct_labels():
    label = jnp.argmax(LOGITS_P, axis=1)
    label = label.at[:2].set((label[:2] + 1) % 5)
    assert identity.accuracy(LOGITS_P, label) == pytest.approx(4 / 6)


def test_kl_divergence_in_both_directions():
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in np.asarray([LOGITS_P, LOGITS_Q], float))
    assert identity.kl_divergence(LOGITS_P, LOGITS_Q) == pytest.approx(
        scipy.stats.entropy(p, q, axis=1).mean(), rel=1e-4
    )
    assert identity.kl_divergence(LOGITS_Q, LOGITS_P) == pytest.approx(
        scipy.stats.entropy(q, p, axis=1).mean(), rel=1e-4
    )
    assert identity.kl_divergence(LOGITS_P, LOGITS_P) == pytest.approx(0, abs=1e-6)


def test_symmetric_kl_adds_both_directions():
    """Computed as Σ (p − q) (log p − log q), which is the sum of both."""
    log_p, log_q = (z - np.log(np.exp(z).sum(1, keepdims=True)) for z in np.asarray([LOGITS_P, LOGITS_Q], float))
    expected = ((np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)).sum(1).mean()
    assert identity.symmetric_kl(LOGITS_P, LOGITS_Q) == pytest.approx(expected, rel=1e-5)
    assert identity.symmetric_kl(LOGITS_Q, LOGITS_P) == pytest.approx(expected, rel=1e-5)


def test_kl_gradient_vanishes_where_the_distributions_agree():
    gradient = jax.grad(identity.kl_divergence)(LOGITS_P, LOGITS_P + 7)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
