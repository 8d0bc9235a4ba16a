"""``ascend-guard mcp-proxy install`` and ``uninstall``: an MCP client's servers led through the proxy, and back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.cli.command import YesOption, command
from ascend_guard.cli.context import Declined, Refusal, Run

from .mcp_launch import launcher_of

if TYPE_CHECKING:
    from ascend_guard_mcp.clients.formats import Place
    from ascend_guard_mcp.clients.plan import Plan
    from ascend_guard_mcp.clients.routing import Launcher
    from rich.text import Text

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]", help="The client's file; else the one that is found.", show_default=False
    ),
]
ClientOption = Annotated[
    str | None,
    typer.Option(
        "--client", metavar="NAME", help="claude-desktop, claude-code, cursor or vscode: look for its file."
    ),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="NAME", help="This server only; may be repeated. Else all."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the difference, and change nothing.")]


def register(group: typer.Typer) -> None:
    """Make them commands of a group.

    Args:
        group: the one named ``mcp-proxy``.
    """
    command(group, "install")(install)
    command(group, "uninstall")(uninstall)


def install(
    run: Run,
    path: PathArgument = None,
    client: ClientOption = None,
    server: ServerOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> int:
    """Lead an MCP client's servers through the proxy. Shows the difference and asks first.

    The client's file is changed where its servers are, and nowhere else; what it said is kept beside it for uninstall.
    With --policy FILE the proxies decide by that policy; else by what an entry's own env says, else by ASCEND_POLICY.
    Each entry is tried before it is written: one that would not start, or does not say who decides, is left as it is.
    The exit status is 1 when a server that was asked for is not led through the proxy afterwards.
    """
    from ascend_guard_mcp.clients.plan import plan_install
    from ascend_guard_mcp.clients.trial import Trial

    _see_to_a_person(run, "install", path, client, server, dry_run or yes)
    launcher, hint = launcher_of(run, ask=not (dry_run or yes))
    found = _found(run, "install", path, client)
    trial = Trial(hint, Path.cwd())
    plan = _planned(lambda: plan_install(found, launcher, server or (), trial))
    done = _carry_out(run, plan, "Lead", "through the proxy", dry_run, yes)
    _report(run, plan, done, dry_run)
    if not run.json:
        if plan.settled and (run.policy or run.database_url):
            run.warn(
                f"{', '.join(plan.settled)}: led through the proxy already, with the options of then. To change them, "
                f"uninstall first."
            )
        _next_steps(run, plan, done, launcher)
    return 1 if plan.skipped else 0


def uninstall(
    run: Run,
    path: PathArgument = None,
    client: ClientOption = None,
    server: ServerOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> int:
    """Put an MCP client's servers back as they were. Shows the difference and asks first.

    Who changed nothing since gets the very file there was. What was changed by hand stays changed.
    The exit status is 1 when a server that was asked for still goes through the proxy afterwards.
    """
    from ascend_guard_mcp.clients.plan import plan_uninstall

    _see_to_a_person(run, "uninstall", path, client, server, dry_run or yes)
    found = _found(run, "uninstall", path, client)
    plan = _planned(lambda: plan_uninstall(found, server or ()))
    done = _carry_out(run, plan, "Take", "from behind the proxy", dry_run, yes)
    _report(run, plan, done, dry_run)
    if done and not run.json:
        run.say("They are not governed any more once the client has restarted.")
    return 1 if plan.skipped else 0


# --- the change -----------------------------------------------------------------------------------


def _planned(plan: Callable[[], Plan]) -> Plan:
    from ascend_guard_mcp.clients.plan import UnknownServer

    try:
        return plan()
    except UnknownServer as error:
        raise Refusal(error.message) from None


def _carry_out(run: Run, plan: Plan, verb: str, where: str, dry_run: bool, yes: bool) -> bool:
    """Show it, ask, do it; whether it was done."""
    from ascend_guard_mcp.clients.plan import carry_out

    if not run.json:
        for line in _coloured(_difference(plan)):
            run.out.print(line, soft_wrap=True)
        for name, reason in plan.skipped.items():
            run.warn(f"{name} is left as it is: {reason}.")
        for name, note in plan.notes.items():
            run.warn(f"{name}: {note}.")
    if plan.idle or dry_run:
        return False
    if plan.changed and not yes:
        many = f"{len(plan.changed)} servers" if len(plan.changed) > 1 else f"the server {plan.changed[0]}"
        if not run.confirm(f"{verb} {many} {where}?"):
            raise Declined(f"Nothing was changed in {plan.path}.")
    carry_out(plan)
    return bool(plan.changed)


def _difference(plan: Plan) -> list[str]:
    from ascend_guard_mcp.clients.difference import difference

    return difference(plan.path, plan.before, plan.after)


def _coloured(lines: list[str]) -> list[Text]:
    from ascend_guard_mcp.clients.difference import HIDDEN

    from ascend_guard.cli.output import shown

    colours = {"+": "green", "-": "red", "@": "cyan"}
    texts = []
    for number, line in enumerate(lines):
        text = line[:1] + line[1:].removesuffix("\r").expandtabs(4)
        texts.append(shown(text, "bold" if number < 2 else colours.get(line[:1], "")))
    if any(HIDDEN in line for line in lines):
        texts.append(shown(f"Values of env and headers are shown as {HIDDEN}.", "dim"))
    return [*texts, shown("")] if texts else []


def _report(run: Run, plan: Plan, done: bool, dry_run: bool) -> None:
    from ascend_guard.cli.output import shown

    run.emit(
        {
            "path": str(plan.path),
            "changed": plan.changed,
            "unchanged": plan.settled,
            "skipped": [{"server": name, "reason": reason} for name, reason in plan.skipped.items()],
            "notes": [{"server": name, "note": note} for name, note in plan.notes.items()],
            "diff": "".join(f"{line}\n" for line in _difference(plan)),
            "written": done,
        }
    )
    if done:
        run.say(shown(f"Changed {plan.path}: {', '.join(plan.changed)}.", "green"))
    elif dry_run and plan.changed:
        run.say(shown("Nothing was changed: this was a dry run."))
    elif not plan.changed:
        run.say(shown(f"Nothing to change in {plan.path}."))


def _next_steps(run: Run, plan: Plan, done: bool, launcher: Launcher) -> None:
    from ascend_guard.cli.output import shown

    if done and launcher.policy:
        run.warn(
            f"Where an entry does not say itself who decides, {launcher.policy[1]} is written into it: clients do not hand "
            f"this shell's variables on."
        )
    if done:
        from ascend_guard_mcp.clients.plan import remembered_at

        kept = remembered_at(plan)
        run.say(
            shown(f"What was there is kept in {kept}; keep that file out of version control."),
            shown("Restart the client. To take it back:"),
        )
        run.out.print(
            shown(f"  ascend-guard mcp-proxy uninstall {shlex.quote(str(plan.path))}", "cyan"), soft_wrap=True
        )


# --- which file -----------------------------------------------------------------------------------


def _see_to_a_person(
    run: Run, verb: str, path: Path | None, client: str | None, server: list[str] | None, unasked: bool
) -> None:
    if unasked:
        return
    words = ["mcp-proxy", verb, *([str(path)] if path else []), *(["--client", client] if client else [])]
    for name in server or ():
        words += ["--server", name]
    if run.json:
        raise Refusal(
            "With --json nobody is asked. Add --yes to go ahead, or --dry-run to see the difference."
        )
    run.require_person(shlex.join(words))


def _found(run: Run, verb: str, path: Path | None, client: str | None) -> Path:
    """The client's file: the one that was named, or the only one there is."""
    from ascend_guard_mcp.clients.formats import CLIENTS, places

    if client is not None and client not in CLIENTS:
        raise typer.BadParameter(
            f"there is no client {client!r}. There are {', '.join(CLIENTS)}.", param_hint="--client"
        )
    if path is not None:
        if client is not None:
            raise typer.BadParameter(
                "PATH names the file already. Leave --client out.", param_hint="--client"
            )
        return path
    looked = _different(place for place in places(Path.cwd()) if client in (None, place.client))
    found = [(place, seen) for place in looked if (seen := _seen(place)) is not None]
    if verb == "uninstall":  # files that have nothing to undo are no choice
        found = [(place, seen) for place, seen in found if seen[1] != "0"] or found
    if len(found) == 1:
        return found[0][0].path
    if not found:
        where = "; ".join(str(place.path) for place in looked if place.path.name != "settings.json")
        raise Refusal(f"No client's configuration with servers was found. Name it. Looked for: {where}", 1)
    if run.json:
        paths = ", ".join(str(place.path) for place, _ in found)
        raise Refusal(f"There are several files; name one of them: {paths}")
    _show_places(run, found)
    raise Refusal(f"There are several files. Name one: ascend-guard mcp-proxy {verb} PATH")


def _different(looked: Iterable[Place]) -> list[Place]:
    """Each file once: in the home folder, or by a link, two places are the same. The last one holds widest."""
    once = {os.path.realpath(place.path): place for place in looked}
    return list(once.values())


def _show_places(run: Run, found: list[tuple[Place, tuple[str, str]]]) -> None:
    from ascend_guard_mcp.clients.formats import CLIENTS

    from ascend_guard.cli.output import cell, table

    rows = table("Client", "For", "Servers", "Routed", "File")
    for place, (count, routed) in found:
        rows.add_row(
            cell(CLIENTS[place.client]),
            cell(place.scope),
            cell(count),
            cell(routed),
            cell(str(place.path), "cyan"),
        )
    rows.columns[-1].overflow = "fold"
    run.say(rows)


def _seen(place: Place) -> tuple[str, str] | None:
    """How many servers a file has, and how many of them go through the proxy; None when it is no candidate."""
    from ascend_guard_mcp.clients.plan import opened
    from ascend_guard_mcp.clients.routing import is_routed

    from ascend_guard.errors import ConfigurationError

    if not place.path.is_file():
        return None
    try:
        servers: list[Any] = opened(place.path)[1]
    except ConfigurationError:
        # Editors' general settings mostly have no servers; any other file should, and its error is told when it is named.
        return None if place.path.name == "settings.json" else ("?", "?")
    return (str(len(servers)), str(sum(is_routed(server.node) for server in servers))) if servers else None
