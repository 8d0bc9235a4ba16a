"""All data of one action, for a command or a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ascend_guard.cli.context import Run

    from .lookup import Details


def details_of(run: Run, action_id: str) -> Details:
    """Return all data of an action.

    Raises:
        NotFoundError: the action does not exist.
    """
    from .lookup import look_up  # loads the engine

    plane = run.existing()
    return plane.read(lambda reader: look_up(reader, plane.organization, action_id, plane.store.alive))
