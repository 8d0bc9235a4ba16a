"""Tool calls in the proxy: each gets its permit, and each permit its outcome, once.

The outcome of a call:
1. The last check is made immediately before the message leaves (``ProxiedCall.leave``). A call that does not pass it is
   not sent.
2. An answer of the server says whether the call completed or failed.
3. Without an answer, a call that has left is ``unknown``: the server may have acted. One that never left failed, as not
   started. The last check alone distinguishes the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ascend_guard.errors import AscendError
from ascend_guard_mcp.gate import Admission, ToolGate, Unfinished, refusal

from .jsonrpc import Message, not_run

_LONGEST_FAILURE = 500
_CANCELLING = 1.0

Log = Callable[[str], None]


class ProxiedCall:
    """One tool call from its arrival to its answer.

    Attributes:
        message: as the client sent it.
    """

    __slots__ = ("_admission", "_settled", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._admission: Admission | None = None
        self._settled = False

    @property
    def running(self) -> bool:
        """Return whether it has its permit."""
        return self._admission is not None

    @property
    def left(self) -> bool:
        """Return whether it has passed its last check, so that the server may have it."""
        return self._admission is not None and self._admission.begun

    @property
    def note(self) -> str | None:
        """Text for the model in the answer, when an approver changed arguments; else None."""
        return None if self._admission is None else self._admission.note

    def leave(self) -> None:
        """Make the last check, immediately before the message goes to the server.

        Raises:
            AscendError: it must not be sent.
        """
        assert self._admission is not None
        with self._admission:
            pass

    async def traced(self, event: str, info: dict[str, object]) -> None:
        """httpx's ``trace`` extension: make the last check, once, when the request itself is about to leave, after the
        connection is made. Raises as ``leave``."""
        if event.endswith("send_request_headers.started") and not self.left:
            request = info.get("request")
            if getattr(request, "method", b"") != b"CONNECT":  # a proxy tunnel, not yet the message
                self.leave()

    async def refused(self, error: AscendError) -> bytes:
        """Return the answer to a call that did not pass its last check."""
        await self._settle(error, None)
        return not_run(self.message, refusal(error))

    async def admit(self, gate: ToolGate, session_id: str | None = None) -> Message | str:
        """Return the call to forward, or the text that says why it does not run. Cancelling ends the wait.

        Args:
            gate: decides.
            session_id: equal for calls of one client, if there are several clients.
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

    async def answered(self, response: dict[str, object]) -> None:
        """Record the outcome from the server's answer."""
        await self._settle(*_outcome(response))

    async def failed(self, why: str) -> None:
        """Record a failure: the call was not sent, or the server rejected it."""
        await self._settle(why, None)

    async def lost(self, why: str) -> None:
        """Record that no answer will arrive."""
        await self._settle(Unfinished(why), None)

    async def _settle(self, failure: str | BaseException | None, detail: str | None) -> None:
        if self._admission is None or self._settled:
            return
        self._settled = True
        await self._admission.settle(failure, detail)


class Background:
    """Tasks without a waiting caller.

    Args:
        log: receives the failures of tasks.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[object, object, object]) -> asyncio.Task[Any]:
        """Start a task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log(f"{type(error).__name__}: {error}")

    async def finish(self, seconds: float) -> None:
        """Wait for all tasks, and cancel those that take longer than this."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CANCELLING)


def turned_away(status: int) -> bool:
    """Return whether an HTTP status says that the request was not carried out: a redirect, or a client error. A
    time-out or a server error leaves that open."""
    return 300 <= status < 500 and status not in (408, 499)


def _outcome(response: dict[str, object]) -> tuple[str | None, str | None]:
    """Return failure and detail of an answered call."""
    if "error" in response:
        error = response["error"]
        said = error.get("message") if isinstance(error, dict) else error
        return _short(said) or "the server answered with an error", None
    result = response.get("result")
    if not isinstance(result, dict):
        return "the server's answer is not a result", None
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
        return None, "the server runs it as a task; its result is not known here"
    return None, None


def _short(text: object) -> str:
    return text[:_LONGEST_FAILURE] if isinstance(text, str) else ""
