"""The one exception that this package raises for bad input."""


class CommuteError(ValueError):
    """Bad input: the message names what was given, what was expected and what to do.

    Low levels raise it tersely; the public boundary adds the call once.
    """
