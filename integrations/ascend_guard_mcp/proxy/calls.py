"""Tool calls on their way: each gets its permit, and each permit its outcome, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ascend_guard.errors import AscendError
from ascend_guard_mcp.gate import Admission, ToolGate, refusal

from .messages import Message

_LONGEST_FAILURE = 500
_CANCELLING = 1.0

Log = Callable[[str], None]


class Call:
    """One tool call from its arrival to its answer.

    Attributes:
        message: as the client sent it.
        running: whether it has been let through to the server.
    """

    __slots__ = ("_admission", "_settled", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._admission: Admission | None = None
        self._settled = False

    @property
    def running(self) -> bool:
        return self._admission is not None

    async def admit(self, gate: ToolGate, session_id: str | None = None) -> Message | str:
        """The call as it is to be forwarded, or the text that tells why it is not. Cancelling ends the wait.

        Args:
            gate: decides.
            session_id: equal for calls of one client, where there are several.
        """
        params = self.message.params
        try:
            self._admission = await gate.admit(params["name"], params.get("arguments"), session_id=session_id)
        except AscendError as error:
            return refusal(error)
        except Exception as error:
            return f"Blocked: the tool did not run, because its proxy failed ({type(error).__name__})."
        try:
            return self.message.with_arguments(self._admission.arguments)
        except (ValueError, TypeError) as error:
            await self.failed(f"not sent: its edited arguments cannot be written as JSON ({error})")
            return "Blocked: the tool did not run, because its edited arguments cannot be written as JSON."

    async def answered(self, response: dict[str, Any]) -> None:
        """The server answered."""
        await self._settle(*_outcome(response))

    async def failed(self, why: str, detail: str | None = None) -> None:
        """No answer will come."""
        await self._settle(why, detail)

    async def _settle(self, failure: str | None, detail: str | None) -> None:
        if self._admission is None or self._settled:
            return
        self._settled = True
        await self._admission.settle(failure, detail)


class Background:
    """Tasks nobody waits for until the end.

    Args:
        log: gets what went wrong in one.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin one."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log(f"{type(error).__name__}: {error}")

    async def finish(self, seconds: float) -> None:
        """Wait for all of them, and cancel those that take longer than that."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CANCELLING)


def _outcome(response: dict[str, Any]) -> tuple[str | None, str | None]:
    """Failure and detail of an answered call."""
    if "error" in response:
        error = response["error"]
        said = error.get("message") if isinstance(error, dict) else error
        return _short(said) or "the server answered with an error", None
    result = response.get("result")
    if not isinstance(result, dict):
        return "the server's answer is no result", None
    if result.get("isError"):
        content = result.get("content")
        texts = [
            part["text"]
            for part in (content if isinstance(content, list) else ())
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        ]
        return _short(" ".join(texts)) or "the tool reported an error", None
    if result.get("resultType") == "input_required":
        return None, "the server asked for more input; the client calls again with it"
    if isinstance(result.get("task"), dict) and "content" not in result:
        return None, "the server took it on as a task; what came of that is not known here"
    return None, None


def _short(text: object) -> str:
    return text[:_LONGEST_FAILURE] if isinstance(text, str) else ""
