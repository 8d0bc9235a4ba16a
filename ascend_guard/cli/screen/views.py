"""One action as people see it: in full, and as a timeline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ascend_guard.cli.output import ago, badge, cell, moment, risk, shown, timestamp
from ascend_guard.engine.policy import Requirement
from ascend_guard.model import KillSwitchState

from .action_lists import deadline, history_lines, state_of
from .argument_tree import Brief, Tree, fold, unshown
from .lookup import Details

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

    from .lookup import Listed

_BRIEF = 600


def switch_banner(switches: Iterable[KillSwitchState]) -> Iterator[Text]:
    """One warning for each kill switch that is on."""
    for switch in switches:
        whom = ("every agent",) if switch.agent_id is None else ("agent ", cell(switch.agent_id))
        said: tuple[str | Text, ...] = (": ", cell(switch.reason))
        if switch.activated_at is not None:  # turned on by a person, as opposed to a damaged switch file
            said = (*said, f" ({ago(timestamp(switch.activated_at))}, by ", cell(switch.activated_by), ")")
        yield Text.assemble(("■ Kill switch on for ", "bold red"), *whom, *said)


# --- one action -----------------------------------------------------------------------------------


def action_view(
    details: Details, *, edits: dict[str, Any] | None = None, brief: Brief | None = None
) -> Iterator[RenderableType]:
    """The view with which an approver decides.

    Args:
        details: the action.
        edits: argument values that are about to be changed.
        brief: shorten long values, with a note; ``hidden`` says whether anything was left out.
    """
    row, asked = details.row, details.asked
    state = state_of(row, details.outcome)
    yield Rule(
        Text(f"Action {row.id} · ", "bold").append_text(badge(state)), style="bright_black", align="left"
    )
    yield from switch_banner([details.switch] if details.switch else [])
    yield Padding(_fields(details, brief), (0, 0, 0, 1), expand=False)
    edits = details.edits | (edits or {})
    yield from _data("Arguments", asked.action_details, brief, edits)
    yield from _data("Context", asked.context, brief)
    yield from _data("Risk indicators", asked.risk_indicators, brief)
    for title, calls in (
        ("Later in this session", details.later),
        ("Earlier in this session", details.earlier),
        (
            "By this agent, in other sessions" if details.row.session_id else "By this agent",
            details.elsewhere,
        ),
    ):
        if calls:
            yield Text(f"\n {title}", "bold")
            yield Padding(_History(calls), (0, 0, 0, 1))


def _fields(details: Details, brief: Brief | None) -> Table:
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
        add("", Text("described again from the edited arguments when it runs", "yellow"))
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
        left = deadline(row.expires_at, time.time())
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
            "continues as soon as this is decided"
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


def _named(identifier: str, name: str, brief: Brief | None) -> Text:
    text = Text().append_text(_whole(identifier, brief, "bold"))
    return text if name == identifier else text.append("  (").append_text(_whole(name, brief)).append(")")


def _because(factors: Any) -> Text:
    if not isinstance(factors, list) or not factors:
        return Text()
    return Text("  ").append_text(Text(", ").join(shown(str(factor), "dim") for factor in factors))


def _whole(value: str, brief: Brief | None, style: str = "") -> Text:
    if brief is None or len(value) <= _BRIEF:
        return shown(value, style)
    return shown(value[:_BRIEF], style).append("\n").append_text(unshown(len(value) - _BRIEF, brief))


def _data(
    title: str, data: dict[str, Any], brief: Brief | None, edits: dict[str, Any] | None = None
) -> Iterator[RenderableType]:
    if data:
        yield Text(f"\n {title}", "bold")
        yield Padding(Tree(data, edits=edits, brief=brief), (0, 0, 0, 1), expand=False)
    elif title == "Arguments":
        yield Text("\n No arguments", "dim")


class _History:
    """Actions in columns, over the full width of the console."""

    def __init__(self, calls: list[Listed]) -> None:
        self.calls = calls

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from history_lines(self.calls, options.max_width)


# --- its story ------------------------------------------------------------------------------------

_EVENT = len("denial_cleared")
_EVENTS = {
    "submitted": "cyan",
    "approval": "green",
    "approved": "green",
    "denied": "red",
    "expired": "red",
    "reopened": "yellow",
    "repeated": "red",
    "denial_cleared": "yellow",
    "waiting": "dim",
    "started": "cyan",
    "completed": "green",
    "failed": "red",
    "handed_over": "yellow",
    "unknown": "magenta",
    "blocked": "bold red",
}


def timeline(trail: Iterable[dict[str, Any]], width: int) -> Iterator[Text]:
    """Yield the audit records of one action, in order, line by line."""
    yield Text()
    yield Text(" Audit trail", "bold")
    for entry in trail:
        event = str(entry.get("event"))
        at = timestamp(str(entry.get("timestamp")))
        head = Text(f" {moment(at)}  ", "dim").append_text(cell(f"● {event}", _EVENTS.get(event, "")))
        head.append(" " * max(0, _EVENT - len(event)) + "  ")
        if head.cell_len > width // 2:  # the text goes below
            yield from fold(head, width)
            head = Text("   ")
        said = Text.assemble(("by ", "dim"), shown(str(entry.get("actor")), table=True))
        for line in (said, *_said(entry)):
            for part in fold(line, max(8, width - head.cell_len)):
                yield head + part
                head = Text(" " * head.cell_len)


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
        what = "runs with" if event == "started" else "needs another approval for"
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
