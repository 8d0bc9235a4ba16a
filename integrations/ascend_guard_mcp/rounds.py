"""Protocol 2026-07-28's way of asking for more, used for a person who takes longer than one request may.

The server answers ``InputRequiredResult`` with a state and no question; the client calls again by itself. What is waited
for is found by the call's own tool and arguments: the state only counts, and keeps what the tool's own rounds sent along.
"""

from __future__ import annotations

import json

from ascend_guard.calling.refusals import is_pending
from ascend_guard.calling.scope import current
from ascend_guard.errors import AscendError

_OURS = "ascend-guard:"

ROUNDS = 8
"""How often a call may be sent round; official clients give up, with an exception, after ten, the tool's own included."""

MODERN = "2026-07-28"


class Round:
    """How far a call has come, and what the tool would have seen without us.

    Args:
        fields: ``requestState`` and ``inputResponses`` as plain data, as the client sent them.
    """

    def __init__(self, fields: dict[str, object]) -> None:
        self.number, self.fields = 0, fields
        state = fields.get("requestState")
        self.ours = isinstance(state, str) and state.startswith(_OURS)
        if isinstance(state, str) and self.ours:
            self.fields = {}
            try:
                said = json.loads(state.removeprefix(_OURS))
                number = said["round"]
                if not isinstance(number, int):
                    raise TypeError("a round has a number")
                self.fields = {key: said[key] for key in ("requestState", "inputResponses") if key in said}
                self.number = max(0, number)
            except (ValueError, TypeError, KeyError, RecursionError):
                self.number = ROUNDS  # nothing of ours: this round is the last

    def another(self, error: AscendError, protocol: object) -> str | None:
        """The state for one more round; None where the client must be told that the call is pending instead."""
        modern = isinstance(protocol, str) and protocol >= MODERN
        # Inside another governed call a new round would ask about that one again as well.
        if not modern or self.number >= ROUNDS or not is_pending(error) or current() is not None:
            return None
        return _OURS + json.dumps({**self.fields, "round": self.number + 1})
