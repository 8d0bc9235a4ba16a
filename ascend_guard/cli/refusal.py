"""The exceptions of a command that does not do what it was asked to do."""

from __future__ import annotations


class Refusal(Exception):
    """A command does not do what it was asked to do.

    Args:
        message: why, and what to do next.
        code: the exit status.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Declined(Refusal):
    """The person answered no to the question."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 1)
