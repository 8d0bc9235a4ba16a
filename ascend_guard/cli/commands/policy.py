"""``ascend-guard policy``: check a policy, and show its decision on a call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.cli.command import command, typed_json
from ascend_guard.cli.context import Run, error_record
from ascend_guard.cli.databases import no_policy, there
from ascend_guard.config import absolute
from ascend_guard.errors import ConfigurationError, PolicyError

if TYPE_CHECKING:
    from ascend_guard.engine.policy import Explanation, Policy, Rule, Verdict
    from ascend_guard.engine.risk import Risk
    from ascend_guard.model import AgentAction

app = typer.Typer(
    help="Check a policy, and show its decision on a call.", no_args_is_help=True, rich_markup_mode="rich"
)

FileArgument = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The policy; by default --policy or ASCEND_POLICY.")
]

_MISTAKE = re.compile(r"(?s)(.*):([0-9]+): (.*)")


@command(app, "check")
def check(run: Run, file: FileArgument = None) -> int:
    """Load a policy and list its rules, or every mistake in it as file:line."""
    from ascend_guard.engine.policy import load_policy

    path = _path(run, file)
    try:
        policy = load_policy(path)
    except PolicyError as error:
        if not run.json:
            raise
        found = [match.groups() for line in error.message.split("\n") if (match := _MISTAKE.fullmatch(line))]
        mistakes = [{"file": name, "line": int(number), "message": text} for name, number, text in found]
        run.emit(error_record(error) | {"ok": False, "mistakes": mistakes})
        return 1
    run.emit({"ok": True, **_policy_record(policy)})
    if not run.json:
        from rich.text import Text

        from ascend_guard.cli.output import badge, shown

        run.say(_rule_table(policy), "")
        default = Text.assemble("Calls that no rule matches: ", badge(policy.default.value), ".")
        count = len(policy.rules)
        run.say(default)
        run.line(shown(f"{path} is valid: {count} {'rule' if count == 1 else 'rules'}.", "green"))
    return 0


@command(app, "explain")
def explain(
    run: Run,
    file: FileArgument = None,
    *,
    action: Annotated[str, typer.Option(metavar="TYPE", help="The action type, such as refund.")],
    tool: Annotated[str, typer.Option(metavar="NAME", help="The tool.")] = "tool",
    agent: Annotated[str, typer.Option(metavar="ID", help="The agent.")] = "default-agent",
    resource: Annotated[str, typer.Option(metavar="TEXT", help="What the call acts on.")] = "",
    args: Annotated[str, typer.Option(metavar="JSON", help="The call's arguments, an object.")] = "{}",
    context: Annotated[str, typer.Option(metavar="JSON", help="The call's context, an object.")] = "{}",
    risk_indicators: Annotated[
        str, typer.Option(metavar="JSON", help="The call's risk indicators, an object.")
    ] = "{}",
) -> None:
    """Show what a policy decides on a call, and the result of every rule. No call is made."""
    import msgspec

    from ascend_guard.engine.policy import explain, load_policy
    from ascend_guard.engine.risk import assess
    from ascend_guard.model import AgentAction

    asked = AgentAction(
        agent_id=agent,
        agent_name=agent,
        action_type=action,
        resource=resource,
        tool_name=tool,
        action_details=_object(args, "--args"),
        context=_object(context, "--context"),
        risk_indicators=_object(risk_indicators, "--risk-indicators"),
    )
    policy = load_policy(_path(run, file))
    risk = assess(asked)
    verdict, tried = policy.decide(asked, risk), explain(policy, asked, risk)
    if run.json:
        run.emit(
            {
                "decision": {"allow": "approved", "deny": "denied"}.get(verdict.effect.value, "pending"),
                "verdict": msgspec.to_builtins(verdict),
                "risk_score": risk.score,
                "risk_level": risk.level.value,
                "risk": msgspec.to_builtins(risk),
                "rules": [msgspec.to_builtins(one) | {"why": one.why} for one in tried],
            }
        )
        return
    run.say(_verdict(asked, verdict, risk), "", _tried_table(tried))


def _path(run: Run, file: Path | None) -> str:
    path = str(file) if file is not None else run.settings().policy
    if path is None:
        raise ConfigurationError(
            "No policy is configured. Name its file, or set ASCEND_POLICY; `ascend-guard init` writes one."
        )
    place = absolute(path)
    if not there(place):
        raise no_policy(place)
    return path


def _object(text: str, option: str) -> dict[str, Any]:
    example = f"an object: {option} '{{\"amount\": 600}}'"
    value = typed_json(text, option, example)
    if not isinstance(value, dict):
        raise typer.BadParameter(f"it is not a JSON object. Write {example}.", param_hint=option)
    return value


def _policy_record(policy: Policy) -> dict[str, Any]:
    import msgspec

    return {
        "file": policy.source,
        "default": policy.default.value,
        "digest": policy.digest,
        "rules": [msgspec.to_builtins(rule) for rule in policy.rules],
    }


def _rule_table(policy: Policy) -> Any:
    from rich.text import Text

    from ascend_guard.cli.output import badge, shown, table

    listed = table()
    listed.add_column("Line", justify="right", no_wrap=True, style="dim")
    listed.add_column("Rule", overflow="fold", min_width=12)
    listed.add_column("Effect", no_wrap=True)
    listed.add_column("When", overflow="fold", ratio=1)
    for rule in policy.rules:
        lines = [*_scopes(rule)]
        if rule.when is not None:
            lines.append(Text.assemble(("if ", "dim"), shown(" ".join(rule.when.split()), "cyan")))
        if rule.effect.value == "require_approval":
            lines.append(_needs(rule))
        when = Text("\n").join(lines) if lines else Text("always", "dim")
        listed.add_row(str(rule.line), shown(rule.name, "bold", table=True), badge(rule.effect.value), when)
    return listed


def _scopes(rule: Rule) -> list[Any]:
    from rich.text import Text

    from ascend_guard.cli.output import shown

    named = zip(("actions", "tools", "agents", "resources"), rule.scope, strict=True)
    return [
        Text.assemble((f"{name} ", "dim"), shown(", ".join(patterns))) for name, patterns in named if patterns
    ]


def _needs(rule: Rule) -> Any:
    from rich.text import Text

    from ascend_guard.cli.output import shown, span

    people = "1 person" if rule.quorum == 1 else f"{rule.quorum} people"
    text = Text(f"asks {people}", "yellow")
    if rule.approvers:
        text.append(" of ").append_text(shown(" or ".join(rule.approvers), "yellow"))
    if rule.timeout is not None:
        text.append(f", within {span(rule.timeout)}", "yellow")
    return text


def _verdict(asked: AgentAction, verdict: Verdict, risk: Risk) -> Any:
    from rich.table import Table

    from ascend_guard.cli.output import badge, shown
    from ascend_guard.cli.output import risk as shown_risk

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("Call", shown(f"{asked.action_type} by {asked.tool_name}", "bold"))
    grid.add_row("Verdict", badge(verdict.effect.value))
    grid.add_row("Rule", shown(verdict.rule or "none; the policy's default"))
    grid.add_row("Reason", shown(verdict.reason))
    grid.add_row(
        "Risk",
        shown_risk(risk.score, risk.level.value, bar=True)
        .append("  ")
        .append_text(shown(", ".join(risk.factors), "dim")),
    )
    return grid


def _tried_table(tried: list[Explanation]) -> Any:
    from rich.text import Text

    from ascend_guard.cli.output import badge, shown, table

    listed = table()
    listed.add_column("Line", justify="right", no_wrap=True, style="dim")
    listed.add_column("", no_wrap=True)
    listed.add_column("Rule", overflow="fold", min_width=12)
    listed.add_column("Effect", no_wrap=True)
    listed.add_column("Why", overflow="fold", ratio=1)
    for one in tried:
        why = shown(one.why, "red" if one.error else "")
        if one.when is not None and not one.missed:
            why.append("\nif ", "dim").append_text(shown(" ".join(one.when.split()), "cyan"))
        mark = Text("✓", "bold green") if one.matched else Text("·", "dim")
        name = shown(one.rule, "bold" if one.matched else "dim", table=True)
        listed.add_row(str(one.line), mark, name, badge(one.effect.value), why)
    return listed
