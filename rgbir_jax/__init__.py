"""RGB-infrared person re-identification by disentanglement, in JAX and Flax.

`load` opens a trained run, `rank` compares features of images, and `Features.load` reads those that a file has. They
are imported when they are first used, so that `import rgbir_jax` takes no time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgbir_jax.inference.image_features import Features as Features
    from rgbir_jax.run import load as load
    from rgbir_jax.search.ranking import rank as rank

__version__ = "0.1.0"
__all__ = ["Features", "load", "rank"]


def __getattr__(name: str):
    if name == "Features":
        from rgbir_jax.inference.image_features import Features

        return Features
    if name == "load":
        from rgbir_jax.run import load

        return load
    if name == "rank":
        from rgbir_jax.search.ranking import rank

        return rank
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
