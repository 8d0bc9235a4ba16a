"""What a declaration says of a call's arguments: the names it redacts or excludes, and the resource it is described by."""

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
    """The names in ``redact`` or ``exclude``.

    Raises:
        ConfigurationError: this is no collection of names, or one is no parameter's.
    """
    given = given or ()
    if isinstance(given, str):
        raise ConfigurationError(f"{option} is a tuple of parameter names: write {option}=({given!r},).")
    if not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(
            f"{option} is a tuple of parameter names, such as ('password',), not {given!r}."
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
    from difflib import get_close_matches  # needed on the way to an error only

    near = get_close_matches(name, parameters, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there {'is' if len(parameters) == 1 else 'are'} {', '.join(sorted(parameters)) or 'none'}."


def described(describe: Describe, named: dict[str, object], arguments: Arguments) -> str:
    """The description of one call, without its secrets.

    Raises:
        ValidationError: the callable failed, or returned no text.
    """
    if isinstance(describe, _Template):
        return describe(arguments.plain)
    try:
        text = describe(dict(named))  # a copy: what runs is made of the named arguments
    except Exception as error:
        hint = (
            " It gets the judged arguments by name, without excluded ones."
            if isinstance(error, KeyError)
            else ""
        )
        # Without its cause: what it says about the arguments may be secret.
        raise ValidationError(
            f"Blocked: the resource of this call cannot be told: the callable that describes it raised "
            f"{type(error).__name__}.{hint} Fix the callable."
        ) from None
    if not isinstance(text, str):
        raise ValidationError(
            f"Blocked: the resource of this call came out as {type(text).__name__}; "
            f"the callable that describes it must return a string."
        )
    text = text.encode("utf-8", "backslashreplace").decode()
    return scrub(text, arguments.secrets)


def is_code(describe: Describe | None) -> bool:
    """Whether somebody's own callable describes the call, which may change what it looks at."""
    return describe is not None and not isinstance(describe, _Template | _Literal)


def literal(
    what: str, given: str | Describe | None, parameters: Collection[str] | None, excluded: Collection[str]
) -> Describe | None:
    """As ``describe``, where strings are themselves, not templates."""
    return _Literal(given) if isinstance(given, str) else describe(what, given, parameters, excluded)


def describe(
    what: str, given: str | Describe | None, parameters: Collection[str] | None, excluded: Collection[str]
) -> Describe | None:
    """How to describe a call, as it was declared.

    Args:
        what: the name of what is described, for errors.
        given: as declared.
        parameters: names a template may use; None when they are not known.
        excluded: those of them that are excluded from the decision.

    Raises:
        ConfigurationError: it is of the wrong type, or a template that names no parameter, or an excluded one.
    """
    if given is None or (callable(given) and not isinstance(given, str)):
        return given
    if not isinstance(given, str):
        raise ConfigurationError(
            f"{what} is a string, a template such as 'customers/{{customer_id}}', or a callable."
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
                    f"The {what} template {template!r} formats {{{name}}}; only parameter names can stand in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if not name.isidentifier():
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}; only parameter names can stand in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if name in excluded:
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}, which is excluded from the decision; describe the "
                    f"{what} by what is judged."
                )
            if parameters is not None and name not in parameters:
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}, which is not a parameter; "
                    f"there {'is' if len(parameters) == 1 else 'are'} {', '.join(sorted(parameters)) or 'none'}."
                )

    def __call__(self, plain: dict[str, object]) -> str:
        if self._complete:
            for _, name in self._parts:
                if name is not None and name not in plain:
                    raise ValidationError(
                        f"Blocked: the {self._what} of this call cannot be told: it is described by {name!r}, which is not "
                        f"among the arguments that were judged."
                    )
        return "".join(text if name is None else text + _shown(plain.get(name)) for text, name in self._parts)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
