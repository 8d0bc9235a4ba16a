"""Actions for lists, read page by page as needed, each with its important arguments.

Each page is read separately, so no lock and no snapshot is held while a person turns pages. A page continues after the last
action of the page before: no action is listed twice, and none that existed at the beginning is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ascend_guard.store.port import ActionRow, Reader

from .essentials import Essentials, Line, differing
from .lookup import OUTCOMES, Listed, decision_of, listed, outcome_of

if TYPE_CHECKING:
    from ascend_guard.engine.control_plane import EmbeddedControlPlane

_FIRST, _LARGEST = 100, 500


def walk(
    plane: EmbeddedControlPlane,
    *,
    status: str | None = None,
    agent_id: str | None = None,
    session_id: str | None = None,
    limit: int,
    offset: int = 0,
) -> Iterator[list[Listed]]:
    """Yield actions newest first, page by page.

    Args:
        plane: the control plane.
        status: a decision or an outcome.
        agent_id: only this agent's actions.
        session_id: only this session's actions.
        limit: the most actions.
        offset: how many of the newest to skip.
    """
    by_outcome = status in OUTCOMES
    before: int | None = None
    size = _FIRST

    def page(reader: Reader) -> tuple[list[Listed], int | None, int]:
        rows = reader.actions(
            plane.organization,
            status=decision_of(status),
            agent_id=agent_id,
            session_id=session_id,
            before=before,
            limit=size,
            offset=0 if by_outcome else offset,
        )
        last = rows[-1].id if len(rows) == size else None
        if by_outcome:
            rows = [row for row in rows if outcome_of(reader, row) == status]
        skipped = min(offset, len(rows)) if by_outcome else offset
        wanted = rows[skipped:] if by_outcome else rows
        return [listed(reader, row) for row in wanted[:limit]], last, skipped

    while True:
        found, before, skipped = plane.read(page)
        limit -= len(found)
        offset -= skipped
        if found:
            yield found
        if before is None or limit <= 0:
            return
        size = _LARGEST


def with_lines(page: Iterable[Listed]) -> Iterator[tuple[Listed, Line]]:
    """Each action of a page with its arguments on a line; values that differ within its session are highlighted."""
    page = list(page)
    together: dict[tuple[str | None, str, str, str], list[Essentials]] = {}
    for one in page:
        if one.arguments is not None:
            together.setdefault(_same_kind(one.row), []).append(one.arguments)
    differs = {kind: differing(calls) for kind, calls in together.items()}
    for one in page:
        yield one, Line(one.arguments, differs.get(_same_kind(one.row), frozenset()))


def _same_kind(row: ActionRow) -> tuple[str | None, str, str, str]:
    return row.session_id, row.agent_id, row.action_type, row.tool_name
