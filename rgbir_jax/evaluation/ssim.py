"""Structural similarity of images (Wang, Bovik, Sheikh and Simoncelli, 2004)."""

import numpy as np
from jaxtyping import Float

WINDOW = 11  # pixels
SIGMA = 1.5  # of the Gaussian window, in pixels
C1, C2 = 0.01**2, 0.03**2  # for a dynamic range of 1


def ssim(x: Float[np.ndarray, "n h w c"], y: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n"]:
    """Computes the mean SSIM of pairs of images, channel by channel.

    Means, variances and covariance are weighted by a Gaussian window. As in the authors' program, only windows that lie
    inside the image count.

    Args:
        x: images in 0..1, at least `WINDOW` pixels high and wide.
        y: the images to compare with.

    Returns:
        The mean over windows and channels, at most 1, which equal images have.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) - mean_x**2 + _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    return np.mean(luminance * structure, axis=(1, 2, 3))


def _windowed(x: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n rows columns c"]:
    """Returns the weighted mean of every window."""
    offset = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offset**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    for axis in (1, 2):
        x = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=axis) @ weights
    return x
