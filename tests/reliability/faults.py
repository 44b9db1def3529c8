"""What is done to a run: damage to a checkpoint or a log, and a disk that is full."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

DISK_MIB = 200


def _cut(random: Random, checkpoint: Path) -> None:
    file = _any_file(random, checkpoint)
    os.truncate(file, random.randrange(file.stat().st_size))


def _zero(random: Random, checkpoint: Path) -> None:
    file = _any_file(random, checkpoint)
    file.write_bytes(bytes(file.stat().st_size))


def _remove(random: Random, checkpoint: Path) -> None:
    _any_file(random, checkpoint).unlink()


def _flip(random: Random, checkpoint: Path) -> None:
    file = _any_file(random, checkpoint)
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def _remove_part(random: Random, checkpoint: Path) -> None:
    shutil.rmtree(random.choice([path for path in sorted(checkpoint.iterdir()) if path.is_dir()]))


def _empty(random: Random, checkpoint: Path) -> None:
    del random
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def _cut_log(random: Random, checkpoint: Path) -> None:
    """Cuts the stage's log within its last line."""
    file = checkpoint.parents[1] / "metrics.jsonl"
    os.truncate(file, file.stat().st_size - random.randrange(1, len(file.read_bytes().splitlines()[-1])))


# By what the tally calls them: (random, folder of the newest checkpoint) -> None.
DAMAGES = {
    "newest checkpoint: a file cut": _cut,
    "newest checkpoint: a file zeroed": _zero,
    "newest checkpoint: a file removed": _remove,
    "newest checkpoint: a bit flipped": _flip,
    "newest checkpoint: a part removed": _remove_part,
    "newest checkpoint: all removed": _empty,
    "log cut in its last line": _cut_log,
}


def _any_file(random: Random, folder: Path) -> Path:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    return random.choice(files)


class Disk:
    """The disk of the runs: a small file system of its own for root, otherwise a limit on the size of files."""

    def __init__(self, folder: Path, is_mounted: bool):
        self.folder, self._filler, self._is_mounted = folder, folder / "filler", is_mounted
        self.kind = f"tmpfs of {DISK_MIB} MiB" if is_mounted else "files limited in size (RLIMIT_FSIZE)"

    def fill(self, free: int, process: subprocess.Popen) -> None:
        """Leaves that many bytes free, or lets no file of the process grow beyond them."""
        if not self._is_mounted:
            _limit_files(process, free)
            return
        with self._filler.open("wb", buffering=0) as file:
            for block in (1 << 20, 1 << 12):
                with suppress(OSError):  # no space is left
                    while file.write(bytes(block)):
                        pass
            file.truncate(max(file.tell() - free, 0))

    def make_room(self) -> None:
        """Ends that."""
        self._filler.unlink(missing_ok=True)


def _limit_files(process: subprocess.Popen, size: int) -> None:
    if process.poll() is None:
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Makes the folder, and mounts a small disk there if this process may."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    is_mounted = sys.platform == "linux" and os.geteuid() == 0 and not subprocess.run(command, check=False).returncode
    try:
        yield Disk(folder, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)
