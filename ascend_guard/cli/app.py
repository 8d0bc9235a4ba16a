"""The command-line application: all commands, and how their failures are reported."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from ascend_guard.errors import AscendError, StoreError

from .command import DatabaseOption, JsonOption, PolicyOption
from .commands import actions, approvals, audit, init, keys, kill_switch, mcp_proxy, policy, serve, token
from .context import Declined, Refusal, error_record
from .doctor import doctor_command as doctor
from .option_types import simplify
from .output import OUTPUT, Unwritable, give_up, open_streams, printing

_OF_SEVERAL_LINES = ("ConfigurationError", "PolicyError")
_INTERRUPTED = 128 + signal.SIGINT

app = typer.Typer(
    name="ascend-guard",
    help="Nothing an AI agent does takes effect before a decision allows it.",
    epilog="Begin with [bold]ascend-guard demo[/bold], or with [bold]ascend-guard init[/bold].",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
init.register(app)


@app.command("demo")
def _demo(ctx: typer.Context, as_json: JsonOption = False) -> int:
    """Watch real tool calls being approved, denied, held and stopped (takes seconds, no network)."""
    from .demo import demo

    with printing():
        return demo(as_json=as_json or ctx.obj["as_json"])


app.add_typer(approvals.app, name="approvals")
app.add_typer(actions.app, name="actions")
app.add_typer(kill_switch.app, name="kill-switch")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
token.register(app)
doctor.register(app)
serve.register(app)
mcp_proxy.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from ascend_guard._version import __version__

        sys.stdout.write(f"ascend-guard {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    policy: PolicyOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    ctx.obj = {"policy": policy, "database_url": database_url, "as_json": as_json}


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. No failure leaves as an exception."""
    open_streams()
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with printing():
            code = _run(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
    except Unwritable as error:
        sys.stdout, sys.stderr = streams  # typer replaces them
        with suppress(OSError):
            sys.stderr.write(f"Error: {error}\n")
            sys.stderr.flush()
        give_up(*streams)
        return 1
    return code


def _run(arguments: list[str]) -> int:
    ours = (
        arguments[: arguments.index("--")] if "--" in arguments else arguments
    )  # the rest belongs to another program
    json = "--json" in ours
    standard = sys.stdout
    try:
        return int(_commands()(arguments, prog_name="ascend-guard", standalone_mode=False) or 0)
    except Unwritable:
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except SystemExit as leaving:
        if sys.stdout is not standard:  # typer does this when the help meets a closed pipe
            raise Unwritable(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))) from None
        return leaving.code if isinstance(leaving.code, int) else 1
    except Refusal as refusal:
        return _failed(refusal.message, error_record(refusal), refusal.code, json)
    except AscendError as error:
        message = f"{error.message} {error.remedy}" if error.remedy else error.message
        return _failed(message, error_record(error), 1, json)
    except Exception as error:
        if hasattr(error, "format_message"):  # wrong usage; typer's class for it differs between its versions
            return _misused(error, json)
        with printing():
            explained = _explained(error)
            if explained is None:
                return _broken(error, json)
            return _failed(explained.message, error_record(explained), 1, json)


def _commands() -> Any:
    """The application with every command."""
    commands = typer.main.get_command(app)
    simplify(commands)
    return commands


def _explained(error: Exception) -> AscendError | None:
    """Return our error for one of the operating system or a database; None for any other."""
    if not isinstance(error, OSError):
        if type(error).__module__ != "sqlite3":
            return None
        return StoreError(f"A database failed ({error}). See `ascend-guard doctor`.")
    if error.filename is None and error.errno in OUTPUT:
        raise error
    from ascend_guard.store.failures import advice

    where = f" {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    return StoreError(f"The system refused{where} ({error.strerror or error}). {advice(error)}")


def _failed(message: str, record: dict[str, Any], code: int, json: bool) -> int:
    from .output import console, print_json, shown

    if json:
        print_json(record)
        return code
    kind = record["error"]["type"]
    err = console(stderr=True)
    text = shown("" if kind == Declined.__name__ else "Error: ", "bold red")
    # Only our own configuration messages have several lines; a line break in any other message is data.
    for number, line in enumerate(message.split("\n") if kind in _OF_SEVERAL_LINES else [message]):
        text.append("\n" if number else "").append_text(shown(line))
    err.print(text, soft_wrap=not err.is_terminal)
    return code


def _misused(error: Any, json: bool) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if message and context is not None:
        message += f" Try: {context.command_path} --help"
    if message:  # without one, help was asked for and has been printed
        _failed(message, {"error": {"type": "UsageError", "message": message}}, 2, json)
    return 2


def _broken(error: Exception, json: bool) -> int:
    import traceback

    from .output import safe

    if os.environ.get("ASCEND_DEBUG"):
        for line in "".join(traceback.format_exception(error)).splitlines():
            sys.stderr.write(safe(line) + "\n")
    name = type(error).__name__
    message = f"{name}: {error}. This is a bug in ascend-guard; ASCEND_DEBUG=1 shows where it happened."
    return _failed(message, {"error": {"type": name, "message": str(error)}}, 1, json)
