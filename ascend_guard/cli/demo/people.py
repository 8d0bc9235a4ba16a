"""The people in the demo: separate processes that run ``ascend-guard``, as in another terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .stage import Unproven

R = TypeVar("R")

COMMAND = (sys.executable, "-P", "-m", "ascend_guard")
"""The command line of ``ascend-guard`` with this Python."""

_PATIENCE = 30.0


class Person:
    """One command, run by another process.

    Args:
        environment: ``ASCEND_*`` variables for the demo's control plane.
        arguments: the arguments after ``ascend-guard``.
    """

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.command = shlex.join(("ascend-guard", *arguments))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
        self._process = subprocess.Popen(  # noqa: S603
            [*COMMAND, *arguments],
            env=kept | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        self.pid = self._process.pid

    def finish(self) -> None:
        """Wait until it has ended. Raises ``Unproven`` when it fails or takes too long."""
        try:
            out, err = self._process.communicate(timeout=_PATIENCE)
        except BaseException as error:
            self._process.kill()
            self._process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Unproven(f"`{self.command}` has not ended after {_PATIENCE:g} s") from None
            raise
        if self._process.returncode:
            said = (err or out).strip() or "nothing"
            raise Unproven(f"`{self.command}` ended with status {self._process.returncode} and said: {said}")


class BackgroundCall(Generic[R]):
    """A tool call in its own thread, so that the demo can observe its wait."""

    def __init__(self, tool: Callable[..., R], arguments: dict[str, Any]) -> None:
        self._tool = tool
        self._arguments = arguments
        self._result: R | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._tool(**self._arguments)
        except Exception as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def finish(self) -> R:
        """Return its result, or raise its error. Raises ``Unproven`` when it does not end."""
        self._thread.join(_PATIENCE)
        if self.running:
            raise Unproven(f"the call is still waiting after {_PATIENCE:g} s")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]
