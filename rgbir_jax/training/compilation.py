"""How programs are compiled, and that they are kept between runs."""

import os
from pathlib import Path

import jax


def prepare() -> None:
    """Chooses XLA's faster convolutions on CPUs and keeps compiled programs; call it before anything is computed.

    The programs are kept in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another.
    """
    # Some narrow convolutions take thirty times as long in YNNPACK, which JAX 0.10 chose for them, as without it.
    flag = "--xla_cpu_experimental_ynn_fusion_type"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=LIBRARY_FUSION_TYPE_REDUCE".strip()
    if not jax.config.values["jax_compilation_cache_dir"]:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rgbir_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
