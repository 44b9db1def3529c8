"""Errors whose cause is the machine become one sentence; an error of the code keeps its traceback."""

import errno
import os
import subprocess
import sys

import jax
import pytest
from absl import flags as absl_flags

from rgbir_jax.commands import flags
from rgbir_jax.errors import UserError, of_machine
from rgbir_jax.lookup import expanded
from rgbir_jax.training import compilation, processes

FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9126805504 bytes.\nBuffers: ...")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            FULL,
            r"^the memory of the device is full \(RESOURCE_EXHAUSTED: .* bytes.\); .* a larger --config.batch.parts",
        ),
        (MemoryError("Unable to allocate 45.8 GiB"), r"^the memory of this machine is full \(Unable to allocate 45.8"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), r"^/data cannot be used \(Permission denied\); "),
    ],
)
def test_the_machine_is_named(error, sentence):
    with pytest.raises(UserError, match=sentence):
        raise of_machine(error)


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("INTERNAL: a bug"),
        FileNotFoundError(errno.ENOENT, "No such file", "/rgbir_jax/a_file_of_ours"),
        TypeError("an error of the code"),
    ],
)
def test_an_error_of_the_code_is_none_of_the_machine(error):
    assert of_machine(error) is None


def test_full_memory_ends_a_program_with_one_sentence(monkeypatch):
    monkeypatch.setattr(flags._TRACEBACK, "_value", False, raising=False)
    absl_flags.FLAGS(["train.py"])

    def train():
        raise FULL

    with pytest.raises(SystemExit, match=r"the memory of the device is full .* --config.batch.parts"):
        flags._one_sentence(train)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("10.0.0.1", 2, 0), r"--coordinator 10.0.0.1 is not HOST:PORT of the first process; 10.0.0.1:1234 is one"),
        (("10.0.0.1:http", 2, 0), "is not HOST:PORT"),
        (("10.0.0.1:70000", 2, 0), "is not HOST:PORT"),
        ((":1234", 2, 0), "is not HOST:PORT"),
        (("localhost:1234", 0, 0), "--process_count is 0; it must be at least 1"),
        (("localhost:1234", 2, 2), "--process_index is 2; it must be at least 0 and below --process_count 2"),
        (("localhost:1234", None, -1), "--process_index is -1; it must be at least 0"),
    ],
)
def test_processes_that_cannot_meet_are_refused_at_once(arguments, sentence):
    with pytest.raises(UserError, match=sentence), processes.joined(*arguments):
        pass


def test_a_platform_that_is_not_there_is_named():
    program = "from rgbir_jax.training import compilation; compilation.prepare()"
    environment = os.environ | {"JAX_PLATFORMS": "rocm", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert process.returncode != 0
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("rgbir_jax.errors.UserError: JAX finds no device (")
    assert "set JAX_PLATFORMS to what this machine has" in last


def test_a_machine_without_home_folders_keeps_no_programs(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and without an entry in passwd
    before = jax.config.values["jax_compilation_cache_dir"]
    compilation._say_not_kept.cache_clear()
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        compilation.prepare()
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert "There is no home folder: compiled programs are not kept" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # no folder "~"
    assert str(expanded("~/runs")) == "~/runs"


def test_a_value_that_is_not_in_utf8_is_refused():
    with pytest.raises(UserError, match=r"--workdir=runs/jos\\udce9 is not in UTF-8; rename"):
        flags._with_home("--workdir=" + os.fsdecode(b"runs/jos\xe9"))
