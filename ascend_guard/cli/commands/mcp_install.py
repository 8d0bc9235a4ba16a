"""``ascend-guard mcp-proxy install`` and ``uninstall``: put an MCP client's servers behind the proxy, and remove it
again."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ascend_guard.cli.command import YesOption, command
from ascend_guard.cli.context import Declined, Refusal, Run
from ascend_guard.cli.files import write_file

from .mcp_launch import launcher_of

if TYPE_CHECKING:
    from ascend_guard_mcp.clients.client_files import Place
    from ascend_guard_mcp.clients.configuration import Configuration
    from ascend_guard_mcp.clients.plan import Plan

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]", help="The client's file; by default the one that is found.", show_default=False
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
    typer.Option("--server", metavar="NAME", help="This server only; may be repeated. By default all."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show the difference without changing anything.")
]

_ANYONE_WRITES = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def register(group: typer.Typer) -> None:
    """Register them as commands of a group.

    Args:
        group: the group ``mcp-proxy``.
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
    """Put an MCP client's servers behind the proxy. Shows the difference and asks for confirmation.

    Only the entries of servers change, and a backup of the file is written beside it. A file with comments or trailing
    commas
    is not written: the entries to paste are printed.
    With --policy FILE the proxies use that policy; without it, the policy in an entry's own env, or ASCEND_POLICY.
    Each entry is tried before it is written. An entry that would not start, or has no control plane, is left unchanged.
    The exit status is 1 when a requested server is not behind the proxy afterwards.
    """
    from ascend_guard_mcp.clients.plan import backups_left, plan_install
    from ascend_guard_mcp.clients.trial import Trial

    _require_person(run, "install", path, client, server, dry_run or yes)
    launcher, hint = launcher_of(run, ask=not (dry_run or yes))
    file = _file(run, "install", path, client, server or ())
    plan = plan_install(file, launcher, server or (), Trial(hint, Path.cwd()))
    done = _confirmed(run, plan, "Put", "behind the proxy", dry_run, yes)
    _report(run, plan, done, dry_run)
    if plan.settled and (run.policy or run.database_url) and not run.json:
        run.warn(
            f"{', '.join(plan.settled)}: already behind the proxy, with the options of that installation. To "
            f"change them, "
            f"uninstall first."
        )
    if done and not run.json:
        from ascend_guard.cli.output import shown

        if launcher.policy:
            run.warn(
                f"If an entry has no control plane of its own, {launcher.policy[1]} is written into it, "
                f"because clients do not "
                f"pass on this shell's variables."
            )
        run.line(shown(f"The backup is {backups_left(file.path)[0]}; keep it out of version control."))
        run.say(shown("Restart the client. To undo this:"))
        run.line(shown(f"  ascend-guard mcp-proxy uninstall {shlex.quote(str(file.path))}", "cyan"))
    return _status(plan)


def uninstall(
    run: Run,
    path: PathArgument = None,
    client: ClientOption = None,
    server: ServerOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> int:
    """Remove the proxy from an MCP client's servers. Shows the difference and asks for confirmation.

    An entry that has not changed since it was installed is restored exactly. Later changes by hand are kept.
    The exit status is 1 when a requested server is still behind the proxy afterwards.
    """
    from ascend_guard_mcp.clients.plan import backups_left, plan_uninstall

    _require_person(run, "uninstall", path, client, server, dry_run or yes)
    file = _file(run, "uninstall", path, client, server or ())
    plan = plan_uninstall(file, server or ())
    done = _confirmed(run, plan, "Take", "out from behind the proxy", dry_run, yes)
    _report(run, plan, done, dry_run)
    if done:
        run.say("After the client's restart they are not governed any more.")
        for backup in backups_left(file.path):
            run.warn(
                f"The backup {backup} is kept. Delete it when you do not need it; it may contain secrets."
            )
    return _status(plan)


# --- the change -----------------------------------------------------------------------------------


def _confirmed(run: Run, plan: Plan, verb: str, where: str, dry_run: bool, yes: bool) -> bool:
    """Show the change, ask for confirmation, make it. Returns whether it was made."""
    if not run.json:
        _show(run, plan)
    if not plan.entries or dry_run or not plan.file.strict:
        return False
    names = list(plan.entries)
    many = f"{len(names)} servers" if len(names) > 1 else f"the server {names[0]}"
    if not yes and not run.confirm(f"{verb} {many} {where}?"):
        raise Declined(f"Nothing was changed in {plan.file.path}.")
    carry_out(plan)
    return True


def carry_out(plan: Plan) -> None:
    """Write the backup, replace the file in one step, and remove backups that are then equal to it.

    Raises:
        Refusal: the file changed since it was read, or cannot be written. It is unchanged.
    """
    from ascend_guard_mcp.clients.plan import redundant_backups

    path, data = plan.file.path, plan.file.data
    try:
        status = path.stat()
    except OSError as error:
        raise Refusal(f"{path} cannot be written ({error.strerror}). Run this again.", 1) from None
    # Check the mode too, because os.access lets the superuser write read-only files.
    if not status.st_mode & _ANYONE_WRITES or not os.access(path, os.W_OK):
        raise Refusal(f"{path} is read-only. Make it writable (chmod u+w), or run this as its owner.", 1)
    if os.name == "posix" and os.geteuid() not in (0, status.st_uid):
        raise Refusal(f"{path} belongs to another user, and would become yours. Run this as its owner.", 1)
    _require_unchanged(path, data)
    backup = plan.new_backup()
    if backup is not None:
        write_file(backup, [data], force=False, mode=stat.S_IMODE(status.st_mode))
        _require_unchanged(path, data)
    write_file(path, [plan.after], force=True)
    for redundant in redundant_backups(path):
        with suppress(OSError):  # uninstall names those that remain
            redundant.unlink()


def _require_unchanged(path: Path, data: bytes) -> None:
    if path.read_bytes() != data:
        raise Refusal(f"{path} was changed in the meantime, so nothing was written. Run this again.", 1)


# --- what is said of it ---------------------------------------------------------------------------


def _show(run: Run, plan: Plan) -> None:
    from ascend_guard_mcp.clients.plan import HIDDEN, shown

    from ascend_guard.cli.output import shown as line

    lines: list[str] = []
    if plan.file.strict:
        colours = {"+": "green", "-": "red", "@": "cyan"}
        lines = plan.difference()
        for text in lines:
            run.line(line(text, "bold" if text[:3] in ("---", "+++") else colours.get(text[:1], "")))
    elif plan.entries:
        run.warn(
            f"{plan.file.path} has comments or trailing commas, which would be lost, so nothing is written. "
            f"Replace these "
            f"entries in an editor."
        )
        for name, entry in plan.entries.items():
            run.line(line(f"{plan.file.path}:{plan.file.line(name)} {name} becomes", "bold"))
            lines += (texts := shown(entry).split("\n"))
            for text in texts:
                run.line(line(text, "green"))
    if any(f'"{HIDDEN}"' in text for text in lines):
        keep = "" if plan.file.strict else " Keep those of your file."
        run.say(line(f'Values of env and headers are shown as "{HIDDEN}".{keep}', "dim"))
    if lines:
        run.say("")
    for name, reason in plan.skipped.items():
        run.warn(f"{name} is left unchanged: {reason}.")
    for name, note in plan.notes.items():
        run.warn(f"{name}: {note}.")


def _report(run: Run, plan: Plan, done: bool, dry_run: bool) -> None:
    from ascend_guard.cli.output import shown

    file, names = plan.file, list(plan.entries)
    if run.json:
        run.emit(
            {
                "path": str(file.path),
                "changed": names if file.strict else [],
                "unchanged": plan.settled,
                "skipped": [{"server": name, "reason": reason} for name, reason in plan.skipped.items()],
                "notes": [{"server": name, "note": note} for name, note in plan.notes.items()],
                "paste": [] if file.strict else names,
                "diff": "".join(f"{line}\n" for line in plan.difference()),
                "written": done,
            }
        )
    if done:
        run.say(shown(f"Changed {file.path}: {', '.join(names)}.", "green"))
    elif dry_run and names:
        run.say(shown("Nothing was changed: this was a dry run."))
    elif not names:
        run.say(shown(f"Nothing to change in {file.path}."))


def _status(plan: Plan) -> int:
    return 1 if plan.skipped or (plan.entries and not plan.file.strict) else 0


# --- which file -----------------------------------------------------------------------------------


def _require_person(
    run: Run, verb: str, path: Path | None, client: str | None, server: list[str] | None, unasked: bool
) -> None:
    if unasked:
        return
    if run.json:
        raise Refusal(
            "With --json there is no prompt. Add --yes to go ahead, or --dry-run to see the difference."
        )
    words = ["mcp-proxy", verb, *([str(path)] if path else []), *(["--client", client] if client else [])]
    for name in server or ():
        words += ["--server", name]
    run.require_person(shlex.join(words))


def _file(
    run: Run, verb: str, path: Path | None, client: str | None, names: Collection[str]
) -> Configuration:
    """Return the client's file, which must contain servers of these names."""
    from ascend_guard_mcp.clients.configuration import read

    file = read(_path(run, verb, path, client))
    for name in names:
        if name not in file.servers:
            has = ", ".join(map(repr, file.servers)) or "none"
            raise Refusal(f"{file.path} has no server {name!r}. It has {has}.")
    return file


def _path(run: Run, verb: str, path: Path | None, client: str | None) -> Path:
    """Return the path of the client's file: as given, or the only one that exists."""
    from ascend_guard_mcp.clients.client_files import CLIENTS, places

    if client is not None and client not in CLIENTS:
        raise typer.BadParameter(
            f"there is no client {client!r}. Clients are {', '.join(CLIENTS)}.", param_hint="--client"
        )
    if path is not None and client is not None:
        raise typer.BadParameter("PATH already names the file. Remove --client.", param_hint="--client")
    if path is not None:
        return path
    # Each file once: two places can be the same, in the home folder or by a link. The last place has the widest scope.
    once = {os.path.realpath(place.path): place for place in places(Path.cwd())}
    looked = [place for place in once.values() if client in (None, place.client)]
    found = [(place, counts) for place in looked if (counts := _counts(place)) is not None]
    if verb == "uninstall":  # files with nothing to undo are not candidates
        found = [(place, counts) for place, counts in found if counts[1] != 0] or found
    if len(found) == 1:
        return found[0][0].path
    if not found:
        where = "; ".join(str(place.path) for place in looked if place.path.name != "settings.json")
        raise Refusal(f"No client's configuration with servers was found. Name it. Looked for: {where}", 1)
    choices = "; ".join(
        f"{place.path} ({CLIENTS[place.client]}, {_said(*counts)})" for place, counts in found
    )
    raise Refusal(f"There are several files. Name one, as in mcp-proxy {verb} PATH: {choices}")


def _said(servers: int, routed: int) -> str:
    return "cannot be read" if servers < 0 else f"servers: {servers}, behind the proxy: {routed}"


def _counts(place: Place) -> tuple[int, int] | None:
    """How many servers a file has, and how many are behind the proxy; -1 if unreadable, None if it is not a candidate."""
    from ascend_guard_mcp.clients.configuration import ClientFileError, read
    from ascend_guard_mcp.clients.routing import route_of

    if not place.path.is_file():
        return None
    try:
        entries = read(place.path).servers.values()
    except ClientFileError:
        # Editors' general settings mostly have no servers. Any other file should have some; its error is shown if it is
        # named.
        return None if place.path.name == "settings.json" else (-1, -1)
    return (len(entries), sum(route_of(entry) is not None for entry in entries)) if entries else None
