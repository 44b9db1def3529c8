"""The one kind of error that a user can do something about."""


class UserError(ValueError):
    """Bad input: its message is a sentence that names the thing and the way out. The programs print only that."""


class NotFiniteError(UserError, FloatingPointError):
    """A loss, a gradient, a parameter or a feature that is NaN or infinite."""
