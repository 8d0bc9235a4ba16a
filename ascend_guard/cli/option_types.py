"""The type that ``--help`` shows beside an option: plain words, and nothing for an option without a value."""

from __future__ import annotations

from typing import Any

import typer

_NUMBERS: dict[type, str] = {int: "N", float: "NUMBER"}


def simplify(command: Any, parent: typer.Context | None = None) -> None:
    """Set these types in a command and all its subcommands. Typer's own types are ``<bool>`` and ``<int range>``."""
    context = typer.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            # The name is enough. Newer versions of Typer get the type from this method; others do not have it.
            parameter.display_type_rich = _nothing
        elif parameter.metavar is None:
            parameter.metavar = "" if parameter.is_flag else _NUMBERS.get(type(parameter.default))
    for inner in getattr(command, "commands", {}).values():
        simplify(inner, context)


def _nothing(ctx: object) -> None:
    return None
