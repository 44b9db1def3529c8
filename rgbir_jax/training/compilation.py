"""How programs are compiled, and that they are kept between runs."""

import os
from pathlib import Path

import jax


def prepare() -> None:
    """Turns YNNPACK off on CPUs and keeps compiled programs between runs. Call it before anything is computed.

    XLA reads the flag once, when JAX's backend starts; after that the call has no effect on it. A value that the user
    has set in XLA_FLAGS stays. The programs are kept in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names
    another one.
    """
    # JAX 0.10 chooses YNNPACK by default. Its maximum drops NaN, so that the mean over a ReLU of NaN is 0 and a broken
    # network trains with finite losses; and some narrow convolutions take thirty times as long in it as in XLA.
    flag = "--xla_cpu_experimental_ynn_fusion_type"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=".strip()  # an empty list: nothing is fused for YNNPACK
    if not jax.config.values["jax_compilation_cache_dir"]:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rgbir_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
