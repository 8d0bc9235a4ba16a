"""What a command raises when it does not do what it was told."""

from __future__ import annotations


class Refusal(Exception):
    """A command does not do what it was told.

    Args:
        message: why, and what to do.
        code: the exit status.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Declined(Refusal):
    """The person who was asked said no."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 1)
