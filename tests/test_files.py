"""Files that cannot be written, and folders that two programs want to use."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from rgbir_jax.errors import UserError
from rgbir_jax.files import LOCK, locked, whole_file, write_json, writing
from tests.disks import read_only

HOLD = """
import sys, time
from pathlib import Path
from rgbir_jax.files import locked
with locked(Path(sys.argv[1]), "trained", wait=False):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _holder(folder, seconds: float = 600) -> subprocess.Popen:
    """Starts a process that has the lock of a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, str(seconds)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "locked\n"
    return process


def test_the_second_is_refused_and_a_killed_process_leaves_no_lock(tmp_path):
    with _holder(tmp_path) as process:
        with (
            pytest.raises(UserError, match=rf"{tmp_path} is being trained by process {process.pid} on .*; wait\."),
            locked(tmp_path, "trained", wait=False, way_out="wait."),
        ):
            pytest.fail("two have the lock")
        process.kill()
    assert (tmp_path / LOCK).is_file()
    with locked(tmp_path, "trained", wait=False):
        pass


def test_the_second_waits(tmp_path, capsys):
    with _holder(tmp_path, seconds=1) as process:
        with locked(tmp_path, "prepared", wait=True):
            pass
        assert process.wait(timeout=10) == 0
    assert f"{tmp_path} is being prepared by process {process.pid} on" in capsys.readouterr().out


def test_a_disk_without_locks_is_mentioned(tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path, "trained", wait=False):
        assert f"{tmp_path} is on a disk without locks (No locks available)" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path):
    with read_only(tmp_path), locked(tmp_path, "trained", wait=False):
        pass


def test_a_full_disk_is_named():
    with (
        pytest.raises(
            UserError, match=r"/dev/full cannot be written \(No space left on device\); make room on its disk"
        ),
        writing("/dev/full"),
        open("/dev/full", "w") as file,
    ):
        file.write("x")


def test_what_was_there_stays_if_json_cannot_be_written(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})
    with (
        read_only(tmp_path),
        pytest.raises(UserError, match=rf"{path} cannot be written \(Read-only file system\); xy"),
    ):
        write_json(path, {"a": 2}, "xy")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    """A device, such as /dev/null, is a special file as a pipe is."""
    path = tmp_path / "a"
    make(path)
    before = path.stat()
    with pytest.raises(UserError, match=rf"{path} is no file that can be replaced"), whole_file(path):
        pytest.fail("it is opened")
    assert path.stat() == before
    assert list(tmp_path.iterdir()) == [path]


def test_threads_of_one_process_take_turns(tmp_path):
    """Two preparations of one dataset can be in one process."""
    inside = []

    def use():
        with locked(tmp_path, "prepared", wait=True):
            inside.append("in")
            time.sleep(0.2)
            inside.append("out")

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert inside == ["in", "out", "in", "out"]
