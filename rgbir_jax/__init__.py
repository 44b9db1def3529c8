"""RGB-infrared person re-identification by disentanglement, in JAX and Flax.

`load` opens a trained run; it is imported when it is first used, so that `import rgbir_jax` takes no time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgbir_jax.run import load as load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str):
    if name == "load":
        from rgbir_jax.run import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
