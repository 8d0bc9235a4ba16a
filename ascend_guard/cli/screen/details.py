"""Everything about one action, for a command or a screen that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ascend_guard.cli.context import Run

    from .lookup import Details


def details_of(run: Run, action_id: str) -> Details:
    """Everything about an action.

    Raises:
        NotFoundError: there is none.
    """
    from .lookup import look_up  # loads the engine

    plane = run.existing()
    return plane.read(lambda reader: look_up(reader, plane.organization, action_id, plane.store.alive))
