"""The code that a governed function shows: its parameters, and a body that makes the governed call.

Frameworks copy functions out of ``__code__``, ``__defaults__`` and ``__closure__``. Such a copy must not be the raw tool.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import wrapt

ANNOTATIONS: Any = next(
    vars(owner)["__annotations__"]
    for owner in reversed(wrapt.FunctionWrapper.__mro__)
    if "__annotations__" in vars(owner)
)
"""Reads the annotations of the tool; both wrapper classes use it. Reading the annotations of a class without any makes
Python create an empty dict in the class, and that dict would hide the annotations of every governed tool from then on."""

_ITERABLE_COROUTINE = inspect.CO_ITERABLE_COROUTINE


def stand_in(function: FunctionType, gate: Callable[..., Any], *, skip_first: bool = False) -> FunctionType:
    """Return a function that calls the gate and has this function's parameters, defaults, annotations and kind.

    Args:
        skip_first: the gate is already bound, so the first parameter is left out.
    """
    code = function.__code__
    head, call = _parameters(code, skip_first)
    name = "_gate"
    while name in code.co_varnames:
        name += "_"
    asked = f"{name}({', '.join(call)})"
    if inspect.isasyncgenfunction(function):
        chunks, chunk = f"{name}_chunks", f"{name}_chunk"
        body = (
            f"  {chunks} = {asked}\n  try:\n   async for {chunk} in {chunks}: yield {chunk}\n"
            f"  finally: await {chunks}.aclose()\n"
        )
    elif inspect.iscoroutinefunction(function):
        body = f"  return await {asked}\n"
    elif inspect.isgeneratorfunction(function):
        body = f"  return (yield from {asked})\n"
    else:
        body = f"  return {asked}\n"
    marked = "async " if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR) else ""
    scope: dict[str, Any] = {}
    # Only the identifiers of existing parameters are put into the text.
    exec(f"def make({name}):\n {marked}def tool({', '.join(head)}):\n{body} return tool", scope)  # noqa: S102
    made: FunctionType = scope["make"](gate)
    shown = made.__code__.replace(
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_filename=code.co_filename,
        co_firstlineno=code.co_firstlineno,
        co_flags=made.__code__.co_flags | code.co_flags & _ITERABLE_COROUTINE,
    )
    stand = FunctionType(
        shown, function.__globals__, function.__name__, function.__defaults__, made.__closure__
    )
    stand.__dict__ = (
        function.__dict__
    )  # the same object: frameworks put marks there and read them on the tool
    stand.__kwdefaults__ = function.__kwdefaults__
    stand.__annotations__ = function.__annotations__
    stand.__doc__, stand.__module__, stand.__qualname__ = (
        function.__doc__,
        function.__module__,
        function.__qualname__,
    )
    return stand


def _parameters(code: CodeType, skip_first: bool) -> tuple[list[str], list[str]]:
    names, count = code.co_varnames, code.co_argcount
    keywords = names[count : count + code.co_kwonlyargcount]
    rest = list(names[count + len(keywords) :])
    head, call = list(names[:count]), list(names[skip_first:count])
    if code.co_posonlyargcount:
        head.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        star = f"*{rest.pop(0)}"
        head.append(star)
        call.append(star)
    elif keywords:
        head.append("*")
    head += keywords
    call += [f"{name}={name}" for name in keywords]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        stars = f"**{rest.pop(0)}"
        head.append(stars)
        call.append(stars)
    return head, call
