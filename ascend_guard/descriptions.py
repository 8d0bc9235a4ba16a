"""What a call acts on, in words: strings, templates such as ``customers/{customer_id}``, or callables on the arguments."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Collection
from typing import Any

from ascend_guard.arguments import Arguments
from ascend_guard.errors import ConfigurationError, ValidationError
from ascend_guard.redaction import scrub

__all__ = ["Describe", "described", "description", "literal"]

Describe = Callable[[dict[str, Any]], str]


def literal(what: str, given: str | Describe | None, parameters: Collection[str] | None) -> Describe | None:
    """The same where strings are themselves, not templates."""
    return (lambda _: given) if isinstance(given, str) else description(what, given, parameters)


def description(
    what: str, given: str | Describe | None, parameters: Collection[str] | None
) -> Describe | None:
    """How to describe a call, as it was declared.

    Args:
        what: the name of what is described, for errors.
        given: as declared.
        parameters: names a template may use; None when they are not known.

    Raises:
        ConfigurationError: it is of the wrong type, or a template that names no parameter.
    """
    if given is None or (callable(given) and not isinstance(given, str)):
        return given
    if not isinstance(given, str):
        raise ConfigurationError(
            f"{what} is a string, a template such as 'customers/{{customer_id}}', or a callable."
        )
    return _Template(what, given, parameters)


class _Template:
    """``customers/{customer_id}``, filled from the redacted arguments."""

    def __init__(self, what: str, template: str, parameters: Collection[str] | None) -> None:
        try:
            parsed = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ConfigurationError(f"The {what} template {template!r} is malformed: {error}.") from None
        self._parts = [(text, name) for text, name, _, _ in parsed]
        for _, name, form, conversion in parsed:
            if name is None:
                continue
            if form or conversion:
                raise ConfigurationError(
                    f"The {what} template {template!r} formats {{{name}}}; only parameter names can stand in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if not name.isidentifier():
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}; only parameter names can stand in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if parameters is not None and name not in parameters:
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}, which is no parameter; "
                    f"there {'is' if len(parameters) == 1 else 'are'} {', '.join(sorted(parameters)) or 'none'}."
                )

    def __call__(self, plain: dict[str, Any]) -> str:
        return "".join(text if name is None else text + _shown(plain.get(name)) for text, name in self._parts)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def described(describe: Describe, named: dict[str, Any], arguments: Arguments) -> str:
    """The description of one call, without its secrets.

    Raises:
        ValidationError: the callable failed, or returned no text.
    """
    if isinstance(describe, _Template):
        return describe(arguments.plain)
    try:
        text = describe(named)
    except Exception as error:
        # Without its cause: what it says about the arguments may be secret.
        raise ValidationError(
            f"Blocked: the resource of this call cannot be told: the callable that describes it raised "
            f"{type(error).__name__}. Repair the callable."
        ) from None
    if not isinstance(text, str):
        raise ValidationError(
            f"Blocked: the resource of this call came out as {type(text).__name__}; "
            f"the callable that describes it must return a string."
        )
    text = text.encode("utf-8", "backslashreplace").decode()
    return scrub(text, arguments.secrets)
