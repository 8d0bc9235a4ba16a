"""A submission as a generator of effects: check the kill switch, then submit one action, with retries.

Rules (promises 1 and 4):

1. Nothing is submitted unless the kill switch is known to be off: from the pushed stream while it is live, which needs no
   request, else from the server. If its state cannot be known, it counts as on (REST API document, "Fail-Closed
   Reference Implementations").
2. Every attempt of one submission has the same idempotency key and the same body, so it is one action.
3. It is retried after 429, 500, 502, 503 and 504 (SDK document, "Retry Behavior"). If a server asks to wait, the client
   waits that long if it ends before the caller's deadline; otherwise the error contains the wait.
"""

from __future__ import annotations

import math
import re
import uuid

from ascend_guard.api.table import BY_NAME
from ascend_guard.calling.scope import require_text
from ascend_guard.client.http.exchange import DOCUMENTED, Exchange, Pause, encoded
from ascend_guard.client.http.failures import readable
from ascend_guard.client.http.identity import Identity
from ascend_guard.errors import (
    KillSwitchError,
    NetworkError,
    RateLimitError,
    TimeoutError,
    ValidationError,
)
from ascend_guard.kill_switch import block_unknown, is_off
from ascend_guard.model import MAX_ORCHESTRATION_DEPTH, ActionResult, KillSwitchState

from .asking import Data, ask, decided, kill_switch_asked

EXPLAINED = (NetworkError, TimeoutError, RateLimitError)
"""The name that the SDK document catches ("Production Error Handling")."""

_KEY = re.compile(r"[!-~]{1,255}")


def submit(
    api: Identity, endpoint: str, body: Data, agent_id: str, idempotency_key: str | None, until: float
) -> Exchange[ActionResult]:
    """Submit an action for a decision.

    Args:
        api: the client's identity.
        endpoint: ``submit_action`` or ``submit_mcp_action``.
        body: the action's fields.
        agent_id: the agent whose kill switch counts.
        idempotency_key: the key of every attempt; None for a new one.
        until: the time of the identity's clock by which pauses must end.

    Raises:
        KillSwitchError: the kill switch is on, or its state is unknown.
        ValidationError: the action cannot be judged.
        AscendError: as raised by ``exchange``; the action must not run.
    """
    for name in ("agent_id", "agent_name", "action_type", "resource"):
        require_text(name, body.get(name))
    depth = body.get("orchestration_depth")
    if depth is not None and not (type(depth) is int and 0 <= depth <= MAX_ORCHESTRATION_DEPTH):
        raise ValidationError(f"orchestration_depth must be a number from 0 to {MAX_ORCHESTRATION_DEPTH}.")
    key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValidationError(
            "idempotency_key must be text of 1 to 255 printable ASCII characters without spaces."
        )
    encoded(BY_NAME[endpoint], body)  # a body that cannot be encoded is refused before any request
    state = api.pushed(agent_id)
    if state is not None:
        _require_off(api, state)
    else:
        yield from _asked_until(api, agent_id, until)
        api.follow()
    answer = yield from ask(api, endpoint, body=body, key=key, until=until)
    return decided(answer)


def _asked_until(api: Identity, agent_id: str, until: float) -> Exchange[None]:
    """Request the state of the kill switch. If the server has had too many requests, wait as long as it says, then
    repeat."""
    for attempts_left in reversed(range(DOCUMENTED.attempts)):
        try:
            return (yield from require_running(api, agent_id))
        except RateLimitError as error:
            pause = error.retry_after
            if pause is None:
                pause = DOCUMENTED.pause(DOCUMENTED.attempts - attempts_left - 1, 0.0)
            if not attempts_left or pause >= until - api.clock():
                raise
            yield Pause(pause)


def require_running(api: Identity, agent_id: str | None, end: float = math.inf) -> Exchange[None]:
    """Continue only when the server says that the kill switch is off.

    Raises:
        KillSwitchError: it is on, or its state is unknown.
        NetworkError, TimeoutError, RateLimitError: no answer says that it is off; errors of ``kill_switch.EXPLAINED`` too.
    """
    try:
        state = yield from kill_switch_asked(api, agent_id, end)
    except Exception as error:
        block_unknown(error, explained=EXPLAINED)
    _require_off(api, state)


def _require_off(api: Identity, state: KillSwitchState) -> None:
    if not is_off(state):
        whom = f"agent {state.agent_id!r}" if state.agent_id else "every agent"
        reason = readable(state.reason or "", api.secrets())
        raise KillSwitchError(
            f"Blocked: the kill switch is on for {whom}{f': {reason}' if reason else ''}. No action may run "
            f"until it is "
            "released.",
            reason=reason or "kill switch on",
        )
