"""Protocol 2026-07-28's further rounds, used for a person who takes longer than one request may.

The server answers ``InputRequiredResult`` with a state and no question; the client then calls again automatically. The
waiting action is found by the call's own tool and arguments: the state only counts the rounds, and stores the fields of
the tool's own rounds.
"""

from __future__ import annotations

import json

from ascend_guard.calling.refusals import is_pending
from ascend_guard.calling.scope import current
from ascend_guard.errors import AscendError

_OURS = "ascend-guard:"

ROUNDS = 8
"""The most rounds of a call; official clients raise an exception after ten, including the tool's own rounds."""

MODERN = "2026-07-28"


class Round:
    """The number of a round, and the fields that the tool would have received without us.

    Args:
        fields: ``requestState`` and ``inputResponses`` as plain data, as sent by the client.
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
                self.number = ROUNDS  # not our state: this round is the last

    def another(self, error: AscendError, protocol: object) -> str | None:
        """Return the state for one more round; None if the answer must be that the call is pending."""
        modern = isinstance(protocol, str) and protocol >= MODERN
        # Inside another governed call a new round would request a decision on that call again, too.
        if not modern or self.number >= ROUNDS or not is_pending(error) or current() is not None:
            return None
        return _OURS + json.dumps({**self.fields, "round": self.number + 1})
