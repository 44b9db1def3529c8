"""The special layers in NumPy (float64), written from their definitions and independent of the code under test."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def reflect(index: int, size: int) -> int:
    """Maps a coordinate outside 0..size−1 into the image by mirroring at the border pixels."""
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def conv(x, layer, stride=1, dilation=1):
    """Pads by reflection, then convolves; `layer` holds kernel [k, k, in, out] and bias [out]."""
    x, kernel, bias = (np.asarray(a, np.float64) for a in (x, layer["conv"]["kernel"], layer["conv"]["bias"]))
    side = kernel.shape[0]
    pad = dilation * ((side - 1) // 2)
    rows = [reflect(i, x.shape[1]) for i in range(-pad, x.shape[1] + pad)]
    columns = [reflect(i, x.shape[2]) for i in range(-pad, x.shape[2] + pad)]
    padded = x[:, rows][:, :, columns]
    reach = dilation * (side - 1) + 1
    windows = sliding_window_view(padded, (reach, reach), axis=(1, 2))
    windows = windows[:, ::stride, ::stride, :, ::dilation, ::dilation]
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias


def leaky_relu(x):
    return np.where(x > 0, x, 0.2 * x)


def instance_norm(x):
    x = np.asarray(x, np.float64)
    out = np.empty_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[3]):
            plane = x[n, :, :, c]
            out[n, :, :, c] = (plane - plane.mean()) / np.sqrt(((plane - plane.mean()) ** 2).mean() + 1e-5)
    return out


def adaptive_instance_norm(x, scale, bias):
    return instance_norm(x) * scale + bias


def layer_norm(x, gain, bias):
    """Normalises over height, width and channels; the deviation is unbiased and eps is added to it."""
    x = np.asarray(x, np.float64)
    out = []
    for image in x:
        centred = image - image.mean()
        deviation = np.sqrt((centred**2).sum() / (image.size - 1))
        out.append(centred / (deviation + 1e-5) * gain + bias)
    return np.stack(out)


def residual_block(x, layers, norms=(instance_norm, instance_norm)):
    y = leaky_relu(norms[0](conv(x, layers["Conv_0"])))
    return x + norms[1](conv(y, layers["Conv_1"]))


def dense(x, layer):
    return np.asarray(x, np.float64) @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def mlp(x, layers):
    return dense(leaky_relu(dense(leaky_relu(dense(x, layers["Dense_0"])), layers["Dense_1"])), layers["Dense_2"])
