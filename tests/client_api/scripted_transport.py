"""A transport that answers by a script, on a clock that only moves when something waits."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from ascend_guard.client.http.exchange import Exchange, Pause, Send, arun, run
from ascend_guard.client.http.identity import Identity
from ascend_guard.client.http.transport import Answer, Unsent

R = TypeVar("R")

KEY = "ask_0123456789abcdef"

Event = tuple[float, "Answer | Exception | Callable[[Send], Answer]"]
"""How many seconds a send takes, and what comes of it."""


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class Scripted:
    """Performs sends by a script; what was not foreseen cannot be reached."""

    def __init__(self, clock: Clock, events: list[Event]) -> None:
        self.clock = clock
        self.events = list(events)
        self.sends: list[Send] = []
        self.times: list[float] = []
        self.answers: list[Answer | Exception] = []

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> Answer:
        send = Send(method, path, body, dict(headers), timeout)
        self.sends.append(send)
        self.times.append(self.clock.now)
        took, what = self.events.pop(0) if self.events else (0.0, Unsent("The script is over."))
        self.clock.pass_by(took if timeout is None else min(took, timeout))
        if isinstance(what, Exception):
            self.answers.append(what)
            raise what
        answer = what if isinstance(what, Answer) else what(send)
        self.answers.append(answer)
        return answer


def identity(clock: Clock, **fields: Any) -> Identity:
    """Who asks, by this clock."""
    return Identity(
        **{"api_key": KEY, "api_url": "http://localhost", "agent_id": "a-1", "clock": clock, **fields}
    )


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """An answer with a JSON body; a key ``retry_after`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body if isinstance(body, bytes) else json.dumps(body).encode())


class Outcome:
    """What came of a flow: its result or its error, and all it did."""

    def __init__(self, transport: Scripted) -> None:
        self.transport = transport
        self.result: Any = None
        self.error: Exception | None = None

    def comparable(self) -> tuple[Any, ...]:
        """Without what is new in every call: correlation ids, timestamps, keys."""
        error = self.error
        said = None if error is None else (type(error), _unmarked(str(error)))
        sends = [
            (send.method, send.path, _constant(send.body), _fixed(send.headers), send.timeout)
            for send in self.transport.sends
        ]
        return _unmarked(repr(self.result)), said, sends, self.transport.times, self.transport.clock.now


def _unmarked(text: str) -> str:
    return re.sub(r"asc_[0-9a-f]{32}", "asc_", text)


def _fixed(headers: Mapping[str, str]) -> dict[str, str | None]:
    new = {"X-Correlation-ID", "X-Request-Timestamp", "Idempotency-Key"}
    return {name: None if name in new else value for name, value in headers.items()}


def _constant(body: bytes | None) -> bytes | None:
    return None if body is None else re.sub(rb'"20\d\d-[^"]*Z"', b'"now"', body)


def played(make: Callable[[Identity], Exchange[Any]], events: list[Event], **fields: Any) -> Outcome:
    """A flow performed by the blocking driver."""
    clock = Clock()
    outcome = Outcome(Scripted(clock, events))
    try:
        outcome.result = run(make(identity(clock, **fields)), outcome.transport, clock.pass_by)
    except Exception as error:
        outcome.error = error
    return outcome


def aplayed(make: Callable[[Identity], Exchange[Any]], events: list[Event], **fields: Any) -> Outcome:
    """The same performed on an event loop."""
    clock = Clock()
    outcome = Outcome(Scripted(clock, events))

    async def perform() -> None:
        try:
            outcome.result = await arun(make(identity(clock, **fields)), outcome.transport, Inline())
        except Exception as error:
            outcome.error = error

    in_virtual_time(perform, clock)
    return outcome


def steps(flow: Exchange[R], *replies: Any) -> tuple[list[Send | Pause], R | Exception | None]:
    """The effects of a flow that gets these replies, and its end; None when it wants more of them."""
    effects: list[Send | Pause] = []
    waiting = list(replies)
    try:
        effect = next(flow)
        while True:
            effects.append(effect)
            if isinstance(effect, Pause):
                effect = flow.send(None)
                continue
            if not waiting:
                return effects, None
            reply = waiting.pop(0)
            effect = flow.throw(reply) if isinstance(reply, Exception) else flow.send(reply)
    except StopIteration as stop:
        return effects, stop.value
    except Exception as error:
        return effects, error
    finally:
        flow.close()


class Inline(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait for its timers: its clock moves to them."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._virtual = clock
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None = None) -> Any:
            ready = select(0 if timeout is not None else None)
            if not ready and timeout:
                clock.pass_by(timeout)
            return ready

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._virtual.now


def in_virtual_time(main: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Run a coroutine to its end without waiting for anything."""
    loop = _VirtualLoop(clock)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
