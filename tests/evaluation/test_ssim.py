"""SSIM against its definition."""

import numpy as np
import pytest

from rgbir_jax.evaluation.ssim import ssim

X, Y = np.random.default_rng(0).uniform(size=(2, 3, 14, 12, 3))


def test_equal_images_score_1_and_the_order_does_not_matter():
    np.testing.assert_allclose(ssim(X, X), 1)
    np.testing.assert_allclose(ssim(X, Y), ssim(Y, X))
    assert (ssim(X, Y) < 0.5).all()


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.2, 0.6)])
def test_flat_images_differ_by_their_brightness_only(a, b):
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    np.testing.assert_allclose(ssim(np.full((1, 11, 11, 3), a), np.full((1, 11, 11, 3), b)), expected)


def test_an_inverted_image_scores_below_0():
    assert (ssim(X, 1 - X) < -0.5).all()


def test_one_window_by_hand():
    """An image of 11x11 pixels has one window: the weighted moments of all its pixels."""
    distance = np.subtract.outer(np.arange(11), np.full(1, 5))[:, 0] ** 2
    weight = np.exp(-(distance[:, None] + distance[None, :]) / (2 * 1.5**2))
    weight /= weight.sum()
    x, y = X[:1, :11, :11, :1], Y[:1, :11, :11, :1]
    a, b = x[0, ..., 0], y[0, ..., 0]
    mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
    variance_a, variance_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
    covariance = (weight * (a - mean_a) * (b - mean_b)).sum()
    expected = (2 * mean_a * mean_b + 0.01**2) * (2 * covariance + 0.03**2)
    expected /= (mean_a**2 + mean_b**2 + 0.01**2) * (variance_a + variance_b + 0.03**2)
    np.testing.assert_allclose(ssim(x, y), expected)


def test_channels_and_windows_are_averaged():
    by_channel = [ssim(X[..., [c]], Y[..., [c]]) for c in range(3)]
    np.testing.assert_allclose(ssim(X, Y), np.mean(by_channel, axis=0))
    by_window = [
        ssim(X[:, top : top + 11, left : left + 11], Y[:, top : top + 11, left : left + 11])
        for top in range(4)
        for left in range(2)
    ]
    np.testing.assert_allclose(ssim(X, Y), np.mean(by_window, axis=0))
