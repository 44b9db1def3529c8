"""Compiled programs kept between runs."""

import os
from pathlib import Path

import jax


def use_cache() -> None:
    """Keeps what is compiled in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another."""
    if not jax.config.values["jax_compilation_cache_dir"]:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rgbir_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
