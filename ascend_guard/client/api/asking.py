"""The base of every operation: send one request to an endpoint under a client's identity, and return plain data."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ascend_guard.api.table import BY_NAME
from ascend_guard.client.http.exchange import DOCUMENTED, LOST_CONNECTION, Exchange, Retry, encoded, exchange
from ascend_guard.client.http.identity import Identity
from ascend_guard.client.http.tracing import trace_headers
from ascend_guard.client.http.transport import Answer
from ascend_guard.errors import ServerError, ValidationError
from ascend_guard.kill_switch import ANSWER_SECONDS
from ascend_guard.model import ActionResult, KillSwitchState

from .answers import decision_of, kill_switch_of, mapping_of

Data = dict[str, Any]
"""The JSON value of an answer, as the server sent it."""

KEYED = frozenset({"submit_action", "submit_mcp_action", "claim_action"})
"""Endpoints that recognise a resent request by its ``Idempotency-Key``."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def ask(
    api: Identity,
    name: str,
    *,
    body: Any = None,
    parameters: Mapping[str, Any] = _NOTHING,
    query: Mapping[str, Any] = _NOTHING,
    token: str | None = None,
    key: str | None = None,
    retry: Retry = DOCUMENTED,
    deadline: float | None = None,
    until: float | None = None,
    echoed: bool = False,
) -> Exchange[Answer]:
    """Send a request to an endpoint of the table, by its name.

    Args:
        api: the client's identity.
        name: the endpoint's name.
        body: of the endpoint's type, or a mapping that converts to it.
        parameters: the path parameters.
        query: the query parameters; those that are None are left out.
        token: a person's token, sent instead of the API key.
        key: the idempotency key; where the endpoint accepts one and none is given, a new one.
        retry: which failures are retried.
        deadline: a time of the identity's clock.
        until: the time by which pauses must end; by default the identity's own.
        echoed: as in ``exchange``.
    """
    endpoint = BY_NAME[name]
    raw = encoded(endpoint, body)
    headers = api.call_headers(raw, token) | trace_headers()
    if key is None and name in KEYED:
        key = uuid.uuid4().hex
    if key is not None:
        headers["Idempotency-Key"] = key
    return (
        yield from exchange(
            endpoint,
            parameters=parameters,
            body=raw,
            query=query,
            headers=headers,
            retry=retry,
            deadline=deadline,
            until=api.clock() + api.retry_for if until is None else until,
            timeout=api.timeout,
            echoed=echoed,
            clock=api.clock,
        )
    )


def told(
    api: Identity,
    name: str,
    *,
    body: Any = None,
    query: Mapping[str, Any] = _NOTHING,
    token: str | None = None,
    **parameters: Any,
) -> Exchange[Data]:
    """Send a request and return the answer unchanged; ``parameters`` are the path parameters."""
    answer = yield from ask(api, name, body=body, parameters=parameters, query=query, token=token)
    return mapping_of(answer.body)


def call(
    api: Identity,
    /,
    endpoint: str,
    *,
    body: Any = None,
    query: Mapping[str, Any] = _NOTHING,
    token: str | None = None,
    **parameters: Any,
) -> Exchange[Data]:
    """Call any endpoint by its operation id in ``/openapi.json``. For endpoints without a method of their own.

    Args:
        endpoint: such as ``cascade_kill``.
        body: a mapping of its fields.
        query: the query parameters.
        token: a person's token, sent instead of the API key.
        **parameters: the path parameters.

    Raises:
        ValidationError: there is no such endpoint, or the body does not fit it.
        AscendError: see ``ascend_guard.exceptions``.
    """
    if endpoint not in BY_NAME:
        raise ValidationError(f"There is no endpoint {endpoint!r}. /openapi.json lists them (operationId).")
    return (yield from told(api, endpoint, body=body, query=query, token=token, **parameters))


def decided(answer: Answer, asked: str | None = None) -> ActionResult:
    """Return the decision in an answer. Only status 200 carries one (REST API document, "Complete Example").

    Raises:
        ServerError: the answer has no decision.
    """
    if answer.status != 200:
        raise ServerError(f"The control plane answered {answer.status} but only 200 carries a decision.")
    return decision_of(answer.body, asked)


def kill_switch_asked(
    api: Identity, agent_id: str | None, end: float = math.inf, *, echoed: bool = False
) -> Exchange[KillSwitchState]:
    """Return the state of the kill switch from the server. Any unclear answer is an error, and counts as on.

    Args:
        api: the client's identity.
        agent_id: the agent whose switch counts; None for the organization's.
        end: a time of the identity's clock at which to give up, if it is before ``ANSWER_SECONDS`` have passed.
    """
    deadline = min(end, api.clock() + ANSWER_SECONDS)
    query = {"agent_id": agent_id}
    answer = yield from ask(
        api, "get_kill_switch", query=query, retry=LOST_CONNECTION, deadline=deadline, echoed=echoed
    )
    if answer.status != 200:
        raise ServerError(f"The control plane answered {answer.status} but 200 was expected.")
    return kill_switch_of(answer.body)


def present(**fields: Any) -> Data:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def plain(name: str, value: Mapping[str, Any] | None) -> Data | None:
    """Return a mapping of any kind as plain JSON data.

    Raises:
        ValidationError: the value is not a mapping.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} must be a mapping of names to plain data, not {type(value).__name__}.")
    return dict(value)


def require_seconds(name: str, value: object, *, least: float = 0.0, scale: float = 1.0) -> float:
    """Return a length of time in seconds, checked.

    Args:
        name: for the message.
        value: the caller's value.
        least: the value must be greater; 0 itself is allowed when this is 0.
        scale: how many of the value's units are one second.

    Raises:
        ValidationError: the value is not such a number.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not least <= value / scale <= _LONGEST
    ):
        raise ValidationError(f"{name} must be a number from {least * scale:g} to {_LONGEST * scale:g}.")
    return value / scale


_LONGEST = 366 * 86_400.0
