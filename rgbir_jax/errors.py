"""The kinds of error that a user can do something about."""

import errno
import re

# Line breaks, marks that turn the direction of a text, and what else a terminal obeys.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# Reasons of the operating system, by which the machine is at fault and not this code.
OF_SYSTEM = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE}
OF_SYSTEM |= {errno.EMFILE, errno.ENFILE, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}


def one_line(text: str) -> str:
    """Writes what a terminal would obey in a text, such as the name of a file, as "\\n" and the like."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class UserError(ValueError):
    """Bad input: its message is a sentence that names the thing and the way out. The programs print only that.

    Names of files, which may have any characters, stay within one line: a line break is written as "\\n".
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class MissingKeyError(UserError):
    """A config without a value that it must have.

    Attributes:
        key: the value's full name, "config.dtype".
    """

    def __init__(self, key: str):
        super().__init__(f"the config has no {key}; configs/sysu_image.py shows what every config has.")
        self.key = key


class MissingFileError(UserError):
    """A file that only a later step needs is not there."""


class NoSearchError(UserError):
    """Images that a protocol cannot be scored on."""


class NotFiniteError(UserError, FloatingPointError):
    """A loss, a gradient, a parameter or a feature that is NaN or infinite."""


def of_machine(error: BaseException) -> UserError | None:
    """Says what to do about an error whose cause is the machine, such as full memory; None for any other error."""
    reason = next(iter(str(error).splitlines()), "")[:200]
    if type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in reason:
        return UserError(
            f"the memory of the device is full ({reason}); close other programs that use it, or train with a larger "
            f"--config.batch.parts, which takes the images of an iteration in parts, or a smaller image_size."
        )
    if isinstance(error, MemoryError):
        return UserError(
            f"the memory of this machine is full ({reason}); close other programs, or set a smaller image_size or "
            f"batch in the config."
        )
    if isinstance(error, OSError) and error.errno in OF_SYSTEM and error.filename:
        return UserError(
            f"{error.filename} cannot be used ({error.strerror}); make it readable or writable, or name another place."
        )
    return None
