"""Actions as people see them: in a table, in full, and as a timeline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ascend_guard.engine.policy import Requirement
from ascend_guard.model import KillSwitchState
from ascend_guard.store.port import ActionRow

from .lookup import Details
from .output import ago, badge, cell, moment, risk, shown, span, table, timestamp
from .tree import Tree, unshown

_BRIEF = 600
_WIDE = 100
_NOW, _SOON = 120, 600


def state_of(row: ActionRow, outcome: str | None) -> str:
    """The one word that says how an action stands."""
    return row.status if row.status == "pending" or outcome is None else outcome


def call(action_type: str, tool_name: str) -> Text:
    """``refund by stripe``, for a table."""
    return Text.assemble(cell(action_type, "bold"), (" by ", "dim"), cell(tool_name))


def action_table(rows: Iterable[tuple[ActionRow, str | None]], width: int) -> Table:
    """Actions, one line each; their resources where the terminal is wide enough."""
    wide = width >= _WIDE
    listed = table()
    listed.add_column("ID", justify="right", no_wrap=True)
    listed.add_column("Status", no_wrap=True)
    listed.add_column("Call", no_wrap=True, ratio=4)
    if wide:
        listed.add_column("Resource", no_wrap=True, ratio=4)
    listed.add_column("Agent", no_wrap=True, ratio=3)
    listed.add_column("Risk", no_wrap=True, justify="right")
    listed.add_column("Asked", no_wrap=True, justify="right")
    for row, outcome in rows:
        listed.add_row(
            str(row.id),
            badge(state_of(row, outcome)),
            call(row.action_type, row.tool_name),
            *([cell(row.resource, "dim")] if wide else []),
            cell(row.agent_id),
            risk(row.risk_score, row.risk_level),
            Text(ago(row.created_at), "dim"),
        )
    return listed


def pending_table(rows: Iterable[tuple[ActionRow, int]], now: float) -> Table:
    """What waits, two lines each, with the approvals so far."""
    listed = table()
    listed.add_column("ID", justify="right", no_wrap=True)
    listed.add_column("What wants to run", no_wrap=True, ratio=5)
    listed.add_column("Agent, session", no_wrap=True, ratio=3)
    listed.add_column("Risk", no_wrap=True)
    listed.add_column("Asked, left", no_wrap=True)
    listed.add_column("Yes", no_wrap=True, justify="right")
    for row, approvals in rows:
        listed.add_row(
            Text(str(row.id), "bold"),
            Text("\n").join([call(row.action_type, row.tool_name), cell(row.resource, "dim")]),
            Text("\n").join([cell(row.agent_id), cell(row.session_id, "dim")]),
            Text("\n").join([badge(row.risk_level), Text(f"{row.risk_score:.0f}", "dim")]),
            Text("\n").join([Text(ago(row.created_at, now)), _deadline(row.expires_at, now, short=True)]),
            f"{approvals} of {row.quorum or 1}",
        )
    return listed


def _deadline(at: float | None, now: float, *, short: bool = False) -> Text:
    if at is None:
        return Text("no deadline", "dim")
    left = at - now
    if left <= 0:
        return Text("overdue: denied", "red")
    words = span(left).split()[: 2 if short and left >= _SOON else 4]
    return Text(f"{' '.join(words)} left", "bold red" if left < _NOW else "yellow" if left < _SOON else "dim")


def switch_banner(switches: Iterable[KillSwitchState]) -> Iterator[Text]:
    """One warning for each kill switch that is on."""
    for switch in switches:
        whom = ("every agent",) if switch.agent_id is None else ("agent ", cell(switch.agent_id))
        said: tuple[str | Text, ...] = (": ", cell(switch.reason))
        if (
            switch.activated_at is not None
        ):  # turned on by somebody, as opposed to a switch file that is damaged
            said = (*said, f" ({ago(timestamp(switch.activated_at))}, by ", cell(switch.activated_by), ")")
        yield Text.assemble(("■ Kill switch on for ", "bold red"), *whom, *said)


# --- one action -----------------------------------------------------------------------------------


def action_view(
    details: Details, *, edits: dict[str, Any] | None = None, brief: bool = False
) -> Iterator[RenderableType]:
    """What an approver needs to decide.

    Args:
        details: the action.
        edits: argument values about to be changed.
        brief: leave out the rest of what is very long, and say so.
    """
    row, asked = details.row, details.asked
    more = f"ascend-guard actions show {row.id}" if brief else None
    state = state_of(row, details.outcome)
    yield Rule(
        Text(f"Action {row.id} · ", "bold").append_text(badge(state)), style="bright_black", align="left"
    )
    yield from switch_banner([details.switch] if details.switch else [])
    yield Padding(_fields(details, more), (0, 0, 0, 1), expand=False)
    edits = details.edits | (edits or {})
    yield from _data("Arguments", asked.action_details, more, edits)
    yield from _data("Context", asked.context, more)
    yield from _data("Risk indicators", asked.risk_indicators, more)
    if details.earlier:
        yield Text("\n Earlier in this session", "bold")
        yield Padding(_earlier(details.earlier), (0, 0, 0, 1), expand=False)


def _fields(details: Details, brief: str | None) -> Table:
    row, asked = details.row, details.asked
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")

    def add(label: str, value: Text | str | None) -> None:
        if value is not None:
            grid.add_row(label, value if isinstance(value, Text) else _whole(value, brief))

    add(
        "Call",
        Text.assemble(_whole(row.action_type, brief, "bold"), " by ", _whole(row.tool_name, brief, "bold")),
    )
    add("Resource", row.resource)
    if details.edits and details.runs is None:
        add("", Text("described anew from the edited arguments when it runs", "yellow"))
    elif details.runs is not None and details.runs.resource != asked.resource:
        add("", Text.assemble(("submitted for ", "yellow"), _whole(asked.resource, brief)))
    add("Resource id", (details.runs or asked).resource_id)
    add("Agent", _named(row.agent_id, row.agent_name, brief))
    add("Session", row.session_id)
    add("MCP server", asked.mcp_server_name)
    add("Model", asked.model_id)
    if asked.parent_action_id is not None:
        add("Inside of", f"action {asked.parent_action_id}")
    if asked.excluded:
        add("Not judged", f"{', '.join(asked.excluded)} (excluded: passed to the tool, and not recorded)")
    if asked.vouched_decorators:
        add("Vouched for", f"{', '.join(asked.vouched_decorators)} (may change the arguments)")
    assessed = (details.runs and details.runs.risk) or details.submission.get("risk") or {}
    add("Risk", risk(row.risk_score, row.risk_level, bar=True).append_text(_because(assessed.get("factors"))))
    add("Rule", row.rule or Text("none; the policy's default", "italic"))
    add("Reason", row.reason)
    for error in details.submission.get("errors") or ():
        add("Policy error", shown(str(error), "red"))
    add("Asked", f"{moment(row.created_at)} ({ago(row.created_at)})")
    for line in _standing(details):
        add(*line)
    return grid


def _standing(details: Details) -> Iterator[tuple[str, Text]]:
    row = details.row
    if row.status == "pending":
        left = _deadline(row.expires_at, time.time())
        when = (
            Text()
            if row.expires_at is None
            else Text(moment(row.expires_at) + " (").append_text(left).append(")")
        )
        yield "Decide by", when or left
        so_far = Text(f"{len(details.approvals)} of {row.quorum or 1}")
        for requirement in msgspec.json.decode(row.requirements or "[]", type=list[Requirement]):
            if requirement.approvers:
                groups = Text(" or ").join(cell(group) for group in requirement.approvers)
                needs = (f"\n{requirement.quorum} of ", groups, " by the rule ", cell(requirement.rule))
                so_far.append_text(Text.assemble(*needs, (" (groups are not checked here)", "dim")))
        for given in details.approvals:
            so_far.append("\n").append_text(cell(given.approver, "bold")).append(f" {ago(given.at)}")
            so_far.append_text(Text(": ") + cell(given.comment) if given.comment else Text())
        yield "Approvals", so_far
        after = (
            "goes on as soon as this is decided"
            if details.awaited
            else "does not wait: it must be made again"
        )
        yield "The call", Text(after)
    elif row.decided_by:
        yield "Decided by", cell(row.decided_by)
    if row.status == "approved" and row.claimed_at is None and row.expires_at is not None:
        yield "Use by", Text(moment(row.expires_at))
    if details.outcome in ("completed", "failed", "handed_over") and row.duration is not None:
        yield "Took", Text(f"{row.duration:.3g} s")
    if row.error:
        yield "Error", shown(row.error, "red")


def _named(identifier: str, name: str, brief: str | None) -> Text:
    text = Text().append_text(_whole(identifier, brief, "bold"))
    return text if name == identifier else text.append("  (").append_text(_whole(name, brief)).append(")")


def _because(factors: Any) -> Text:
    if not isinstance(factors, list) or not factors:
        return Text()
    return Text("  ").append_text(Text(", ").join(shown(str(factor), "dim") for factor in factors))


def _whole(value: str, brief: str | None, style: str = "") -> Text:
    if brief is None or len(value) <= _BRIEF:
        return shown(value, style)
    return shown(value[:_BRIEF], style).append("\n").append_text(unshown(len(value) - _BRIEF, brief))


def _data(
    title: str, data: dict[str, Any], brief: str | None, edits: dict[str, Any] | None = None
) -> Iterator[RenderableType]:
    if data:
        yield Text(f"\n {title}", "bold")
        yield Padding(Tree(data, edits=edits, brief=brief), (0, 0, 0, 1), expand=False)
    elif title == "Arguments":
        yield Text("\n No arguments", "dim")


def _earlier(rows: list[ActionRow]) -> Table:
    grid = Table.grid(padding=(0, 2), expand=False)
    for column in range(5):
        grid.add_column(no_wrap=True, justify="right" if column == 0 else "left")
    for row in rows:
        grid.add_row(
            Text(str(row.id), "dim"),
            Text(ago(row.created_at), "dim"),
            call(row.action_type, row.tool_name),
            cell(row.resource, "dim"),
            badge(state_of(row, row.outcome or ("running" if row.claimed_at else None))),
        )
    return grid


# --- its story ------------------------------------------------------------------------------------

_EVENTS = {
    "submitted": "cyan",
    "approval": "green",
    "approved": "green",
    "denied": "red",
    "expired": "red",
    "reopened": "yellow",
    "repeated": "red",
    "denial_cleared": "yellow",
    "started": "cyan",
    "completed": "green",
    "failed": "red",
    "handed_over": "yellow",
    "unknown": "magenta",
    "blocked": "bold red",
}


def timeline(trail: list[dict[str, Any]]) -> RenderableType:
    """The audit records of one action, in order."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for entry in trail:
        event = str(entry.get("event"))
        said = Text.assemble(("by ", "dim"), shown(str(entry.get("actor")), table=True))
        for line in _said(entry):
            said.append("\n").append_text(line)
        at = timestamp(str(entry.get("timestamp")))
        grid.add_row(
            moment(at),
            cell(f"● {event}", _EVENTS.get(event, "")),
            said,
        )
    return Group(Text("\n Audit trail", "bold"), Padding(grid, (0, 0, 0, 1), expand=False))


def _said(entry: dict[str, Any]) -> Iterator[Text]:
    event = entry.get("event")
    if event == "submitted":
        by = (" (rule ", shown(str(entry["rule"])), ")") if entry.get("rule") else ()
        yield Text.assemble(badge(str(entry.get("decision"))), ": ", shown(str(entry.get("reason"))), *by)
    elif event in ("approval", "approved"):
        yield Text(f"{entry.get('approvals')} of {entry.get('quorum')} approvals")
    elif event == "blocked":
        stage, reason = shown(str(entry.get("stage"))), shown(str(entry.get("reason")))
        yield Text.assemble("by the kill switch, at ", stage, ": ", reason)
    elif entry.get("reason"):
        yield shown(str(entry["reason"]))
    if event in ("started", "reopened") and entry.get("resource"):
        what = "runs with" if event == "started" else "needs other approval for"
        yield Text.assemble((f"{what} the resource ", "yellow"), shown(str(entry["resource"])))
    elif entry.get("edits"):
        yield Text("earlier approvals were for other arguments, and no longer count", "yellow")
    for name, value in (entry.get("edits") or {}).items():
        new = shown(json.dumps(value, ensure_ascii=False), "bold")
        yield Text.assemble(shown(str(name), "bold yellow", table=True), (" edited to ", "yellow"), new)
    if entry.get("comment") and event != "denied":
        yield Text.assemble("“", shown(str(entry["comment"])), "”")
    if entry.get("error"):
        yield shown(str(entry["error"]), "red")
    if entry.get("detail"):
        yield shown(str(entry["detail"]))
    if entry.get("duration") is not None:
        yield Text(f"took {entry['duration']:.3g} s", "dim")
