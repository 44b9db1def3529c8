"""RGB-infrared person re-identification by disentanglement, in JAX and Flax."""

__version__ = "0.1.0"
