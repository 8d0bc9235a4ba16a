"""One request and its retries, without I/O: a generator of effects, and two small drivers that perform them.

Rules (promise 3: a retry never runs anything twice):

1. Only this module sends anything again.
2. A request that may happen twice (GET, PUT, DELETE, or with an idempotency key) is sent again after each status of the
   policy.
3. Any other request is sent again only after 429 and 503, which say that the server did nothing, or if it was not sent.
4. No pause begins that would end after the deadline.
"""

from __future__ import annotations

import json
import logging
import random as _random
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from ascend_guard.api.endpoint import Endpoint
from ascend_guard.drivers import adrive, drive
from ascend_guard.errors import AscendError, NetworkError, ServerError, TimeoutError, ValidationError

from .failures import failure_of, retry_after
from .identity import RETRY_FOR
from .transport import Answer, Unsent

R = TypeVar("R")

SAID_FROM = 5.0
"""Pauses of so many seconds or more are logged."""

_log = logging.getLogger("ascend_guard.client")

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_SUCCESS = frozenset({200, 201})  # REST API document, "HTTP Status Codes"
_SAME_TWICE = frozenset({"GET", "HEAD", "PUT", "DELETE"})  # RFC 9110, 9.2.2
_NOT_DONE = frozenset({429, 503})


class Send(Struct, frozen=True):
    """Send a request. The reply is the ``Answer``.

    Args:
        method: HTTP method.
        path: with its query, quoted.
        body: sent unchanged.
        headers: in addition to the transport's own.
        timeout: seconds; the transport's own when None.
    """

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = {}
    timeout: float | None = None

    def __repr__(self) -> str:
        return f"Send({self.method} {self.path})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("path", self.path)]


class Pause(Struct, frozen=True):
    """Wait for this many seconds. The reply is None. ``why`` is logged."""

    seconds: float
    why: str = ""


Exchange: TypeAlias = Generator[Send | Pause, Answer | None, R]


class Sender(Protocol):
    """Performs a ``Send``: a ``Transport``, or a wrapper around one."""

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = ...,
        timeout: float | None = None,
    ) -> Answer:
        """One request, sent once."""
        ...


class Retry(Struct, frozen=True, kw_only=True):
    """Which requests are sent again, and when.

    Args:
        attempts: the number of times a request is sent at most.
        statuses: of answers after which there is another attempt.
        base: seconds before the second attempt.
        factor: how many times longer each next pause is.
        jitter: the largest random addition, as a share of the pause.
        network: whether a request is sent again, once, after a failure of the network.
    """

    attempts: int
    statuses: frozenset[int] = frozenset()
    base: float = 0.0
    factor: float = 2.0
    jitter: float = 0.25
    network: bool = True

    def pause(self, attempt: int, chance: float) -> float:
        """Seconds to wait after attempt 0, 1, 2, ...; ``chance`` is from 0 to 1."""
        whole: float = self.base * self.factor**attempt
        return whole + whole * self.jitter * chance


GUARD = Retry(attempts=5, statuses=_NOT_DONE, base=1.0)
"""REST API document, "Fail-Closed Reference Implementations": 429 and 503, after 1, 2, 4, 8 s and up to a quarter more."""

DOCUMENTED = Retry(attempts=4, statuses=frozenset({429, 500, 502, 503, 504}), base=0.5)
"""SDK document, "Retry Behavior": three retries, backoff factor 0.5 s."""

LOST_CONNECTION = Retry(attempts=2, base=0.0, jitter=0.0)
"""Sent once more if the connection was closed in the meantime, and after no answer."""

ONCE = Retry(attempts=1)
"""Nothing is sent again."""


def exchange(
    endpoint: Endpoint,
    *,
    parameters: Mapping[str, Any] = _NOTHING,
    body: Any = None,
    query: Mapping[str, Any] = _NOTHING,
    headers: Mapping[str, str] = _NO_HEADERS,
    retry: Retry = DOCUMENTED,
    deadline: float | None = None,
    until: float | None = None,
    timeout: float | None = None,
    echoed: bool = False,
    random: Callable[[], float] = _random.random,
    clock: Callable[[], float] = time.monotonic,
) -> Exchange[Answer]:
    """Send a request to one endpoint. The result is a successful answer.

    The rules of this module say when it is sent again. After a network failure that is once at most. ``Retry-After``
    replaces the pause. If the pause would end too late, the error is raised at once and says how long the server asked to
    wait.

    Args:
        endpoint: a row of the table.
        parameters: of its path.
        body: of its type, or a mapping with the same fields, which is encoded here; bytes are sent unchanged.
        query: of its URL; values that are None are left out.
        headers: of this request.
        retry: when it is sent again.
        deadline: a moment of ``clock`` by which it ends, with all attempts.
        until: a moment of ``clock`` by which pauses end; without it and a deadline, ``RETRY_FOR`` from now.
        timeout: seconds one attempt may take, if less than what is left until the deadline.
        echoed: whether the server repeats ``X-Correlation-ID``. An answer without this request's own is not this request's.
        random: from 0 to 1, for the jitter.
        clock: seconds.

    Raises:
        ValidationError: the request is not valid, here or for the server.
        AscendError: an answer that is not a success (``failure_of``), or an error of the transport.
    """
    raw = body if isinstance(body, bytes) else encoded(endpoint, body)
    path = address(endpoint, parameters, query)
    sent = {"Content-Type": "application/json", **headers} if raw is not None else dict(headers)
    keyed = any(name.lower() == "idempotency-key" for name in sent)
    repeatable = keyed or endpoint.method in _SAME_TWICE
    worth = retry.statuses if repeatable else retry.statuses & _NOT_DONE
    action_id = parameters.get("action_id")
    latest = min((moment for moment in (deadline, until) if moment is not None), default=clock() + RETRY_FOR)
    lost = False
    failure: AscendError | None = None
    for attempt in range(retry.attempts):
        left = None if deadline is None else deadline - clock()
        if left is not None and left <= 0:
            raise failure or TimeoutError(f"{endpoint.name} was not sent: there was no time left for it.")
        limits = [seconds for seconds in (left, timeout) if seconds is not None]
        asked: float | None = None
        try:
            answer = yield Send(endpoint.method, path, raw, sent, min(limits, default=None))
        except (NetworkError, TimeoutError) as error:
            if lost or not retry.network or not (repeatable or isinstance(error, Unsent)):
                raise
            lost, failure = True, error
        else:
            if not isinstance(answer, Answer):
                raise ServerError(f"{endpoint.name}: the driver of this exchange gave no answer.")
            if answer.status in _SUCCESS:
                if echoed:
                    require_own(endpoint.name, sent, answer.headers)
                return answer
            failure = failure_of(endpoint, answer, sent, None if action_id is None else str(action_id))
            if answer.status not in worth:
                raise failure
            asked = retry_after(answer)
        if attempt + 1 == retry.attempts:
            raise failure
        pause = retry.pause(attempt, random()) if asked is None else asked
        if pause >= latest - clock():
            raise failure
        yield Pause(pause, f"{endpoint.name} is sent again in {pause:.0f} s: {failure}")
    raise ValidationError("Retry.attempts must be at least 1.")


def require_own(name: str, sent: Mapping[str, str], answered: Mapping[str, str]) -> None:
    """Check that an answer belongs to its request, for a server that repeats ``X-Correlation-ID``.

    Args:
        name: the endpoint's, for the error.
        sent: the headers of the request.
        answered: the headers of the answer, by lower-case name.

    Raises:
        ServerError: the answer has another correlation id, or none.
    """
    if answered.get("x-correlation-id") != sent.get("X-Correlation-ID"):
        raise ServerError(
            f"{name}: the answer does not repeat the X-Correlation-ID of this request, so it may belong to another. "
            "A proxy before the server may answer from a cache, confuse answers, or remove the header. Repair the proxy."
        )


def encoded(endpoint: Endpoint, body: Any) -> bytes | None:
    """A body as JSON, checked against the endpoint's type before anything is sent.

    Raises:
        ValidationError: it does not fit the type; the message says where.
    """
    if body is None:
        return None
    try:
        raw = msgspec.json.encode(body)
        if endpoint.body is not None:
            msgspec.json.decode(raw, type=endpoint.body)
        if (
            b"null" in raw
        ):  # which is what msgspec makes of NaN: policies would judge another value than the caller's
            json.dumps(msgspec.to_builtins(body, str_keys=True), allow_nan=False)
    except msgspec.ValidationError as error:
        raise ValidationError(f"{endpoint.name} was not sent: {error}.") from None
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValidationError(
            f"{endpoint.name} was not sent: its data is not JSON ({type(error).__name__}: {error}). Pass plain data: "
            "text, finite numbers, booleans, None, lists, and dicts with text keys."
        ) from None
    return raw


def address(endpoint: Endpoint, parameters: Mapping[str, Any], query: Mapping[str, Any]) -> str:
    """The path and the query of a request.

    Raises:
        ValidationError: a parameter is not an identifier. An empty one would lead to another endpoint.
    """
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise ValidationError(
                f"{endpoint.name} was not sent: {name} must be a non-empty string or a number."
            )
    asked = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
    try:
        return endpoint.url(**parameters) + (f"?{urlencode(asked)}" if asked else "")
    except UnicodeEncodeError:
        raise ValidationError(
            f"{endpoint.name} was not sent: a value of its query is not valid text."
        ) from None


def run(flow: Exchange[R], transport: Sender, sleep: Callable[[float], None] = time.sleep) -> R:
    """Perform an exchange, blocking."""

    def perform(effect: Send | Pause) -> Answer | None:
        if not isinstance(effect, Pause):
            return _send(transport, effect)
        _say(effect)
        sleep(effect.seconds)
        return None

    return drive(flow, perform)


async def arun(flow: Exchange[R], transport: Sender, pool: Executor) -> R:
    """Perform an exchange on the running event loop: sends in a thread of ``pool``, pauses in none.

    A cancelled call ends at once. The request that its thread is sending ends by its own time-out.
    """
    import asyncio  # blocking callers need not load it

    loop = asyncio.get_running_loop()

    async def perform(effect: Send | Pause) -> Answer | None:
        if not isinstance(effect, Pause):
            return await loop.run_in_executor(pool, _send, transport, effect)
        _say(effect)
        await asyncio.sleep(effect.seconds)
        return None

    return await adrive(flow, perform)


def _say(pause: Pause) -> None:
    """Log a long pause with its reason."""
    if pause.why and pause.seconds >= SAID_FROM:
        _log.warning("%s", pause.why)


def _send(transport: Sender, effect: Send) -> Answer:
    return transport.send(
        effect.method, effect.path, body=effect.body, headers=effect.headers, timeout=effect.timeout
    )
