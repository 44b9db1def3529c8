"""The kinds of error that a user can do something about."""

import re

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # line breaks and what else a terminal obeys


class UserError(ValueError):
    """Bad input: its message is a sentence that names the thing and the way out. The programs print only that.

    Names of files, which may have any characters, stay within one line: a line break is written as "\\n".
    """

    def __init__(self, message: str):
        super().__init__(CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), message))


class MissingKeyError(UserError):
    """A config without a value that it must have.

    Attributes:
        key: the value's full name, "config.dtype".
    """

    def __init__(self, key: str):
        super().__init__(f"the config has no {key}; configs/sysu_image.py shows what every config has.")
        self.key = key


class NotFiniteError(UserError, FloatingPointError):
    """A loss, a gradient, a parameter or a feature that is NaN or infinite."""
