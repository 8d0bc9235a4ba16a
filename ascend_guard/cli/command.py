"""The decorator for commands: a function of a ``Run`` and its own options, with the shared options added."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from .context import Run
from .output import printing

P = ParamSpec("P")

PolicyOption = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="The policy file; else ASCEND_POLICY.")
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="sqlite:///path; else ASCEND_DATABASE_URL, else .ascend/ascend.db beside the policy.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

SHARED: dict[str, Any] = {"policy": PolicyOption, "database_url": DatabaseOption, "as_json": JsonOption}
"""The options of every command, accepted before and after its name."""

MAX_DEPTH = 64
"""The deepest nesting of JSON in an option: the same as for a call's arguments."""


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Run, P], int | None]], Callable[..., int]]:
    """Register a command. It receives a ``Run`` and its own options, and returns its exit status (None is 0).

    Args:
        app: the application.
        name: the command's name in it.
    """

    def register(function: Callable[Concatenate[Run, P], int | None]) -> Callable[..., int]:
        @functools.wraps(function)
        def wrapper(ctx: typer.Context, **given: Any) -> int:
            outer = ctx.obj or {}
            shared = {option: given.pop(option) or outer.get(option) for option in SHARED}
            run = Run(shared["policy"], shared["database_url"], bool(shared["as_json"]))
            try:
                with printing():  # inside: typer has its own exit status for a closed pipe
                    code = function(run, **given) or 0  # type: ignore[call-arg]  # its options by name
                    if code == 0:
                        run.ended()
                    return code
            finally:
                run.close()

        signature = inspect.signature(function, eval_str=True)
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
        own = list(signature.parameters.values())[1:]
        parameters += [parameter.replace(kind=keyword) for parameter in own]
        parameters += [
            inspect.Parameter(option, keyword, default=False if hint is JsonOption else None, annotation=hint)
            for option, hint in SHARED.items()
        ]
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name)(wrapper)
        return wrapper

    return register


def typed_duration(least: float, most: float, *, unit: str | None = None) -> Callable[[Any], float]:
    """Return the parser of an option that is a length of time, in seconds; use it as the option's ``parser``.

    Args:
        least: the shortest.
        most: the longest.
        unit: the unit of a bare number, where scripts of earlier versions use one.
    """
    from ascend_guard.durations import EXAMPLES, duration

    from .output import span

    def parse(given: Any) -> float:
        text = str(given)
        seconds = duration(text)
        if seconds is None and unit is not None:
            seconds = duration(text + unit)
        if seconds is None:
            raise typer.BadParameter(f"{text!r} is not a duration. Write a number and a unit: {EXAMPLES}.")
        if not least <= seconds <= most:
            raise typer.BadParameter(f"{text!r} is not between {least:g} s and {span(most)}.")
        return seconds

    return parse


def typed_json(text: str, option: str, example: str) -> Any:
    """Return the value of an option that is JSON.

    Args:
        text: as typed.
        option: its name, for the message.
        example: an example, for the message.

    Raises:
        typer.BadParameter: it is not JSON, or deeper than arguments may be.
    """
    import msgspec

    try:
        value = msgspec.json.decode(text)
        if _depth(value) > MAX_DEPTH:
            raise RecursionError(f"nested more than {MAX_DEPTH} levels deep")
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise typer.BadParameter(f"it is not JSON ({error}). Write {example}.", param_hint=option) from None
    return value


def _depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(_depth, inside), default=0)


def typed_edits(given: list[str]) -> dict[str, Any]:
    """Return argument values, each written as ``NAME=JSON``."""
    edits: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=JSON.", param_hint="--set")
        edits[name] = typed_json(value, "--set", f"text in double quotes: --set '{name}=\"text\"'")
    return edits
