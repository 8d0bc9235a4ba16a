"""Review pending actions one after the other, the longest waiting first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ascend_guard.cli.context import approver
from ascend_guard.cli.output import shown

from .decision import LEFT, Decision
from .terminal import Terminal, require_keyboard

if TYPE_CHECKING:
    from ascend_guard.cli.context import Run
    from ascend_guard.store.port import ActionRow, Reader

_MOST = 1_000


def longest_waiting(reader: Reader, organization: str, most: int = _MOST) -> list[ActionRow]:
    """Return the pending actions, the longest waiting first, because they expire next.

    Args:
        reader: the store.
        organization: the organization of the actions.
        most: the most actions to return.
    """
    total = reader.count_actions(organization, status="pending")
    rows = reader.actions(organization, status="pending", limit=most, offset=max(0, total - most))
    return rows[::-1]


def review(run: Run) -> None:
    """Let a person decide the pending actions one after the other, until none is left or the person leaves.

    Raises:
        Refusal: there is no terminal.
        StoreError: the database cannot be read.
    """
    require_keyboard(
        run,
        "List pending actions with `ascend-guard approvals list`, and decide by id: `ascend-guard approvals "
        "approve ID --yes`.",
    )
    run.existing()
    said: list[str] = []
    looked_at: set[int] = set()
    who = approver()
    if not _left(run, looked_at):
        run.say("No action waits for a decision.")
        return
    try:
        with Terminal(run.out) as terminal:
            while rows := _left(run, looked_at):
                row = rows[0]
                title = _title(f"Review as {who}", f"{len(rows)} to look at", run.database())
                if said:
                    title = Text.assemble(shown(said[-1], "bold", table=True), "  ", title)
                how, sentence = Decision(run, terminal, row.id, who, title).made()
                if sentence:
                    said.append(sentence)
                if how == LEFT:
                    break
                looked_at.add(row.id)
    except KeyboardInterrupt:  # a way to leave
        pass
    finally:  # also if the database cannot be read any more: decisions that were made are made
        for sentence in said:
            run.say(shown(sentence))
    _report(run)


def _left(run: Run, looked_at: set[int]) -> list[ActionRow]:
    plane = run.plane()
    most = _MOST + len(looked_at)
    rows = plane.read(lambda reader: longest_waiting(reader, plane.organization, most))
    return [row for row in rows if row.id not in looked_at]


def _title(*parts: str) -> Text:
    return Text(" · ", "dim").join(shown(part, "dim", table=True) for part in parts)


def _report(run: Run) -> None:
    plane = run.plane()
    run.named()
    left = plane.read(lambda reader: reader.count_actions(plane.organization, status="pending"))
    count = f"{left:,} actions wait" if left != 1 else "1 action waits"
    run.say(shown(f"{count} for a decision in {run.database()}."))
