"""What ``--help`` shows beside an option: what to write there, in words, and nothing for what takes no value."""

from __future__ import annotations

from typing import Any

import typer

_NUMBERS: dict[type, str] = {int: "N", float: "NUMBER"}


def simplify(command: Any, parent: typer.Context | None = None) -> None:
    """Put that into a command, and into all commands inside it. Typer's own words are ``<bool>`` and ``<int range>``."""
    context = typer.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            # Its name says it. Typer's newer versions ask this method for the type; others have none of it.
            parameter.display_type_rich = _nothing
        elif parameter.metavar is None:
            parameter.metavar = "" if parameter.is_flag else _NUMBERS.get(type(parameter.default))
    for inner in getattr(command, "commands", {}).values():
        simplify(inner, context)


def _nothing(ctx: object) -> None:
    return None
