"""Compiler options, and the cache that keeps compiled programs between runs."""

import functools
import os
import sys
import tempfile
import warnings
from pathlib import Path

import jax

from rgbir_jax.errors import UserError


def prepare() -> None:
    """Turns YNNPACK off on CPUs and keeps compiled programs between runs. Call it before anything is computed.

    XLA reads the flag once, when JAX's backend starts; later calls do not change it. A value set by the user in
    XLA_FLAGS is kept. Programs are stored in the user's cache folder or in JAX_COMPILATION_CACHE_DIR.

    Raises:
        UserError: if the devices that JAX_PLATFORMS asks for are not there.
    """
    # JAX 0.10 uses YNNPACK by default. Its maximum drops NaN: the mean over a ReLU of NaN is 0, and a broken network
    # trains with finite losses. Some narrow convolutions also take thirty times as long as in XLA.
    flag = "--xla_cpu_experimental_ynn_fusion_type"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=".strip()  # an empty list: nothing is fused for YNNPACK
    cache = jax.config.values["jax_compilation_cache_dir"] or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "rgbir_jax", "compiled"
    )
    cache = os.path.expanduser(cache)
    if cache.startswith("~"):
        _say_not_kept("There is no home folder")
        cache = None
    else:
        _check_cache(cache)
    jax.config.update("jax_compilation_cache_dir", cache)
    try:
        jax.devices()
    except RuntimeError as error:
        raise UserError(
            f"JAX finds no device ({str(error).splitlines()[0]}); set JAX_PLATFORMS to what this machine has, such as "
            f"cpu, or install JAX for it: pip install -U 'jax[cuda13]'."
        ) from error


@functools.cache
def _check_cache(folder: str) -> None:
    """Says so if programs cannot be kept. JAX would warn at each of them."""
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if "://" in folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1000))
    except OSError as error:
        _say_not_kept(f"{folder} cannot be written ({error.strerror})")


@functools.cache
def _say_not_kept(reason: str) -> None:
    print(
        f"{reason}: compiled programs are not kept, so every start takes longer; let JAX_COMPILATION_CACHE_DIR name "
        f"another folder.",
        file=sys.stderr,
    )
