"""A submission, as a generator of effects: the kill switch first, then one action however often it is sent.

Rules (promises 1 and 4):

1. Nothing is submitted unless the kill switch is known to be off: from the pushed stream while it is live, which costs no
   request, else from the server. Whatever keeps its state from being known counts as on (REST API document, "Fail-Closed
   Reference Implementations").
2. Every attempt of one submission carries the same idempotency key and the same body, so it is one action.
3. It is sent again after 429, 500, 502, 503 and 504 (SDK document, "Retry Behavior"). A server that has had too many
   requests is asked again after as long as it says, if that ends before the caller's deadline; else the error says how long.
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
"""What the SDK document catches by its own name ("Production Error Handling")."""

_KEY = re.compile(r"[!-~]{1,255}")


def submit(
    api: Identity, endpoint: str, body: Data, agent_id: str, idempotency_key: str | None, until: float
) -> Exchange[ActionResult]:
    """Have an action decided.

    Args:
        api: who asks.
        endpoint: ``submit_action`` or ``submit_mcp_action``.
        body: the action's fields.
        agent_id: whose kill switch counts.
        idempotency_key: of every attempt; a new one when None.
        until: a moment of the identity's clock by which pauses end.

    Raises:
        KillSwitchError: the kill switch is on, or its state cannot be known.
        ValidationError: the action cannot be judged.
        AscendError: as ``exchange`` raises it; then nothing may run.
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
    encoded(BY_NAME[endpoint], body)  # what cannot be sent is refused before anything is
    state = api.pushed(agent_id)
    if state is not None:
        _require_off(api, state)
    else:
        yield from _asked_until(api, agent_id, until)
        api.follow()
    answer = yield from ask(api, endpoint, body=body, key=key, until=until)
    return decided(answer)


def _asked_until(api: Identity, agent_id: str, until: float) -> Exchange[None]:
    """Ask for the kill switch; where the server has had too many requests, as soon as it says."""
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
    """Go on only when the server says that the kill switch is off.

    Raises:
        KillSwitchError: it is on, or its state cannot be known.
        NetworkError, TimeoutError, RateLimitError: nobody said that it is off; so do those of ``kill_switch.EXPLAINED``.
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
            f"Blocked: the kill switch is on for {whom}{f': {reason}' if reason else ''}. Nothing may run until it is "
            "released.",
            reason=reason or "kill switch on",
        )
