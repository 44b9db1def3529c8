"""The kinds of error that a user can do something about."""


class UserError(ValueError):
    """Bad input: its message is a sentence that names the thing and the way out. The programs print only that."""


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
