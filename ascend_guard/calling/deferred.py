"""Work that a tool handed back undone is followed: checked before its first step, stopped between its steps, recorded by its
own end.

Each way of following keeps these rules:

1. Before the first step the control plane is asked again (``Execution.check``), and the last check is made where the step
   is entered, however long ago the decision was (promises 2 and 4).
2. Between two chunks the kill switch is asked (promise 4).
3. The outcome is that of the work. What cannot be followed is ``handed_over``, never ``completed`` (promise 5).
4. Work that is given up before its first step runs nothing and is recorded as not started; ``Execution`` sees to it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar, cast

from ascend_guard.errors import not_run

from .execution import Execution
from .followed import Again
from .fronts import followed
from .handed_back import DATA, Way, found, holds_work

T = TypeVar("T")


def follow(execution: Execution, result: Any, again: Again | None = None) -> Any:
    """What the caller gets instead of this result when its work is followed, and records the outcome by itself; None when
    nobody else will, and the call is to be settled now.

    Args:
        execution: the call, whose body has ended.
        result: what it handed back.
        again: makes the call once more, for managers that are used as decorators.
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
    """Await work that was handed back."""
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
    """Record what ended a coroutine."""
    if isinstance(error, GeneratorExit):  # it is being closed, so nothing can be awaited
        execution.settle(error, beside=True)
    else:
        await execution.asettle(error)


async def concluded(execution: Execution, result: T) -> T:
    """A coroutine came to its end with this result."""
    if type(result) not in DATA:
        later = follow(execution, result)
        if later is not None:
            return cast(T, later)
    await execution.asettle()
    return result


def _discard(execution: Execution, work: object) -> None:
    """What never began is closed, which runs nothing of it, so that nobody is warned of it."""
    if not execution.begun and isinstance(work, CoroutineType | GeneratorType):
        work.close()


def drain(
    execution: Execution, chunks: Generator[Any, Any, T], *, first: bool = True, watch: bool = True
) -> Generator[Any, Any, T]:
    """Hand out a permitted generator's chunks, checking the kill switch between them.

    Args:
        execution: the call.
        chunks: the generator.
        first: ask the control plane before the first chunk, too; False when that was done just now.
        watch: chunks that hold work make the outcome ``handed_over``.
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
            except BaseException as error:  # thrown in by the caller: the tool's to handle
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
        with execution, suppress(Exception):  # the error that stopped the stream is the one to tell
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
    """The same for an async generator that was handed back."""

    async def begin() -> tuple[Execution, AsyncGenerator[object, object]]:
        return execution, chunks

    return adrain(begin, first=True, watch=watch)


async def adrain(
    begin: Callable[[], Awaitable[tuple[Execution, AsyncGenerator[Any, Any]]]],
    *,
    first: bool = False,
    watch: bool = True,
) -> AsyncGenerator[Any, Any]:
    """The same for async generators; ``begin`` runs at the first ``anext`` and gets the permit."""
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
            except BaseException as error:  # thrown in by the caller: the tool's to handle
                sent, step = error, chunks.athrow
            await execution.acheck()
    except GeneratorExit:
        execution.settle(detail=f"closed by the caller after {count} chunks", beside=True)
        raise
    except BaseException as error:
        if not execution.begun:
            await stopped(execution, error)
            raise
        with execution, suppress(Exception):  # the error that stopped the stream is the one to tell
            await chunks.aclose()
        await execution.asettle(error, detail=f"stopped after {count} chunks")
        raise
    await execution.asettle(detail=f"{count} chunks")


def when_done(execution: Execution, future: Any) -> Any:
    """A future keeps its identity, and may be under way: it is followed to its end alone."""
    from asyncio import CancelledError

    def settle(done: Any) -> None:
        error = CancelledError() if done.cancelled() else done.exception()
        if error is None and holds_work(done.result()):
            execution.hand_over("a future of more work")
        execution.settle(error, beside=True)

    execution.may_be_dropped()
    try:
        future.add_done_callback(settle)
    except Exception:  # whoever made it: what cannot be followed is handed over, for the tool has acted
        execution.hand_over(f"a {type(future).__name__}")
        return None
    return future


def _managed(execution: Execution, manager: Any, again: Again | None) -> Any:
    """The manager of a generator is its own class's, but for what makes a new one of the raw function."""
    raw = manager.gen
    drained: Any = adrain_this if isinstance(raw, AsyncGeneratorType) else drain
    manager.gen = drained(execution, raw, watch=False)
    kind: Any = type(manager)
    manager.__class__ = _once(kind, isinstance(raw, AsyncGeneratorType))
    manager.ascend_guard_call = _Lent(execution, again)
    return manager


class _Lent:
    """What a manager knows of the call it came from."""

    def __init__(self, execution: Execution, again: Again | None) -> None:
        # What to say of it, not the execution: that ends with the generator.
        self.error = functools.partial(not_run.used_up, execution.call.action, execution.permit.action_id)
        self.again = again
        self._fresh = [True]
        self._kept = [True]

    def lend(self) -> bool:
        """Whether a decorator may use the manager itself: the first time, when it was not entered."""
        try:
            return self._kept.pop() and bool(self._fresh)
        except IndexError:
            return False

    def enter(self) -> None:
        """Raises ``ConflictError`` when it was entered before."""
        try:
            self._fresh.pop()  # atomic, so that of two threads one enters
        except IndexError:
            raise self.error() from None


@functools.lru_cache(maxsize=1024)
def _once(kind: Any, later: bool) -> Any:
    """This class of managers, of which an object is good for one body."""

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
