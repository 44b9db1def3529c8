"""Writing files: a disk that is full or cannot be written gives one sentence, and two programs do not write at once."""

import fcntl
import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rgbir_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

LOCK = ".lock"  # name of the file that is locked; the lock ends with the process, the file stays
EXPANDED, ALWAYS_READ = 20, 1 << 28  # an .npz file may become as many times as large, or have as many bytes
MAKE_ROOM = "make room on its disk, or allow writing there, and give the same command again."


@contextmanager
def writing(path: str | os.PathLike, way_out: str = MAKE_ROOM) -> Iterator[None]:
    """Turns an OSError of what is done inside into a UserError.

    Args:
        path: the file or folder that is written, for the message.
        way_out: the end of the message: what the user can do.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise not_written(path, error, way_out) from error


def not_written(path: str | os.PathLike, error: Exception, way_out: str = MAKE_ROOM) -> UserError:
    """Returns the UserError for a path that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    of_system = re.search(r'([^:"]+) \[os_error|; ([^;]+)$', reason)  # as TensorStore and TensorFlow quote it
    if of_system:
        reason = (of_system[1] or of_system[2]).strip()
    return UserError(f"{path} cannot be written ({reason.splitlines()[0][:200]}); {way_out}")


def read_json(path: Path, way_out: str = "copy it from a backup, or train the run again in another folder.") -> dict:
    """Reads a JSON file of names and values.

    Args:
        path: the file.
        way_out: the end of the message: what the user can do.

    Raises:
        UserError: if it holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor may have added a byte order mark
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {way_out}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged; {way_out}")
    return values


def read_npz(path: Path, way_out: str) -> dict[str, "np.ndarray"]:
    """Reads all arrays of an .npz file of plain numbers and texts.

    Args:
        path: the file.
        way_out: the end of the message: what the user can do.

    Raises:
        UserError: if it is none, if it is damaged, or if it becomes far larger in memory.
    """
    import numpy as np  # here, because every program's --help imports this module

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size <= max(EXPANDED * path.stat().st_size, ALWAYS_READ):
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file}
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path} is not an .npz file of plain numbers; {way_out}") from error
    raise UserError(f"{path} is a small file that becomes {size:,} bytes; {way_out}")


def write_json(path: Path, values: dict, way_out: str = MAKE_ROOM) -> None:
    """Writes a JSON file. If writing fails or is interrupted, the file that was there stays.

    Raises:
        UserError: if the file cannot be written.
    """
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    with writing(path, way_out):
        try:
            unfinished.write_text(json.dumps(values, indent=1) + "\n")
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, way_out: str = MAKE_ROOM) -> Iterator[BinaryIO]:
    """Opens a file that gets its name when the block ends: until then, and after an error, the former one stays.

    Raises:
        UserError: if the file cannot be written, or if the name is that of a folder or a device, such as /dev/null.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file that can be replaced; name another one.")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    with writing(path, way_out):
        try:
            with unfinished.open("wb") as file:
                yield file
            rename_whole(unfinished, path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, way_out: str = MAKE_ROOM) -> Iterator[Path]:
    """Yields a folder to fill, which gets its name when the block ends; after an error there is none.

    Until then it is called NAME.unfinished. What a killed program left under this name is deleted.

    Args:
        folder: the folder to make; those that it is in are made too.
        way_out: the end of the message if it cannot be written.

    Raises:
        UserError: if it cannot be written, or if another process is writing it.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    with writing(folder, way_out):
        unfinished.mkdir(parents=True, exist_ok=True)
        with locked(unfinished, "written", wait=False, way_out="wait until it has finished, or name another folder."):
            try:
                _clear(unfinished)
                yield unfinished
                (unfinished / LOCK).unlink()
                for path in filter(Path.is_file, unfinished.rglob("*")):
                    _to_disk(path)
                unfinished.rename(folder)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_writable(path: Path, flag: str) -> None:
    """Refuses a file that cannot be written, before minutes of work are lost.

    Args:
        path: the file.
        flag: the flag that names it, for the message, such as "--json".

    Raises:
        UserError: if it is a folder, or in none, or if writing is not allowed.
    """
    if path.is_dir():
        raise UserError(f"{flag} {path} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path} cannot be written: there is no folder {path.parent}; make it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{flag} {path} cannot be written: permission denied; name a file that you may write.")


def rename_whole(unfinished: Path, path: Path) -> None:
    """Gives a file its name, after its content has reached the disk: what has the name is whole after a power cut too.

    Raises:
        OSError: if the file cannot be written.
    """
    _to_disk(unfinished)
    unfinished.rename(path)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def locked(folder: Path, use: str, wait: bool, way_out: str = "") -> Iterator[None]:
    """Keeps other processes out of a folder, until the end of the block or of this process.

    Without locks on its disk, the folder is not protected, which is printed. A folder that cannot be written needs no
    protection.

    Args:
        folder: the folder; the file `LOCK` is made in it.
        use: what is done in it, for the message, such as "trained".
        wait: whether to wait until another process has finished.
        way_out: the end of the message if not.

    Raises:
        UserError: if another process has the lock and `wait` is False.
    """
    try:
        file = (folder / LOCK).open("a+b", buffering=0)
    except OSError:
        yield
        return
    with file:
        _lock(file, folder, use, wait, way_out)
        yield


def _lock(file: BinaryIO, folder: Path, use: str, wait: bool, way_out: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        other = file.read().decode(errors="replace").strip() or "another process"
        if not wait:
            raise UserError(f"{folder} is being {use} by {other}; {way_out}") from error
        print(f"{folder} is being {use} by {other}; waiting for it.", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        print(f"{folder} is on a disk without locks ({error.strerror}): do not let two programs use it at once.")
        return
    with suppress(OSError):  # the name is only for the message
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
