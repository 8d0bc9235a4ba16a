"""A control plane whose kill switch goes on between a call's permit and its body: the one moment the last check is for."""

from __future__ import annotations

from typing import Any

from ascend_guard import EmbeddedControlPlane
from ascend_guard.flow import Begin, Effect

COMMANDS = ("ascend-guard", "approvals approve", "approvals deny", "kill-switch off", "kill_switch off")
"""What no text that a model reads may have in it."""


class StoppedAtTheLastMoment:
    """The same control plane; somebody kills everything as soon as a call makes its last check.

    Attributes:
        checks: how many last checks there were.
    """

    def __init__(self, plane: EmbeddedControlPlane) -> None:
        self._plane = plane
        self.agent_id = plane.agent_id
        self.agent_name = plane.agent_name
        self.digest_key = plane.digest_key
        self.checks = 0

    def perform(self, effect: Effect[Any]) -> Any:
        self._meddle(effect)
        return self._plane.perform(effect)

    async def aperform(self, effect: Effect[Any]) -> Any:
        self._meddle(effect)
        return await self._plane.aperform(effect)

    def _meddle(self, effect: Effect[Any]) -> None:
        if isinstance(effect, Begin):
            self.checks += 1
            self._plane.kill(reason="An exercise.", by="ann")


def names_no_command(text: str) -> bool:
    """Whether a model may read this."""
    return not any(command in text for command in COMMANDS)
