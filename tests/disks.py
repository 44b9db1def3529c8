"""Disks on which nothing can be written, for root too."""

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_read_only: set[str] = set()
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _refuse(event: str, arguments: tuple) -> None:
    if not _read_only or event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime"):
        return
    paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
    if event == "open" and not arguments[2] & WRITES:
        return
    if event == "os.mkdir" and os.path.isdir(paths[0]):
        return  # the system says that it exists
    if any(path.startswith(folder) for path in paths for folder in _read_only):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), paths[0])


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Lets Python write nothing in a folder, and checks that nobody else has."""
    if not getattr(read_only, "is_ready", False):
        sys.addaudithook(_refuse)  # can never be removed
        read_only.is_ready = True
    before = _content(folder)
    _read_only.add(str(folder))
    try:
        yield
    finally:
        _read_only.remove(str(folder))
    assert _content(folder) == before


def _content(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@contextmanager
def file_size(limit: int) -> Iterator[None]:
    """Lets no file grow beyond `limit` bytes. Only the system's message differs from that of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
