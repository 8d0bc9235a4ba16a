"""``ascend-guard mcp-proxy``: a decision before every tool call of an MCP server, in any language."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from typer.core import TyperGroup

from ascend_guard.cli.command import DatabaseOption, PolicyOption, typed_duration
from ascend_guard.cli.context import Refusal, Run
from ascend_guard.cli.output import safe
from ascend_guard.durations import EXAMPLES
from ascend_guard.errors import AscendError, ConfigurationError

from . import mcp_install

if TYPE_CHECKING:
    from ascend_guard_mcp.gate import ToolGate
    from ascend_guard_mcp.proxy.governed_calls import Log

_USAGE = "Write: ascend-guard mcp-proxy -- COMMAND ARGUMENTS..., or: ascend-guard mcp-proxy --url URL"
_COMMAND = "ascend_guard.mcp_proxy.command"
_WAIT = 45.0


class _Group(TyperGroup):
    """Everything after ``--`` is the server's command line; a word before it is one of our own commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, rest, _ = self.make_parser(ctx).parse_args(list(args))
        before = len(args) - len(rest)
        if rest and before and args[before - 1] == "--":
            ctx.meta[_COMMAND] = rest
            args = args[: before - 1]
        elif rest and rest[0] not in self.commands:
            ctx.fail(f"The server's command goes after --. {_USAGE}")
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def register(app: typer.Typer) -> None:
    """Register it as a command of the root, with ``install`` and ``uninstall`` as its own commands."""
    group = typer.Typer(
        cls=_Group,
        invoke_without_command=True,
        subcommand_metavar="[-- COMMAND ARGUMENTS...]",
        rich_markup_mode="rich",
    )
    group.callback()(_mcp_proxy)
    mcp_install.register(group)
    app.add_typer(group, name="mcp-proxy")


def _mcp_proxy(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="An MCP server over streamable HTTP.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="With --url: serve HTTP instead of standard input and output.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="'NAME: VALUE'",
            help="For the server at --url; VALUE may be env:VARIABLE. Repeatable.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plain http to another machine in --url.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="The server's registered name; by default the command's name, or the host.",
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            metavar="NAME",
            help="First part of the action types; by default the server's name.",
        ),
    ] = None,
    wait: Annotated[
        Any,
        typer.Option(
            "--wait",
            metavar="DURATION",
            parser=typed_duration(0, 365 * 86_400, unit="s"),
            help=f"How long a call waits for a person, such as {EXAMPLES}.",
        ),
    ] = "45s",
    hide: Annotated[
        bool, typer.Option("--hide", help="Hide tools that are always denied from lists.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check whether the proxy would start, without serving.")
    ] = False,
    policy: PolicyOption = None,
    database_url: DatabaseOption = None,
) -> int:
    """Put decisions in front of an MCP server: its command line after [bold]--[/bold], or its [bold]--url[/bold].

    Everything passes unchanged, except tool calls, which are decided first. Standard output carries only the protocol.
    """
    outer = ctx.obj or {}
    policy, database_url = policy or outer.get("policy"), database_url or outer.get("database_url")
    if ctx.invoked_subcommand is not None:
        if url or listen or header or insecure or name or namespace or hide or check or wait != _WAIT:
            raise Refusal(
                f"{ctx.invoked_subcommand} takes only --policy and --database-url of the proxy's options."
            )
        ctx.obj = {**outer, "policy": policy, "database_url": database_url}
        return 0
    run = Run(policy, database_url, False)
    command: list[str] = ctx.meta.get(_COMMAND, [])
    try:
        _require_sense(command, url, listen, header or [], insecure)
        return _govern(run, command, url, listen, header or [], insecure, name, namespace, wait, hide, check)
    except Refusal as refusal:
        _log(refusal.message)
        return refusal.code
    except (AscendError, OSError) as error:
        # Not through the root: with --json it prints to standard output, which belongs to the protocol.
        text = error.message if isinstance(error, AscendError) else f"{type(error).__name__}: {error}"
        for line in text.split("\n") if isinstance(error, ConfigurationError) else [text]:
            _log(line)
        return 1


def _require_sense(
    command: list[str], url: str | None, listen: str | None, header: list[str], insecure: bool
) -> None:
    if bool(command) == (url is not None):
        raise Refusal(_USAGE)
    if listen is not None and url is None:
        raise Refusal(
            "--listen needs --url: a server that is a command has one client, on its standard input. "
            "Remove --listen, or run the server over HTTP and pass its --url."
        )
    if url is None and (header or insecure):
        raise Refusal("--header and --insecure need --url.")


def _govern(
    run: Run,
    command: list[str],
    url: str | None,
    listen: str | None,
    header: list[str],
    insecure: bool,
    name: str | None,
    namespace: str | None,
    wait: float,
    hide: bool,
    check: bool,
) -> int:
    try:
        if url is not None:
            import httpx  # noqa: F401 - only to check that it is installed
        if listen is not None:
            import starlette  # noqa: F401 - likewise
            import uvicorn  # noqa: F401 - likewise
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This needs {error.name}, which is not installed. Install it: pip install 'ascend-guard[mcp]'"
        ) from None
    import asyncio

    from ascend_guard_mcp.gate import ToolGate
    from ascend_guard_mcp.proxy import options

    if url is not None:
        url = options.require_url(url, insecure=insecure)
    headers = options.require_headers(header, os.environ)
    address = None if listen is None else options.require_address(listen)
    name = name or _name_of(command, url)
    if check:
        return _check(run)
    plane = run.settings().control_plane()
    try:
        gate = ToolGate(name, namespace=namespace, wait=wait, control_plane=plane)
        return asyncio.run(_serve(gate, command, url, headers, address, hide, _log))
    finally:
        plane.close()


def _check(run: Run) -> int:
    """Check whether the control plane can be used. A database that does not exist is not created."""
    settings = run.settings()
    if settings.remote or settings.postgres or settings.policy is None or settings.database()[0].exists():
        settings.control_plane().close()
        return 0
    from ascend_guard.engine.policy import load_policy

    load_policy(settings.policy)
    folder = settings.database()[0].parent
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with TemporaryDirectory(prefix=".ascend-guard-", dir=there):  # permissions do not limit root
            return 0
    except OSError as error:
        raise ConfigurationError(
            f"A database cannot be created in {folder} ({error.strerror}). Name another by --database-url."
        ) from None


async def _serve(
    gate: ToolGate,
    command: list[str],
    url: str | None,
    headers: dict[str, str],
    address: tuple[str, int] | None,
    hide: bool,
    log: Log,
) -> int:
    if url is None:
        from ascend_guard_mcp.proxy.server_process import Process
        from ascend_guard_mcp.proxy.stdio_session import relayed

        return await relayed(gate, Process(command, log), log, hide=hide)
    if address is None:
        from ascend_guard_mcp.proxy.stdio_session import relayed
        from ascend_guard_mcp.proxy.upstream import Upstream

        return await relayed(gate, Upstream(url, headers, log), log, hide=hide)
    from ascend_guard_mcp.proxy.http_server import listen
    from ascend_guard_mcp.proxy.options import is_loopback
    from ascend_guard_mcp.proxy.reverse_proxy import Reverse

    app = Reverse(gate, url, headers, log, hide=hide, local=is_loopback(address[0]))
    return await listen(app, *address, log)


def _name_of(command: list[str], url: str | None) -> str:
    if url is not None:
        return urlsplit(url).hostname or url
    return PurePath(command[0]).stem or command[0]


def _log(line: str) -> None:
    sys.stderr.write(f"ascend-guard mcp-proxy: {safe(line)}\n")
    sys.stderr.flush()
