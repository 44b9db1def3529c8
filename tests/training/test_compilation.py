"""JAX after `compilation.prepare`. Each test starts a new process, because XLA reads its flags only once."""

import os
import subprocess
import sys

import pytest

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
PROGRAM = """
import os
from rgbir_jax.training import compilation
compilation.prepare()
import jax, jax.numpy as jnp
x = jnp.full((8, 4, 2, 128), jnp.nan)
pooled = jax.jit(lambda x: jnp.mean(jnp.maximum(x, 0), (1, 2)))(x)
largest = jax.jit(lambda x: jnp.max(x, (1, 2)))(x)
print(bool(jnp.isnan(pooled).all()), bool(jnp.isnan(largest).all()), os.environ["XLA_FLAGS"])
"""


def _run(tmp_path, flags: str) -> tuple[str, str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    environment |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", PROGRAM]
    out = subprocess.run(command, env=environment, text=True, check=True, stdout=subprocess.PIPE).stdout
    pooled, largest, flags = out.strip().split(" ", 2)
    return pooled, largest, flags


@pytest.mark.parametrize("before", ["", "--xla_cpu_enable_fast_math=false"])
def test_nan_passes_through_a_rectifier_and_its_mean(tmp_path, before):
    assert _run(tmp_path, before) == ("True", "True", f"{before} {FLAG}=".strip())


def test_the_user_s_flag_is_kept(tmp_path):
    flags = f"{FLAG}=LIBRARY_FUSION_TYPE_ELTWISE"
    assert _run(tmp_path, flags)[-1] == flags


@pytest.mark.parametrize("place", ["folder", "file", "full"])
def test_programs_that_cannot_be_kept(tmp_path, place):
    """One sentence is printed, and everything works."""
    folder = tmp_path / "cache"
    folder.touch() if place == "file" else folder.mkdir()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-c", (limit if place == "full" else "") + PROGRAM]
    process = subprocess.run(command, env=environment, text=True, check=True, capture_output=True)
    assert process.stdout
    if place == "folder":
        assert process.stderr == ""
        assert list(folder.iterdir())
    else:
        assert process.stderr.count("\n") == 1
        assert process.stderr.startswith(f"{folder} cannot be written (")
        assert "compiled programs are not kept" in process.stderr
