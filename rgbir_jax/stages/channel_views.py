"""Augmented views of a batch for two-stem networks, whose channels may be mixed, scaled, exchanged or made grey."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from rgbir_jax.data import augment
from rgbir_jax.stages.views import erased
from rgbir_jax.training import parallel

CHANGES = ("grey", "mix", "scale", "exchange")  # the keys of a stage's section `channels`


class ChannelViews(NamedTuple):
    """The images of one device, normalised.

    Attributes:
        rgb: RGB images; with exchanged channels all of them twice.
        ir: IR images.
        label: the identities.
    """

    rgb: Float[Array, "identity images height width 3"]
    ir: Float[Array, "identity shot height width 3"]
    label: Int[Array, "identity"]


def channel_views(
    key: Array,
    image: UInt8[Array, "identity 2 shot height width 3"],
    label: Int[Array, "identity"],
    config: ConfigDict,
    channels: ConfigDict,
) -> ChannelViews:
    """Augments each image with a key of its own, by its place in the global batch.

    Args:
        key: the key of this iteration, the same on every device.
        image: the images of this device's identities.
        label: their labels.
        config: `pad` and `erase`, as in `stages.views`.
        channels: `grey`, `mix` and `scale`, the probabilities of the changes of `data.augment` before normalisation,
            in this order; `exchange`: whether RGB images have a second view, of its own crop and erased rectangle,
            with exchanged channels, and IR images are made grey adaptively (CAJ).
    """
    first, second = jax.random.split(key)
    views, keys = _view(first, image, config, channels)
    rgb, ir = views[:, 0], views[:, 1]
    if channels.exchange:
        again, keys_again = _view(second, image[:, :1], config, channels)
        rgb = jnp.concatenate([rgb, _each(augment.exchange_channels, keys_again[:, 0], again[:, 0])], axis=1)
        ir = _each(augment.adaptive_grey, keys[:, 1], ir)
    return ChannelViews(rgb, ir, label)


def _view(
    key: Array, image: UInt8[Array, "identity modality shot height width 3"], config: ConfigDict, channels: ConfigDict
) -> tuple[Float[Array, "identity modality shot height width 3"], Key[Array, "identity modality shot"]]:
    """Returns augmented images, and a key of each for later changes of its channels."""
    flat = image.reshape(-1, *image.shape[3:])
    keys = augment.image_keys(key, parallel.first_position(len(flat)), len(flat))
    crop, grey, mix, scale, erase, later = jax.vmap(lambda key: jax.random.split(key, 6), out_axes=1)(keys)
    x = augment.in_unit_range(augment.flip_and_crop(crop, flat, config.pad))
    if channels.grey:
        x = augment.to_grey(grey, x, channels.grey)
    if channels.mix:
        x = augment.mix_channels(mix, x, channels.mix)
    if channels.scale:
        x = augment.scale_patches(scale, x, channels.scale, tuple(config.erase.area), tuple(config.erase.aspect))
    x = erased(erase, augment.standardise(x), config.erase)
    return x.reshape(image.shape), later.reshape(image.shape[:3])


def _each(change, keys: Key[Array, "identity shot"], x: Float[Array, "identity shot height width 3"]) -> Array:
    return change(keys.reshape(-1), x.reshape(-1, *x.shape[2:])).reshape(x.shape)
