"""An approved call on its way to the tool, so that it is decided once, however many layers it passes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

import anyio

from ascend_guard import scope
from ascend_guard.arguments import digest_of
from ascend_guard.calling.scope import scoped
from ascend_guard.errors import AscendError, ServerError

from .caller import Caller
from .gate import Admission, ToolGate, Unfinished
from .result_notes import with_note

R = TypeVar("R")

_log = logging.getLogger("ascend_guard")
_LONGEST_FAILURE = 200


class Passage:
    """One approved call. Each server that it reaches may take it once, with the approved tool and arguments.

    Args:
        owner: the object that requested the decision: only it takes the call, or passes it on.
        server: the server that requested the decision.
        tool: the approved tool.
        arguments: the approved arguments.
    """

    def __init__(self, owner: object, server: object, tool: str, arguments: Mapping[str, object]) -> None:
        self._owner = owner
        self._tool = tool
        self._digest = _digest(arguments)
        self._seen = {id(server)}
        self._due: dict[int, str] = {id(server): tool}

    def _take(self, owner: object, server: object, tool: str, arguments: Mapping[str, object]) -> bool:
        if (
            owner is not self._owner
            or self._due.get(id(server)) != tool
            or _digest(arguments) != self._digest
        ):
            return False
        del self._due[id(server)]
        return True

    def _extend(self, owner: object, server: object, tool: str, arguments: Mapping[str, object]) -> bool:
        mounted = not self._due and id(server) not in self._seen and self._tool.endswith(tool)
        if owner is not self._owner or not mounted or _digest(arguments) != self._digest:
            return False
        self._seen.add(id(server))
        self._due[id(server)] = tool
        return True


_passages: ContextVar[tuple[Passage, ...]] = ContextVar("ascend_guard_mcp_passages", default=())


def taken(owner: object, server: object, tool: str, arguments: Mapping[str, object]) -> bool:
    """Return whether this is the approved call, arriving at its tool. A second equal call is another call."""
    return any(passage._take(owner, server, tool, arguments) for passage in reversed(_passages.get()))


def passed_on(owner: object, server: object, tool: str, arguments: Mapping[str, object]) -> bool:
    """Return whether this is the approved call, passed on to a mounted server with the same owner."""
    return any(passage._extend(owner, server, tool, arguments) for passage in reversed(_passages.get()))


async def admit(
    gate: ToolGate, tool: str, arguments: Mapping[str, object] | None, caller: Caller
) -> Admission:
    """Request a decision from the gate.

    Raises:
        AscendError: the tool must not run, for any reason; the only other exception is cancellation.
    """
    try:
        return await gate.admit(tool, arguments, session_id=caller.session_id, context=caller.context)
    except AscendError:
        raise
    except Exception as error:
        _log.exception("A call of the MCP tool %r could not be judged; it did not run", tool)
        raise ServerError(f"Blocked: {tool!r} did not run, because it could not be judged.") from error


async def carry_out(
    owner: object,
    server: object | None,
    tool: str,
    admission: Admission,
    caller: Caller,
    body: Callable[[dict[str, object]], Awaitable[R]],
    told: Callable[[AscendError], R],
) -> R:
    """Run what was approved, and record its outcome once. The answer says what an approver changed.

    Args:
        owner, server, tool: see ``Passage``; no server if the body passes no other layer.
        admission: the permit.
        caller: the caller, whose session the governed calls inside belong to.
        body: runs the call with the approved arguments.
        told: returns the answer to a call that does not run after all, because its last check fails.
    """
    try:
        with (
            scope(session_id=scoped().session_id or caller.session_id),
            admission,
            nullcontext()
            if server is None
            else _under_way(Passage(owner, server, tool, admission.arguments)),
        ):
            result = await body(admission.arguments)
    except BaseException as error:
        await _settle(admission, _end(error), None)
        if isinstance(error, AscendError) and not admission.begun:
            return told(error)
        raise
    await _settle(admission, *_outcome(result))
    return result if admission.note is None else with_note(result, admission.note)


def _end(error: BaseException) -> BaseException:
    """Return the failure of a body that raised this: a body that was cancelled, or timed out, may have acted."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AscendError):
            return error
        if isinstance(seen, TimeoutError | anyio.get_cancelled_exc_class()):
            return Unfinished(f"{type(seen).__name__} while the tool ran; it may have acted")
        seen = seen.__cause__ or seen.__context__
    return error


@contextmanager
def _under_way(passage: Passage) -> Iterator[None]:
    token = _passages.set((*_passages.get(), passage))
    try:
        yield
    finally:
        _passages.reset(token)


async def _settle(admission: Admission, failure: str | BaseException | None, detail: str | None) -> None:
    with anyio.CancelScope(shield=True):  # the tool has acted: a client that disconnects does not undo that
        await admission.settle(failure, detail)


def _outcome(result: object) -> tuple[str | None, str | None]:
    """Return the tool's own failure, and how the call ended if it did not end with a result."""
    result = getattr(result, "root", result)  # mcp 1.x wraps results
    kind = type(result).__name__
    if kind in ("InputRequiredResult", "InputRequiredToolResult"):
        return None, "the tool asked the client for more"
    if kind == "CreateTaskResult":
        return None, "the tool continues as a task"
    if kind == "ErrorData":
        return str(getattr(result, "message", "")) or "the tool failed", None
    if isinstance(result, dict):
        failed, content = result.get("isError") or result.get("is_error"), result.get("content")
    else:
        failed = getattr(result, "is_error" if hasattr(result, "is_error") else "isError", None)
        content = getattr(result, "content", None)
    if not failed:
        return None, None
    for block in content or ():
        text = block.get("text") if isinstance(block, dict) else getattr(block, "text", None)
        if text:
            return str(text)[:_LONGEST_FAILURE], None
    return "the tool failed", None


def _digest(arguments: Mapping[str, object]) -> str | None:
    try:
        return digest_of(arguments, key=b"")
    except AscendError:
        return None  # it has no digest, so it is not what was approved
