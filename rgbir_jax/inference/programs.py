"""Functions of images that fit in files: a run's features, and its swaps. A file needs nothing of this package."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array

from rgbir_jax.inference.features import Chain, States, features, swap
from rgbir_jax.inference.quantization import dequantized
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

PLATFORMS = ("cpu", "cuda", "tpu")
MEANINGS = {
    "images": "RGB in 0..255, resized by bicubic interpolation; an infrared image has three equal channels",
    "modality": "0 RGB, 1 infrared",
    "features": "unit vectors; the smaller their Euclidean distance, the more likely two images show the same person",
    "structure": "images that give the pose and the place",
    "appearance": "images that give the person",
    "swap": "generated images",
}


@dataclass(frozen=True)
class Program:
    """A function of any number of images.

    Attributes:
        name: what it computes, a key of `MEANINGS`.
        function: the function; it has the weights inside.
        inputs: shape and dtype of each argument, by a key of `MEANINGS`; the number of images is the symbol `batch`.
    """

    name: str
    function: Callable[..., Array]
    inputs: dict[str, jax.ShapeDtypeStruct]

    def exported(self) -> jax.export.Exported:
        """Returns the function as StableHLO for all `PLATFORMS`."""
        return jax.export.export(jax.jit(self.function), platforms=PLATFORMS)(*self.inputs.values())

    def described(self) -> dict[str, dict[str, str]]:
        """Returns what goes in and what comes out: dtype, shape and meaning by name."""

        def line(name, spec):
            return f"{spec.dtype} [{', '.join(map(str, spec.shape))}]: {MEANINGS[name]}"

        output = jax.eval_shape(self.function, *self.inputs.values())
        return {
            "inputs": {name: line(name, spec) for name, spec in self.inputs.items()},
            "output": {self.name: line(self.name, output)},
        }


def features_program(chain: Chain, states: States, image_size: Sequence[int]) -> Program:
    """Returns (images, modality) -> unit vectors, as `Run.features` computes them.

    Args:
        chain: the stages, from the one that sees images to the one whose features are wanted.
        states: their States; parameters may be `Quantized`.
        image_size: height and width of the images in pixels.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_size, 3), jnp.uint8)
    modality = jax.ShapeDtypeStruct((batch,), jnp.int32)

    def compute(images: Array, modality: Array) -> Array:
        return features(chain, tuple(map(_weights, states)), images, modality)

    return Program("features", compute, {"images": images, "modality": modality})


def swap_program(stage: Stage, state: State, image_size: Sequence[int]) -> Program:
    """Returns (structure, appearance) -> generated images, as `Run.swap` generates them.

    Args:
        stage: a stage that renders.
        state: its State; parameters may be `Quantized`.
        image_size: height and width of the images in pixels.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_size, 3), jnp.uint8)

    def compute(structure: Array, appearance: Array) -> Array:
        return swap(stage, _weights(state), structure, appearance)

    return Program("swap", compute, {"structure": images, "appearance": images})


def _weights(state: State) -> State:
    """Keeps XLA from computing with the weights while it compiles, which takes long and rounds differently."""
    held = jax.tree.map(jax.lax.optimization_barrier, {"params": state.params, "batch_stats": state.batch_stats})
    return dequantized(dataclasses.replace(state, **held))
