"""What a declaration says about a call's arguments: the names that it redacts or excludes, and the resource."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Collection
from typing import Any

from ascend_guard.arguments import Arguments
from ascend_guard.errors import ConfigurationError, ValidationError
from ascend_guard.redaction import scrub

__all__ = ["Describe", "checked_names", "describe", "described", "is_code", "literal"]

Describe = Callable[[dict[str, Any]], str]


def checked_names(option: str, given: object, parameters: Collection[str] | None) -> frozenset[str]:
    """Check and return the names in ``redact`` or ``exclude``.

    Raises:
        ConfigurationError: the value is not a collection of names, or a name is not a parameter.
    """
    given = given or ()
    if isinstance(given, str):
        raise ConfigurationError(f"{option} must be a tuple of parameter names: write {option}=({given!r},).")
    if not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(
            f"{option} must be a tuple of parameter names, such as ('password',), not {given!r}."
        )
    for name in given:
        steps = name.replace("[]", "").split(".")
        if not all(steps) or "*" in steps[1:] or (steps[0] == "*" and len(steps) != 2):
            raise ConfigurationError(
                f"{option} names {name!r}: write a parameter ('card'), a key inside one ('card.number'), or a key "
                f"anywhere ('*.number')."
            )
        if option == "exclude" and len(steps) > 1:
            raise ConfigurationError(
                f"exclude names {name!r}: only whole parameters can be excluded. Use redact for a key inside one."
            )
        if parameters is not None and steps[0] != "*" and steps[0] not in parameters:
            raise ConfigurationError(
                f"{option} names {name!r}, which is not a parameter{_nearest(steps[0], parameters)}"
                + (f" A key inside an argument is written '*.{name}'." if option == "redact" else "")
            )
    return frozenset(given)


def _nearest(name: str, parameters: Collection[str]) -> str:
    from difflib import get_close_matches  # needed for an error only

    near = get_close_matches(name, parameters, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; parameters: {', '.join(sorted(parameters)) or 'none'}."


def described(describe: Describe, named: dict[str, object], arguments: Arguments) -> str:
    """Return the description of one call, without its secrets.

    Raises:
        ValidationError: the callable failed, or did not return text.
    """
    if isinstance(describe, _Template):
        return describe(arguments.plain)
    try:
        text = describe(dict(named))  # a copy: the tool runs with the named arguments
    except Exception as error:
        hint = (
            " It gets the judged arguments by name, without excluded ones."
            if isinstance(error, KeyError)
            else ""
        )
        # Without its cause: the text of the exception may contain secret arguments.
        raise ValidationError(
            f"Blocked: the resource of this call cannot be described: its callable raised "
            f"{type(error).__name__}.{hint} Fix the callable."
        ) from None
    if not isinstance(text, str):
        raise ValidationError(
            f"Blocked: the callable that describes the resource returned {type(text).__name__}; "
            f"it must return a string."
        )
    text = text.encode("utf-8", "backslashreplace").decode()
    return scrub(text, arguments.secrets)


def is_code(describe: Describe | None) -> bool:
    """Return whether a developer's own callable describes the call. Such a callable may change the arguments."""
    return describe is not None and not isinstance(describe, _Template | _Literal)


def literal(
    what: str, given: str | Describe | None, parameters: Collection[str] | None, excluded: Collection[str]
) -> Describe | None:
    """As ``describe``, but strings are taken literally, not as templates."""
    return _Literal(given) if isinstance(given, str) else describe(what, given, parameters, excluded)


def describe(
    what: str, given: str | Describe | None, parameters: Collection[str] | None, excluded: Collection[str]
) -> Describe | None:
    """Return the function that describes a call as declared.

    Args:
        what: the name of the described value, for errors.
        given: the declared value.
        parameters: names that a template may use; None when they are not known.
        excluded: the parameters that are excluded from the decision.

    Raises:
        ConfigurationError: the value is of the wrong type, or a template that names an unknown or an excluded parameter.
    """
    if given is None or (callable(given) and not isinstance(given, str)):
        return given
    if not isinstance(given, str):
        raise ConfigurationError(
            f"{what} must be a string, a template such as 'customers/{{customer_id}}', or a callable."
        )
    return _Template(what, given, parameters, excluded)


class _Literal:
    """The same text for every call."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, named: dict[str, object]) -> str:
        return self._text


class _Template:
    """``customers/{customer_id}``, filled from the redacted arguments."""

    def __init__(
        self, what: str, template: str, parameters: Collection[str] | None, excluded: Collection[str]
    ) -> None:
        self._what, self._complete = what, parameters is not None
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
                    f"The {what} template {template!r} formats {{{name}}}; only plain parameter names are "
                    f"allowed in braces. For more, pass a callable: {what}=lambda args: ..."
                )
            if not name.isidentifier():
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}; only parameter names are allowed in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if name in excluded:
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}, which is excluded from the decision; use "
                    f"parameters that are not excluded."
                )
            if parameters is not None and name not in parameters:
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}, which is not a parameter; "
                    f"parameters: {', '.join(sorted(parameters)) or 'none'}."
                )

    def __call__(self, plain: dict[str, object]) -> str:
        if self._complete:
            for _, name in self._parts:
                if name is not None and name not in plain:
                    raise ValidationError(
                        f"Blocked: the {self._what} of this call cannot be described: its template uses {name!r}, "
                        f"which is not among the arguments that were judged."
                    )
        return "".join(text if name is None else text + _shown(plain.get(name)) for text, name in self._parts)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
