"""Follow deferred results: check before the first step, stop between steps, and record the outcome when the work ends.

Each way of following keeps these rules:

1. Before the first step the control plane is asked again (``Execution.check``), and the last check is made where the
   step is entered, even if the decision was made long ago (promises 2 and 4).
2. Between two chunks the kill switch is checked (promise 4).
3. The outcome is the outcome of the work. Work that cannot be followed is ``handed_over``, never ``completed`` (promise 5).
4. Work that is dropped before its first step does not run, and is recorded as not started; ``Execution`` does this.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar, cast

from ascend_guard.errors import not_run

from .execution import Execution
from .followed_methods import followed
from .followed_objects import Again
from .result_kinds import DATA, Way, found, holds_work

T = TypeVar("T")


def follow(execution: Execution, result: Any, again: Again | None = None) -> Any:
    """Return what the caller gets instead of this result, when its work is followed and records its own outcome. Return
    None when the call must be settled now.

    Args:
        execution: the call, whose body has ended.
        result: what the body returned.
        again: makes the call once more, for context managers that are used as decorators.
    """
    what = found(result)
    if what.way is Way.DATA:
        return None
    if what.way is Way.CONTAINER or what.way is Way.OUT_OF_SIGHT:
        if holds_work(result):
            name = type(result).__name__
            execution.hand_over(f"a {name}" if what.way is Way.OUT_OF_SIGHT else f"a {name} that holds work")
        return None
    if what.way is Way.FUTURE:
        return when_done(execution, result)
    execution.defer()
    if what.way is Way.OBJECT:
        return followed(execution, result, what, again, finish)
    if what.way is Way.MANAGER or what.way is Way.ASYNC_MANAGER:
        return _managed(execution, result, again)
    ways: dict[Way, Callable[[Execution, Any], Any]] = {
        Way.COROUTINE: finish,
        Way.GENERATOR: drain,
        Way.ASYNC_GENERATOR: adrain_this,
    }
    return ways[what.way](execution, result)


async def finish(execution: Execution, work: Awaitable[T]) -> T:
    """Await a deferred result."""
    try:
        await execution.acheck()
        with execution:
            result = await work
        return await concluded(execution, result)
    except BaseException as error:
        _discard(execution, work)
        await stopped(execution, error)
        raise


async def stopped(execution: Execution, error: BaseException) -> None:
    """Record the exception that ended a coroutine."""
    if isinstance(error, GeneratorExit):  # it is being closed, so nothing can be awaited
        execution.settle(error, beside=True)
    else:
        await execution.asettle(error)


async def concluded(execution: Execution, result: T) -> T:
    """Record that a coroutine ended with this result."""
    if type(result) not in DATA:
        later = follow(execution, result)
        if later is not None:
            return cast(T, later)
    await execution.asettle()
    return result


def _discard(execution: Execution, work: object) -> None:
    """Close work that never began. Closing runs none of its code, and prevents a warning about a forgotten ``await``."""
    if not execution.begun and isinstance(work, CoroutineType | GeneratorType):
        work.close()


def drain(
    execution: Execution, chunks: Generator[Any, Any, T], *, first: bool = True, watch: bool = True
) -> Generator[Any, Any, T]:
    """Yield the chunks of a permitted generator, and check the kill switch between them.

    Args:
        execution: the call.
        chunks: the generator.
        first: check before the first chunk, too; False when the control plane was asked immediately before.
        watch: chunks that contain deferred work make the outcome ``handed_over``.
    """
    count = 0
    step: Callable[[Any], Any] = chunks.send
    sent: Any = None
    try:
        if first:
            execution.check()
        while True:
            try:
                with execution:
                    chunk = step(sent)
            except StopIteration as stop:
                result = cast(T, stop.value)
                break
            count += 1
            if watch and type(chunk) not in DATA and holds_work(chunk):
                execution.hand_over("chunks that hold work of their own")
            try:
                sent, step = (yield chunk), chunks.send
            except GeneratorExit:
                with execution:
                    chunks.close()
                raise
            except BaseException as error:  # thrown in by the caller, for the tool to handle
                sent, step = error, chunks.throw
            execution.check()
    except GeneratorExit:
        execution.settle(detail=f"closed by the caller after {count} chunks", beside=True)
        raise
    except BaseException as error:
        if not execution.begun:
            _discard(execution, chunks)
            execution.settle(error)
            raise
        with execution, suppress(Exception):  # the error that stopped the stream is the one to report
            chunks.close()
        execution.settle(error, detail=f"stopped after {count} chunks")
        raise
    if type(result) not in DATA:
        later = follow(execution, result)
        if later is not None:
            return cast(T, later)
    execution.settle(detail=f"{count} chunks")
    return result


def adrain_this(
    execution: Execution, chunks: AsyncGenerator[object, object], *, watch: bool = True
) -> AsyncGenerator[Any, Any]:
    """The same for an async generator that a tool returned."""

    async def begin() -> tuple[Execution, AsyncGenerator[object, object]]:
        return execution, chunks

    return adrain(begin, first=True, watch=watch)


async def adrain(
    begin: Callable[[], Awaitable[tuple[Execution, AsyncGenerator[Any, Any]]]],
    *,
    first: bool = False,
    watch: bool = True,
) -> AsyncGenerator[Any, Any]:
    """The same for async generators; ``begin`` runs at the first ``anext`` and returns the permit."""
    execution, chunks = await begin()
    count = 0
    step: Callable[[Any], Any] = chunks.asend
    sent: Any = None
    try:
        if first:
            await execution.acheck()
        while True:
            try:
                with execution:
                    chunk = await step(sent)
            except StopAsyncIteration:
                break
            count += 1
            if watch and type(chunk) not in DATA and holds_work(chunk):
                execution.hand_over("chunks that hold work of their own")
            try:
                sent, step = (yield chunk), chunks.asend
            except GeneratorExit:
                with execution:
                    await chunks.aclose()
                raise
            except BaseException as error:  # thrown in by the caller, for the tool to handle
                sent, step = error, chunks.athrow
            await execution.acheck()
    except GeneratorExit:
        execution.settle(detail=f"closed by the caller after {count} chunks", beside=True)
        raise
    except BaseException as error:
        if not execution.begun:
            await stopped(execution, error)
            raise
        with execution, suppress(Exception):  # the error that stopped the stream is the one to report
            await chunks.aclose()
        await execution.asettle(error, detail=f"stopped after {count} chunks")
        raise
    await execution.asettle(detail=f"{count} chunks")


def when_done(execution: Execution, future: Any) -> Any:
    """Follow a future to its end. The caller gets the future itself, which may already be running."""
    from asyncio import CancelledError

    def settle(done: Any) -> None:
        error = CancelledError() if done.cancelled() else done.exception()
        if error is None and holds_work(done.result()):
            execution.hand_over("a future of more work")
        execution.settle(error, beside=True)

    execution.may_be_dropped()
    try:
        future.add_done_callback(settle)
    except Exception:  # any other future class may raise: it cannot be followed, and the tool has acted
        execution.hand_over(f"a {type(future).__name__}")
        return None
    return future


def _managed(execution: Execution, manager: Any, again: Again | None) -> Any:
    """Wrap a generator's context manager. It keeps its class; only creating a new one from the raw function is replaced."""
    raw = manager.gen
    drained: Any = adrain_this if isinstance(raw, AsyncGeneratorType) else drain
    manager.gen = drained(execution, raw, watch=False)
    kind: Any = type(manager)
    manager.__class__ = _once(kind, isinstance(raw, AsyncGeneratorType))
    manager.ascend_guard_call = _Lent(execution, again)
    return manager


class _Lent:
    """What a context manager needs of the call that returned it."""

    def __init__(self, execution: Execution, again: Again | None) -> None:
        # Texts about the call, not the execution: the execution ends with the generator.
        self.error = functools.partial(not_run.used_up, execution.call.action, execution.permit.action_id)
        self.again = again
        self._fresh = [True]
        self._kept = [True]

    def lend(self) -> bool:
        """Return whether a decorator may use this context manager itself: once, if it was not entered."""
        try:
            return self._kept.pop() and bool(self._fresh)
        except IndexError:
            return False

    def enter(self) -> None:
        """Raise ``ConflictError`` when it was entered before."""
        try:
            self._fresh.pop()  # atomic, so that of two threads one enters
        except IndexError:
            raise self.error() from None


@functools.lru_cache(maxsize=1024)
def _once(kind: Any, later: bool) -> Any:
    """A subclass of this class of context managers, whose objects run one body."""

    class Once(kind):  # type: ignore[misc]  # the class is known when it is met
        def _recreate_cm(self) -> Any:
            lent: _Lent = self.ascend_guard_call
            if lent.lend():
                return self
            if lent.again is None:
                raise lent.error()
            return lent.again.later() if later else lent.again.now()

        if later:

            async def __aenter__(self) -> Any:
                self.ascend_guard_call.enter()
                return await super().__aenter__()

        else:

            def __enter__(self) -> Any:
                self.ascend_guard_call.enter()
                return super().__enter__()

    Once.__name__, Once.__qualname__, Once.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Once
