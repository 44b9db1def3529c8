"""The loader that lies beside exported files, as a program."""

import shutil
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import pytest

from rgbir_jax.commands.export import LOADER


@pytest.mark.parametrize("arguments", [[], ["--ir"]])
def test_without_images_it_says_how_it_is_used(arguments, tmp_path):
    shutil.copy(LOADER, tmp_path)
    shapes = jax.ShapeDtypeStruct((2, 8, 4, 3), jnp.uint8), jax.ShapeDtypeStruct((2,), jnp.int32)
    exported = jax.export.export(jax.jit(lambda images, modality: images[:, 0, 0] + modality[:, None]))(*shapes)
    (tmp_path / "features.jaxexport").write_bytes(exported.serialize())
    command = [sys.executable, "-I", tmp_path / LOADER.name, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == "Name images: loader.py RGB... --ir IR...\n"
