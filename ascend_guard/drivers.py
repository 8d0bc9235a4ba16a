"""Two drivers that perform a flow's effects through a control plane: one sync, one async."""

from __future__ import annotations

from typing import Protocol, TypeVar

from .flow import Effect, Flow

R = TypeVar("R")


class ControlPlane(Protocol):
    """What decides: the embedded engine, a server, or a script in a test.

    Attributes:
        digest_key: secret key of argument digests, so that a stored digest does not help to guess a redacted value.
        agent_id: the agent its calls are made for, unless the call or its scope says otherwise.
        agent_name: that agent's name for people.
    """

    digest_key: bytes
    agent_id: str
    agent_name: str

    def perform(self, effect: Effect[R]) -> R:
        """Perform one effect, blocking. Every failure is raised."""
        ...

    async def aperform(self, effect: Effect[R]) -> R:
        """Perform one effect without blocking the event loop. Every failure is raised."""
        ...


def run(flow: Flow[R], plane: ControlPlane) -> R:
    """Drive a flow to its end, blocking."""
    try:
        effect = next(flow)
        while True:
            try:
                reply = plane.perform(effect)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()


async def arun(flow: Flow[R], plane: ControlPlane) -> R:
    """Drive a flow to its end on the running event loop."""
    try:
        effect = next(flow)
        while True:
            try:
                reply = await plane.aperform(effect)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()
