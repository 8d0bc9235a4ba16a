"""Every kind of thing that can be governed, in one shape: ``tool(order, amount=10.0, *, note="n")``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from support import PROFILE

Gate = Callable[[Any], Any]
Tool = Callable[..., Any]


@dataclass
class Body:
    """What every tool does, and what it was seen to do."""

    ran: list[tuple[Any, ...]] = field(default_factory=list)
    cleaned: int = 0
    fails_after: int | None = None

    def act(self, *arguments: Any) -> Any:
        self.ran.append(arguments)
        if self.fails_after == 0:
            raise ValueError("the tool failed")
        return ("done", *arguments)

    def chunks(self, *arguments: Any) -> Generator[Any, Any, Any]:
        self.ran.append(arguments)
        try:
            for number in range(3):
                if number == self.fails_after:
                    raise ValueError("the tool failed")
                yield number
            return ("done", *arguments)
        finally:
            self.cleaned += 1

    async def achunks(self, *arguments: Any) -> AsyncGenerator[Any, Any]:
        self.ran.append(arguments)
        try:
            for number in range(3):
                if number == self.fails_after:
                    raise ValueError("the tool failed")
                await asyncio.sleep(0)
                yield number
        finally:
            self.cleaned += 1


@dataclass(frozen=True)
class Kind:
    """One way to write a tool and to reach it."""

    name: str
    style: str
    """How it is called: sync, async, stream, astream."""
    make: Callable[[Gate, Body], Tool]

    def __str__(self) -> str:
        return f"{self.style}-{self.name}"

    def run(self, tool: Tool, *args: Any, **kwargs: Any) -> Any:
        """Call it and take everything it gives."""
        if self.style == "sync":
            return tool(*args, **kwargs)
        if self.style == "async":
            return asyncio.run(_awaited(tool, args, kwargs))
        if self.style == "stream":
            return drained(tool(*args, **kwargs))
        return asyncio.run(_collected(tool, args, kwargs))

    def result(self, *arguments: Any) -> Any:
        """What it gives when all goes well."""
        if self.style in ("sync", "async"):
            return ("done", *arguments)
        return ([0, 1, 2], ("done", *arguments)) if self.style == "stream" else [0, 1, 2]


async def _awaited(tool: Tool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return await tool(*args, **kwargs)


async def _collected(tool: Tool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    return [chunk async for chunk in tool(*args, **kwargs)]


def drained(stream: Generator[Any, Any, Any]) -> tuple[list[Any], Any]:
    """The chunks of a generator, and what it returns."""
    chunks = []
    while True:
        try:
            chunks.append(next(stream))
        except StopIteration as stop:
            return chunks, stop.value


def raw(style: str, body: Body) -> Tool:
    """The ungoverned function of this style."""
    if style == "sync":

        def function(order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            """Do something to an order."""
            return body.act(order, amount, note)

    elif style == "async":

        async def function(order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            """Do something to an order."""
            await asyncio.sleep(0)
            return body.act(order, amount, note)

    elif style == "stream":

        def function(order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            """Do something to an order."""
            return (yield from body.chunks(order, amount, note))

    else:

        async def function(order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            """Do something to an order."""
            async for chunk in body.achunks(order, amount, note):
                yield chunk

    return function


def _method(style: str, body: Body) -> Tool:
    """The same as a function that has a first parameter to be bound."""
    inner = raw(style, body)
    if style == "sync":

        def method(self: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            return inner(order, amount, note=note)

    elif style == "async":

        async def method(self: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            return await inner(order, amount, note=note)

    elif style == "stream":

        def method(self: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            return (yield from inner(order, amount, note=note))

    else:

        async def method(self: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            async for chunk in inner(order, amount, note=note):
                yield chunk

    return method


def _klass(style: str, body: Body) -> Tool:
    method = _method(style, body)

    if style == "async":

        async def klass(cls: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            return await method(None, order, amount, note=note)

    elif style == "stream":

        def klass(cls: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            return (yield from method(None, order, amount, note=note))

    elif style == "astream":

        async def klass(cls: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            async for chunk in method(None, order, amount, note=note):
                yield chunk

    else:

        def klass(cls: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
            return method(None, order, amount, note=note)

    return klass


def _class(**members: Any) -> type:
    return type("Shop", (), members)


def _kinds(style: str) -> list[Kind]:
    def kind(name: str) -> Callable[[Callable[[Gate, Body], Tool]], None]:
        return lambda make: found.append(Kind(name, style, make))

    found: list[Kind] = []

    @kind("function")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(raw(style, body))

    @kind("method")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(_method(style, body)))().tool

    @kind("method-through-the-class")
    def _(gate: Gate, body: Body) -> Tool:
        shop = _class(tool=gate(_method(style, body)))
        return functools.partial(shop.tool, shop())

    @kind("method-inherited")
    def _(gate: Gate, body: Body) -> Tool:
        return type("Corner", (_class(tool=gate(_method(style, body))),), {})().tool

    @kind("method-through-super")
    def _(gate: Gate, body: Body) -> Tool:
        shop = _class(tool=gate(_method(style, body)))

        class Corner(shop):
            def tool(self, *args: Any, **kwargs: Any) -> Any:
                return super().tool(*args, **kwargs)

        return Corner().tool

    @kind("method-with-another-name-for-self")
    def _(gate: Gate, body: Body) -> Tool:
        # What the first parameter is called is the author's business; that it is bound makes it no argument.
        method = _renamed(_method(style, body), "shop")
        return _class(tool=gate(method))().tool

    @kind("method-of-a-slotted-class")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(_method(style, body)), __slots__=())().tool

    @kind("bound-method")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(_class(tool=_method(style, body))().tool)

    @kind("classmethod-below")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(classmethod(_klass(style, body)))).tool

    @kind("classmethod-above")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=classmethod(gate(_klass(style, body)))).tool

    @kind("classmethod-below-through-an-instance")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(classmethod(_klass(style, body))))().tool

    @kind("classmethod-above-through-an-instance")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=classmethod(gate(_klass(style, body))))().tool

    @kind("classmethod-below-inherited")
    def _(gate: Gate, body: Body) -> Tool:
        return type("Corner", (_class(tool=gate(classmethod(_klass(style, body)))),), {}).tool

    @kind("classmethod-above-through-super")
    def _(gate: Gate, body: Body) -> Tool:
        shop = _class(tool=classmethod(gate(_klass(style, body))))

        class Corner(shop):
            @classmethod
            def tool(cls, *args: Any, **kwargs: Any) -> Any:
                return super().tool(*args, **kwargs)

        return Corner.tool

    @kind("staticmethod-below")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(staticmethod(raw(style, body)))).tool

    @kind("staticmethod-above")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=staticmethod(gate(raw(style, body)))).tool

    @kind("staticmethod-below-through-an-instance")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(staticmethod(raw(style, body))))().tool

    @kind("staticmethod-above-inherited")
    def _(gate: Gate, body: Body) -> Tool:
        return type("Corner", (_class(tool=staticmethod(gate(raw(style, body)))),), {})().tool

    @kind("callable")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(_class(__call__=_method(style, body))())

    @kind("callable-governed-inside")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(__call__=gate(_method(style, body)))()

    @kind("callable-as-a-class-attribute")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(_class(__call__=_method(style, body))()))().tool

    @kind("partial")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(functools.partial(raw(style, body), note="n"))

    @kind("partial-of-a-partial")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(functools.partial(functools.partial(raw(style, body), note="other"), note="n"))

    @kind("partial-of-a-method")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(functools.partial(_class(tool=_method(style, body))().tool, note="n"))

    @kind("partial-of-a-callable")
    def _(gate: Gate, body: Body) -> Tool:
        return gate(functools.partial(_class(__call__=_method(style, body))(), note="n"))

    @kind("partial-as-a-class-attribute")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=gate(functools.partial(raw(style, body), note="n")))().tool

    @kind("partial-of-the-governed-one")
    def _(gate: Gate, body: Body) -> Tool:
        return functools.partial(gate(raw(style, body)), note="n")

    @kind("partialmethod-of-the-governed-one")
    def _(gate: Gate, body: Body) -> Tool:
        return _class(tool=functools.partialmethod(gate(_method(style, body)), note="n"))().tool

    if style in ("sync", "async"):

        @kind("over-another-decorator")
        def _(gate: Gate, body: Body) -> Tool:
            around: Any = _Around() if style == "sync" else _AsyncAround()
            return gate(around(raw(style, body)))

    @kind("under-another-decorator")
    def _(gate: Gate, body: Body) -> Tool:
        return _passing_on(style, gate(raw(style, body)))

    if style != "astream":

        @kind("returned-by-a-lambda")
        def _(gate: Gate, body: Body) -> Tool:
            inner = raw(style, body)
            return gate(lambda order, amount=10.0, *, note="n": inner(order, amount, note=note))

        @kind("returned-by-a-method")
        def _(gate: Gate, body: Body) -> Tool:
            inner = raw(style, body)

            def method(self: Any, order: Any, amount: Any = 10.0, *, note: Any = "n") -> Any:
                return inner(order, amount, note=note)

            return _class(tool=gate(method))().tool

    return found


def _renamed(method: Tool, first: str) -> Any:
    code = method.__code__  # type: ignore[attr-defined]
    method.__code__ = code.replace(co_varnames=(first, *code.co_varnames[1:]))  # type: ignore[attr-defined]
    return method


class _Around(contextlib.ContextDecorator):
    """A decorator that is known to pass its arguments on unchanged."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class _AsyncAround(contextlib.AsyncContextDecorator):
    """The same for coroutines."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> None: ...


def _passing_on(style: str, tool: Tool) -> Tool:
    """A decorator as people write them: ``*args, **kwargs`` under ``functools.wraps``."""
    if style == "async":

        @functools.wraps(tool)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await tool(*args, **kwargs)

    elif style == "stream":

        @functools.wraps(tool)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return (yield from tool(*args, **kwargs))

    elif style == "astream":

        @functools.wraps(tool)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async for chunk in tool(*args, **kwargs):
                yield chunk

    else:

        @functools.wraps(tool)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return tool(*args, **kwargs)

    return wrapper


STYLES = ("sync", "async", "stream", "astream")
KINDS = [kind for style in STYLES for kind in _kinds(style)]
STREAMS = [kind for kind in KINDS if kind.style in ("stream", "astream")]
BASE = [
    kind
    for kind in KINDS
    if PROFILE == "full" or kind.name in ("function", "method", "classmethod-below", "callable", "partial")
]
"""The ways to reach a tool from which the others are put together; all of them in the full profile."""
