"""What every operation is made of: one endpoint asked under a client's identity, and an answer of plain data."""

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
"""An answer as the server gave it."""

KEYED = frozenset({"submit_action", "submit_mcp_action", "claim_action"})
"""Endpoints that know a request that is sent again by its ``Idempotency-Key``."""

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
) -> Exchange[Answer]:
    """Ask an endpoint of the table by its name.

    Args:
        api: who asks.
        name: the endpoint's.
        body: of its type, or a mapping for it.
        parameters: of its path.
        query: of its address; what is None is left out.
        token: a person's, sent instead of the API key.
        key: makes a resent request the same one; a new one where the endpoint takes one and none is given.
        retry: what is sent again.
        deadline: a moment of the identity's clock.
        until: another, by which pauses end; the identity's own when left out.
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
    """Ask an endpoint whose answer is handed on as it is; ``parameters`` are those of its path."""
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
    """Ask any endpoint of the API by its operation id, as ``/openapi.json`` names it, for those without a method.

    Args:
        endpoint: such as ``cascade_kill``.
        body: a mapping of its fields.
        query: of its address.
        token: a person's, sent instead of the API key.
        **parameters: of its path.

    Raises:
        ValidationError: there is no such endpoint, or the body does not fit it.
        AscendError: see ``ascend_guard.exceptions``.
    """
    if endpoint not in BY_NAME:
        raise ValidationError(f"There is no endpoint {endpoint!r}. /openapi.json names them (operationId).")
    return (yield from told(api, endpoint, body=body, query=query, token=token, **parameters))


def decided(answer: Answer, asked: str | None = None) -> ActionResult:
    """The decision in an answer. Only 200 carries one (REST API document, "Complete Example").

    Raises:
        ServerError: there is none in it.
    """
    if answer.status != 200:
        raise ServerError(f"The control plane answered {answer.status} where only 200 carries a decision.")
    return decision_of(answer.body, asked)


def kill_switch_asked(
    api: Identity, agent_id: str | None, end: float = math.inf
) -> Exchange[KillSwitchState]:
    """How the server says that the kill switch stands. Any answer but a plain one is an error, and counts as on.

    Args:
        api: who asks.
        agent_id: whose switch counts; None for the organization's.
        end: a moment of the identity's clock by which this ends, if that is before ``ANSWER_SECONDS`` have passed.
    """
    deadline = min(end, api.clock() + ANSWER_SECONDS)
    query = {"agent_id": agent_id}
    answer = yield from ask(api, "get_kill_switch", query=query, retry=LOST_CONNECTION, deadline=deadline)
    if answer.status != 200:
        raise ServerError(f"The control plane answered {answer.status} where 200 was expected.")
    return kill_switch_of(answer.body)


def present(**fields: Any) -> Data:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def plain(name: str, value: Mapping[str, Any] | None) -> Data | None:
    """A mapping of any kind as JSON has it.

    Raises:
        ValidationError: it is none.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} must be a mapping of names to plain data, not {type(value).__name__}.")
    return dict(value)


def require_seconds(name: str, value: object, *, least: float = 0.0, scale: float = 1.0) -> float:
    """A length of time that a clock can measure.

    Args:
        name: for the message.
        value: what the caller gave.
        least: it must be more than this, or as much if this is 0.
        scale: how many of its units a second has.

    Raises:
        ValidationError: it is none.
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
