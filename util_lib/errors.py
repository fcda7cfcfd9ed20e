"""The errors a user can cause and put right; every other exception is a defect of the project."""


class UserError(Exception):
    """One sentence that says what was expected, what was found, where, and the way out."""


class DamagedModelError(UserError):
    """A model that cannot be loaded, whoever asks: a part is missing, broken or made to harm."""


class UserValueError(UserError, ValueError):
    """A `UserError` that code written for the W&B client catches as `ValueError`."""
