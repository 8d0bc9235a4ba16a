"""Every kind of work that a tool may hand back undone, and how its caller does it."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import itertools
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from typing import Any

Body = Callable[..., Any]


@dataclass(frozen=True)
class Deferred:
    """One kind."""

    name: str
    make: Callable[[Body], Any]
    """What the tool hands back; ``body`` is called by its first step."""
    use: Callable[[Any], Any]
    """Do the work, and give what it gives: directly, or as a coroutine when the work needs a loop."""
    gives: Any
    again: bool = False
    """Whether it makes its work anew by itself when it is used once more."""

    def __str__(self) -> str:
        return self.name

    def run(self, work: Any) -> Any:
        """Do the work, on a loop where it needs one."""
        result = self.use(work)
        return asyncio.run(result) if asyncio.iscoroutine(result) else result


class Steps:
    """An iterator written by hand."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._left = 2

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self._left == 0:
            raise StopIteration
        if self._left == 2:
            self._body()
        self._left -= 1
        return self._left


class AsyncSteps:
    """An async iterator written by hand."""

    def __init__(self, body: Body) -> None:
        self._steps = Steps(body)

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        await asyncio.sleep(0)
        try:
            return next(self._steps)
        except StopIteration:
            raise StopAsyncIteration from None


class Backwards:
    """A sequence whose items are work."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        self._body()
        return index


class HandMade(collections.abc.Generator):  # type: ignore[type-arg]  # Any, any, any
    """A generator by ``collections.abc``."""

    def __init__(self, body: Body) -> None:
        self._inner = _generator(body)

    def send(self, value: Any) -> Any:
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)


class Foreign:
    """A coroutine as compiled code makes them: registered, and of no type Python knows."""

    def __init__(self, body: Body) -> None:
        self._inner = _coroutine(body)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def send(self, value: Any) -> Any:
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()


collections.abc.Coroutine.register(Foreign)


class Request(Foreign):
    """Awaited or entered, as HTTP clients' requests are."""

    async def __aenter__(self) -> Any:
        return await self._inner

    async def __aexit__(self, *left: object) -> None:
        pass


collections.abc.Coroutine.register(Request)


class Awaitable:
    """Something with ``__await__``."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from asyncio.sleep(0).__await__()
        return self._body()


class Block:
    """A context manager written by hand."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __enter__(self) -> Any:
        return self._body()

    def __exit__(self, *left: object) -> None:
        pass


class AsyncBlock:
    """An async one."""

    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aenter__(self) -> Any:
        await asyncio.sleep(0)
        return self._body()

    async def __aexit__(self, *left: object) -> None:
        pass


class Decorating(Block, contextlib.ContextDecorator):
    """One that is a decorator as well."""


class OwnManager(contextlib._GeneratorContextManager):  # type: ignore[type-arg]  # of anything
    """A manager of a generator with an ``__enter__`` of its own, which is work."""

    def __enter__(self) -> Any:
        return super().__enter__()


def _generator(body: Body) -> Generator[int, None, str]:
    body()
    yield 1
    yield 0
    return "end"


async def _agenerator(body: Body) -> AsyncGenerator[int, None]:
    body()
    yield 1
    await asyncio.sleep(0)
    yield 0


async def _coroutine(body: Body) -> Any:
    await asyncio.sleep(0)
    return body()


@types.coroutine
def _old_coroutine(body: Body) -> Generator[Any, Any, Any]:
    yield from asyncio.sleep(0).__await__()
    return body()


def _around(body: Body) -> Generator[Any, None, None]:
    yield body()


async def _aaround(body: Body) -> AsyncGenerator[Any, None]:
    yield body()


def _enter(manager: Any) -> Any:
    with manager as value:
        return value


async def _aenter(manager: Any) -> Any:
    async with manager as value:
        return value


async def _await(work: Any) -> Any:
    return await work


async def _collect(work: Any) -> list[Any]:
    return [chunk async for chunk in work]


def _decorate(manager: Any) -> Any:
    return manager(lambda: "done")()


async def _adecorate(manager: Any) -> Any:
    async def function() -> str:
        return "done"

    return await manager(function)()


def _in_a_stack(manager: Any) -> Any:
    with contextlib.ExitStack() as stack:
        return stack.enter_context(manager)


async def _in_an_async_stack(manager: Any) -> Any:
    async with contextlib.AsyncExitStack() as stack:
        return await stack.enter_async_context(manager)


async def _in_a_task(work: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.create_task(work)


def _chunks(work: Any) -> list[Any]:
    return list(work)


FOLLOWED = [
    Deferred("generator", _generator, _chunks, [1, 0]),
    Deferred("generator-by-abc", HandMade, _chunks, [1, 0]),
    Deferred("iterator", Steps, _chunks, [1, 0]),
    Deferred("map", lambda body: map(lambda _: body(), [0]), _chunks, ["done"]),  # noqa: C417 - a map is what this is about
    Deferred("filter", lambda body: filter(lambda _: body(), [7]), _chunks, [7]),
    Deferred("zip", lambda body: zip(Steps(body), [7, 8], strict=True), _chunks, [(1, 7), (0, 8)]),
    Deferred("enumerate", lambda body: enumerate(Steps(body)), _chunks, [(0, 1), (1, 0)]),
    Deferred("reversed", lambda body: reversed(Backwards(body)), _chunks, [0]),
    Deferred("islice", lambda body: itertools.islice(Steps(body), 1), _chunks, [1]),
    Deferred("chain", lambda body: itertools.chain(Steps(body), [5]), _chunks, [1, 0, 5]),
    Deferred("starmap", lambda body: itertools.starmap(body, [()]), _chunks, ["done"]),
    Deferred("callable-iterator", lambda body: iter(body, "done"), _chunks, []),
    Deferred("contextmanager", contextlib.contextmanager(_around), _enter, "done"),
    Deferred(
        "contextmanager-as-decorator", contextlib.contextmanager(_around), _decorate, "done", again=True
    ),
    Deferred("contextmanager-in-a-stack", contextlib.contextmanager(_around), _in_a_stack, "done"),
    Deferred(
        "contextmanager-of-another-class", lambda body: OwnManager(_around, (body,), {}), _enter, "done"
    ),
    Deferred("manager", Block, _enter, "done"),
    Deferred("manager-in-a-stack", Block, _in_a_stack, "done"),
    Deferred("manager-as-decorator", Decorating, _decorate, "done", again=True),
    Deferred("coroutine", _coroutine, _await, "done"),
    Deferred("coroutine-in-a-task", _coroutine, _in_a_task, "done"),
    Deferred("coroutine-by-types", _old_coroutine, _await, "done"),
    Deferred("coroutine-registered", Foreign, _await, "done"),
    Deferred("coroutine-registered-in-a-task", Foreign, _in_a_task, "done"),
    Deferred("request-awaited", Request, _await, "done"),
    Deferred("request-entered", Request, _aenter, "done"),
    Deferred("request-in-a-task", Request, _in_a_task, "done"),
    Deferred("awaitable", Awaitable, _await, "done"),
    Deferred("async-generator", _agenerator, _collect, [1, 0]),
    Deferred("async-iterator", AsyncSteps, _collect, [1, 0]),
    Deferred("asynccontextmanager", contextlib.asynccontextmanager(_aaround), _aenter, "done"),
    Deferred(
        "asynccontextmanager-as-decorator",
        contextlib.asynccontextmanager(_aaround),
        _adecorate,
        "done",
        again=True,
    ),
    Deferred(
        "asynccontextmanager-in-a-stack", contextlib.asynccontextmanager(_aaround), _in_an_async_stack, "done"
    ),
    Deferred("async-manager", AsyncBlock, _aenter, "done"),
]
