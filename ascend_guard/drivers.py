"""Two drivers that perform the effects of a generator, one sync, one async; and the same for a flow and a control plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from .flow import ControlPlane, Flow

E = TypeVar("E")
R = TypeVar("R")


def run(flow: Flow[R], plane: ControlPlane) -> R:
    """Drive a flow to its end, blocking."""
    return drive(flow, plane.perform)


async def arun(flow: Flow[R], plane: ControlPlane) -> R:
    """Drive a flow to its end on the running event loop."""
    return await adrive(flow, plane.aperform)


def drive(flow: Generator[E, Any, R], perform: Callable[[E], Any]) -> R:
    """Perform one effect after the other. What ``perform`` raises is thrown into the flow."""
    try:
        effect = next(flow)
        while True:
            try:
                reply = perform(effect)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()


async def adrive(flow: Generator[E, Any, R], perform: Callable[[E], Awaitable[Any]]) -> R:
    """The same for coroutines."""
    try:
        effect = next(flow)
        while True:
            try:
                reply = await perform(effect)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()
