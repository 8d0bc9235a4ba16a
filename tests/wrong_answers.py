"""Answers of a faulty control plane: each is wrong in one field, plausibly. None of them may let a call run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec

from ascend_guard.model import ActionResult, Decision, KillSwitchState


def wrong_answers(reply: Any, other: ActionResult | None = None) -> list[tuple[str, Any]]:
    """Wrong answers in place of this one, each with its name.

    Args:
        reply: the right answer.
        other: the answer to another call, to be mistaken for it.
    """
    if isinstance(reply, ActionResult):
        return list(_results(reply, other))
    if isinstance(reply, KillSwitchState):
        return list(_states(reply))
    return []


def _results(reply: ActionResult, other: ActionResult | None) -> Iterator[tuple[str, Any]]:
    edits: tuple[Any, ...] = ()
    if reply.status is Decision.APPROVED:  # those of a call that still waits are not used
        edits = ({"amount": 1}, {"amount": 1, "target": "b"}, {"no such argument": 1})
        edits += (None,) if reply.modified_arguments and not reply.claimed else ()
    values: dict[str, tuple[Any, ...]] = {
        "action_id": (
            None,
            "",
            "0",
            "999999",
            f"{reply.action_id} ",
            f"-{reply.action_id}",
            "one",
            int(reply.action_id),
        ),
        "status": (*Decision, *(str(word) for word in Decision), "APPROVED", None, True, 1),
        "claimed": (not reply.claimed, None, int(reply.claimed), str(reply.claimed).lower()),
        "modified_arguments": ([["amount", 1]], "amount", *edits),
        "risk_score": (None, "0", -1.0, 100.5, math.nan, True),
        "risk_level": (None, "low", "none", 1),
        "reason": (None, 1, ["reason"]),
        "policy_matched": (1, ["rule"], True),
        "timestamp": (None, 1_800_000_000.0),
        "metadata": (None, [], "{}"),
        "decided_by": (1, True, ["ann"]),
    }
    for field, wrongs in values.items():
        right = getattr(reply, field)
        for wrong in wrongs:
            if type(wrong) is not type(right) or wrong != right:
                yield f"{field}={wrong!r}", msgspec.structs.replace(reply, **{field: wrong})
    fields = {name: getattr(reply, name) for name in reply.__struct_fields__}
    yield "None", None
    yield "True", True
    yield "no ActionResult", SimpleNamespace(**fields)
    yield "a dict", fields
    yield "a kill switch", KillSwitchState(False)
    if other is not None:
        yield "another call's", other
        yield "another call's id", msgspec.structs.replace(reply, action_id=other.action_id)


def _states(reply: KillSwitchState) -> Iterator[tuple[str, Any]]:
    values: dict[str, tuple[Any, ...]] = {
        "blocked": (True, None, 0, "", "false", "no", (), [False]),
        "agent_id": ("someone-else", 0, ["agent"]),
        "reason": (0, ["reason"]),
        "activated_at": (0, ["now"]),
        "activated_by": (0, ["ann"]),
    }
    for field, wrongs in values.items():
        for wrong in wrongs:
            yield f"{field}={wrong!r}", msgspec.structs.replace(reply, **{field: wrong})
    yield "None", None
    yield "False", False
    yield (
        "no KillSwitchState",
        SimpleNamespace(**{name: getattr(reply, name) for name in reply.__struct_fields__}),
    )
    yield "a dict", {"blocked": False}
    yield "a decision", ActionResult("1", Decision.APPROVED, claimed=True)
