"""What makes two calls the same call: which fields are compared, and which are not.

Decision record 28 has the table with the reason of each field. A test compares it with ``ACTION``, ``SUBMIT`` and
``VOLATILE``, and fails for a field that is in neither.

1. An approval or a denial is used again only for the same call (promise 2): every field that people see or policies can
   test is compared, unless the record says why it is not.
2. The order of keys does not matter when a call is recognised. What runs is bound to ``digest``, where it does matter.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from ascend_guard.flow import Submit

from .policy import Verdict

__all__ = ["ACTION", "SUBMIT", "VOLATILE", "approval_key", "call_key"]

Place = Literal["in", "out", "approval"]
"""``in``: compared. ``out``: not compared. ``approval``: compared only when an approval, or a pending action, is
resumed."""

ACTION: Final[dict[str, Place]] = {
    "agent_id": "in",
    "agent_name": "out",
    "action_type": "in",
    "resource": "in",
    "tool_name": "in",
    "resource_id": "in",
    "action_details": "out",
    "context": "in",
    "risk_indicators": "in",
    "model_id": "in",
    "mcp_server_name": "in",
    "session_id": "in",
    "orchestration_session_id": "out",
    "parent_action_id": "out",
    "orchestration_depth": "out",
    "excluded": "out",
    "vouched_decorators": "in",
}
"""Every field of ``AgentAction``. Its details are compared by the digest of the arguments, which is unredacted and
typed."""

SUBMIT: Final[dict[str, Place]] = {
    "action": "in",
    "identity": "in",
    "digest": "approval",
    "call_id": "approval",
    "detached": "out",
    "repeatable": "out",
    "once": "out",
}
"""Every field of ``Submit``."""

VOLATILE: Final = frozenset(
    {
        *("traceid", "spanid", "parentspanid", "traceflags", "traceparent", "tracestate", "b3"),
        *("xamzntraceid", "xcloudtracecontext", "requestid", "xrequestid", "correlationid", "xcorrelationid"),
        *("runid", "parentrunid", "invocationid", "timestamp", "currenttime", "requesttime"),
    }
)
"""Keys whose values change from one call to the next, in lower case without ``-``, ``_`` and ``.``. They are not
compared in a context, at any depth."""

_COMPARED = tuple(name for name, place in ACTION.items() if place == "in" and name != "context")
_SEPARATORS = str.maketrans("", "", "-_.")
_encode = msgspec.json.Encoder(order="deterministic").encode


def call_key(effect: Submit) -> str:
    """Return a key that is equal for the same call, and for no other."""
    action = effect.action
    same = [getattr(action, name) for name in _COMPARED]
    return _hashed([*same, _lasting(action.context), _identity(effect)])


def approval_key(effect: Submit, verdict: Verdict) -> str:
    """Return a key that is equal for the same call under the same requirement, with the same order of keys and the same
    call name. An approval may be used for such calls only."""
    return _hashed(
        [
            call_key(effect),
            effect.digest,
            effect.call_id,
            verdict.rules,
            verdict.requirements,
            verdict.quorum,
        ]
    )


def _identity(effect: Submit) -> str:
    """The digest that identifies the arguments, in any order of their keys."""
    return effect.identity


def _lasting(value: Any) -> Any:
    """A context without the keys that change from call to call."""
    if isinstance(value, dict):
        return {
            name: _lasting(item)
            for name, item in value.items()
            if name.translate(_SEPARATORS).lower() not in VOLATILE
        }
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    return value


def _hashed(parts: list[Any]) -> str:
    return hashlib.sha256(_encode(parts)).hexdigest()
