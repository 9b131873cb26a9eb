"""The one exception that stands for a user's mistake: the command line prints it as a single line."""


class InputError(ValueError):
    """Something a user gave is wrong. The message is one line: what, where, expected, found."""


class SomeFailed(Exception):
    """Of many scans some failed, the others are written. The message is one line: how many, and which."""
