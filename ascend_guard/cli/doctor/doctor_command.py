"""``ascend-guard doctor``: check the configuration and what it reaches, and say how to fix problems."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.calling.waiting_notice import MODES
from ascend_guard.cli.command import command
from ascend_guard.cli.context import Run, approver
from ascend_guard.errors import AscendError

from .checks import Check, what_and_remedy

if TYPE_CHECKING:
    from ascend_guard.config import Settings

    from .tool_checks import Tool

_VARIABLES = {
    "ASCEND_POLICY": "the policy file",
    "ASCEND_DATABASE_URL": "the database",
    "ASCEND_SECRET_KEY": "the key of PostgreSQL's audit trail",
    "ASCEND_DURABILITY": "which failures a decision survives",
    "ASCEND_AGENT_ID": "the agent of its calls",
    "ASCEND_AGENT_NAME": "its name for people",
    "ASCEND_API_KEY": "the API key for a server",
    "ASCEND_API_URL": "the address of a server",
    "ASCEND_WAITING": "how waiting calls are reported",
    "ASCEND_DEBUG": "tracebacks",
}


def register(app: typer.Typer) -> None:
    """Register it as a command of the root."""
    command(app, "doctor")(doctor)


AgentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--agent",
        metavar="MODULE:NAME",
        help="Import this agent (or a function that returns it) and list its tools. May be repeated.",
    ),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="MODULE:NAME", help="The same for an MCP server."),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict", help="With --agent or --server: an ungoverned tool is an error (exit status 1)."
    ),
]


def doctor(
    run: Run, agent: AgentOption = None, server: ServerOption = None, strict: StrictOption = False
) -> int:
    """Check everything: what is configured, what is reachable, what is wrong and how to fix it."""
    if strict and not agent and not server:
        raise typer.BadParameter("it needs an --agent or a --server to check.", param_hint="--strict")
    checks: list[Check] = []
    tools: list[Tool] | None = None
    if agent or server:  # first: imported code may set variables, as in its own process
        from .tool_checks import look

        checks, tools = look(agent or [], server or [], strict=strict)
    checks = [*_here(), *_variables(), *_configuration(run), *checks]
    wrong = [check for check in checks if check.state == "wrong"]
    value: dict[str, Any] = {
        "ok": not wrong,
        "checks": [{**check._asdict(), "remedy": check.remedy or None} for check in checks],
    }
    if agent or server:
        value["tools"] = None if tools is None else [tool._asdict() for tool in tools]
    run.emit(value)
    if not run.json:
        _say(run, checks, len(wrong), tools)
    return 1 if wrong else 0


def _say(run: Run, checks: list[Check], wrong: int, tools: list[Tool] | None) -> None:
    from rich.table import Table
    from rich.text import Text

    from ascend_guard.cli.output import shown

    looks = {
        "ok": ("✓", "green"),
        "info": ("·", "dim"),
        "warning": ("!", "bold yellow"),
        "wrong": ("✗", "bold red"),
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for check in checks:
        mark, colour = looks[check.state]
        lines = check.detail.split("\n")
        detail = Text("\n").join(
            shown(line, "" if check.state in ("ok", "info") else colour) for line in lines
        )
        if check.remedy:
            detail.append("\n→ ", "cyan").append_text(Text("\n").join(map(shown, check.remedy.split("\n"))))
        grid.add_row(Text.assemble((mark, colour), " ", check.name), detail)
    run.say(grid, "")
    if tools:
        from .tool_checks import table

        run.say(table(tools), "")
    if wrong:
        run.say(Text(f"{wrong} {'problem was' if wrong == 1 else 'problems were'} found.", "bold red"))
    else:
        run.say(Text("No problems were found.", "bold green"))


def _here() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    from ascend_guard._version import __version__

    yield Check(
        "ascend-guard",
        "info",
        f"{__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
    )
    yield Check("you", "info", f"{approver()}: decisions made here are recorded under this name")
    try:
        yield Check("telemetry", "ok", f"opentelemetry-sdk {version('opentelemetry-sdk')}")
    except PackageNotFoundError:
        yield Check(
            "telemetry",
            "info",
            "no opentelemetry-sdk: no spans or metrics (pip install 'ascend-guard[otel]')",
        )


def _variables() -> Iterator[Check]:
    from ascend_guard.cli.output import masked
    from ascend_guard.redaction import is_secret_name

    for name in sorted(name for name in os.environ if name.startswith("ASCEND_")):
        if name == "ASCEND_WAITING" and os.environ[name] and os.environ[name] not in MODES:
            yield Check(
                name, "wrong", f"is {os.environ[name]!r}", f"Set it to {', '.join(MODES)}, or unset it."
            )
        elif name in _VARIABLES:
            value = masked(os.environ[name], secret=is_secret_name(name)) or "(empty: treated as not set)"
            yield Check(name, "info", f"{value}  ({_VARIABLES[name]})")
        else:
            close = get_close_matches(name, _VARIABLES, n=1)
            remedy = f"Did you mean {close[0]}?" if close else ""
            yield Check(
                name, "warning" if close else "info", "is set, but ascend-guard does not read it", remedy
            )


def _configuration(run: Run) -> Iterator[Check]:
    from ascend_guard.cli.output import masked

    settings = run.settings()
    if settings.remote:
        key = masked(settings.api_key or "", secret=True)
        url = masked(settings.api_url or "(not set)", secret=False)
        yield _server(settings, f"a server decides, at {url} with the key {key}")
        return
    if settings.postgres:
        yield from _postgres(run, settings)
        return
    try:
        path, options = settings.database()
    except AscendError as error:
        yield Check("control plane", "wrong", *what_and_remedy(error))
        return
    yield Check("control plane", "ok", "embedded: decisions are made in the agent's process")
    yield _policy(settings)
    yield Check(
        "agent", "info", settings.agent_id or "default-agent (unless a call or its scope names another)"
    )
    yield _durability(settings.durability or options.get("durability") or "power")
    from ascend_guard.cli.databases import there

    from .database import database, place

    try:
        if there(path):
            yield from database(settings, path)
            return
        yield Check("database", "info", f"{path}: does not exist yet; the first governed call creates it")
        yield from place(path)
    except AscendError as error:
        yield Check("database", "wrong", *what_and_remedy(error))


def _server(settings: Settings, what: str) -> Check:
    from ascend_guard.client.api.clients import AscendClient

    try:
        with AscendClient(settings.api_key, settings.api_url, timeout=10) as client:
            status = client.test_connection()
            if not status.connected:
                return Check("control plane", "wrong", f"{what}: {status.error}", "Is it running?")
            client.kill_switch_status()
    except AscendError as error:
        wrong, remedy = what_and_remedy(error)
        return Check("control plane", "wrong", f"{what}: {wrong}", remedy)
    return Check(
        "control plane", "ok", f"{what}: version {status.api_version}, {status.latency_ms:.0f} ms away"
    )


def _postgres(run: Run, settings: Settings) -> Iterator[Check]:
    yield Check("control plane", "ok", "embedded: decisions are made in the agent's process, on PostgreSQL")
    yield _policy(settings)
    try:
        store = run.plane().store
        records = store.read(lambda reader: sum(head.seq for head in reader.heads()))
    except AscendError as error:
        yield Check("database", "wrong", *what_and_remedy(error))
        return
    yield Check("database", "ok", f"{settings.place}: {records:,} audit records")


def _policy(settings: Settings) -> Check:
    from ascend_guard.cli.databases import no_policy, there
    from ascend_guard.config import absolute
    from ascend_guard.engine.policy import load_policy

    if settings.policy is None:
        return Check(
            "policy",
            "warning",
            "none is configured: these commands can read and approve, but agents without a policy may run nothing",
            "ascend-guard init, then set ASCEND_POLICY.",
        )
    try:
        place = absolute(settings.policy)
        if not there(place):
            what, _, remedy = no_policy(place).message.partition(". ")
            return Check("policy", "wrong", what, remedy)
        policy = load_policy(settings.policy)
    except AscendError as error:
        return Check(
            "policy", "wrong", f"does not load\n{error.message}", "Fix it, then: ascend-guard policy check"
        )
    return Check(
        "policy", "ok", f"{settings.policy}: {len(policy.rules)} rules, default {policy.default.value}"
    )


def _durability(value: str) -> Check:
    meaning = {
        "power": "decisions survive a power cut",
        "process": "decisions survive a crash of every process, but not a power cut",
    }
    if value in meaning:
        return Check("durability", "ok", f"{value}: {meaning[value]}")
    return Check(
        "durability", "wrong", f"{value!r} is not a durability", "Set ASCEND_DURABILITY to power or process."
    )
