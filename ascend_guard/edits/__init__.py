"""Convert an approver's values to the types of the tool's parameters.

Approvers write JSON, tools take Python values. Rules, each for promise 2 (what was approved is what runs):

1. A value that an approver left unchanged stays the caller's own object, at every depth.
2. If a type is declared, the value is converted to that type, strictly: ``"5"`` is not a number, ``true`` is not a number,
   ``1.0`` is not an integer. If the caller passed an instance of a derived class, it is converted to that class.
3. If no type is declared, the type of the caller's own value decides.
4. A value that cannot be converted is refused with the expected type; the call does not run.
5. Nothing is added, and nothing is lost: a record needs every field that was shown, and accepts no other; a value
   that holds more than is shown cannot be edited.
"""

from __future__ import annotations

import collections
import enum
import types
import typing
from collections import abc
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Literal

from ascend_guard.arguments import normalise
from ascend_guard.callables.type_hints import JSON, UNDECLARED, Hint, declared_types
from ascend_guard.errors import ValidationError

from .conversions import LEAVES, Unfit, path, require, unfit
from .places import aligned, members, same, shown_of
from .record_types import NONE, fields_of, rebuilt

__all__ = ["converted"]

_CONTAINERS = (
    *(tuple, list, set, frozenset, dict),
    *(collections.OrderedDict, collections.defaultdict, collections.Counter, collections.deque),
)
_TAGS = frozenset(("$bytes", "$decimal", "$float", "$integer", "$map"))


def converted(
    values: Mapping[str, Any], given: Mapping[str, Any], plain: Mapping[str, Any], hint: Hint
) -> dict[str, Any]:
    """Return an approver's values as the tool's parameters accept them.

    Args:
        values: the approver's values, plain JSON data by argument name.
        given: the caller's own arguments.
        plain: what the approver saw of them.
        hint: returns the declared type of a parameter.

    Raises:
        ValidationError: a value cannot be converted, or the argument is unknown.
    """
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in given:
            raise _refused(name, "an argument of this call")
        try:
            made[name] = _convert(value, hint(name), given[name], plain.get(name, NONE), name)
        except Unfit as unfit:
            raise _refused(unfit.where, unfit.expected) from None
        except (
            Exception
        ) as error:  # constructors and validators are the tool's own code, and may quote the value
            raise _refused(name, f"what its type accepts ({type(error).__name__})") from None
    return made


def _refused(where: str, expected: str) -> ValidationError:
    return ValidationError(
        f"Blocked: an approver's value does not match the tool: {where[:200]} must be {expected}. The tool did "
        f"not run. Make the call "
        f"again; it needs a new decision.",
        reason=f"the edited {where[:200]} is not {expected}",
    )


def _convert(value: Any, hint: Any, given: Any, shown: Any, where: str) -> Any:
    """Convert one value by its declared type; ``given`` and ``shown`` are the caller's value and its view."""
    if shown is not NONE and same(value, shown):
        return given
    if any(hint is each for each in (UNDECLARED, JSON, Any, object)) or isinstance(
        hint, typing.TypeVar | str | typing.ForwardRef
    ):
        return _by_value(value, given, shown, where, hint is JSON)
    if hint is None or hint is type(None):
        return value if value is None else unfit(where, "null")
    alias = getattr(hint, "__value__", None)  # ``type X = ...``
    if alias is not None and type(hint).__name__ == "TypeAliasType":
        return _convert(value, alias, given, shown, where)
    if hasattr(hint, "__supertype__"):
        return _convert(value, hint.__supertype__, given, shown, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        made = _convert(value, arguments[0], given, shown, where)
        for constraint in arguments[1:]:
            require(made, constraint, where)
        return made
    if origin in (typing.Required, typing.NotRequired, typing.Final, typing.ClassVar):
        return _convert(value, arguments[0], given, shown, where)
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, arguments, given, shown, where)
    if origin is Literal:
        return _literal(value, arguments, where)
    kind = origin or hint
    if not isinstance(kind, type):
        return _by_value(value, given, shown, where, False)
    return _by_class(value, _own_kind(kind, given), arguments, given, shown, where)


def _own_kind(declared: type, given: Any) -> type:
    """Return the caller's own class if it derives from the declared one; for containers this is checked when they are
    built."""
    kind = type(given)
    if (
        given is NONE
        or kind is declared
        or kind is bool
        or kind in _CONTAINERS
        or not isinstance(given, declared)
    ):
        return declared
    return kind


def _by_class(value: Any, kind: type, arguments: tuple[Any, ...], given: Any, shown: Any, where: str) -> Any:
    for base, convert in LEAVES.items():
        if kind is base:
            return convert(value, given, where)
    if issubclass(kind, enum.Enum):
        return _member(value, kind, where)
    if typing.is_typeddict(kind):
        return _typed_dict(value, kind, given, shown, where)
    fields = fields_of(kind)
    if fields is not None:
        return _record(value, kind, fields, given, shown, where)
    if kind in _CONTAINERS or _is_abstract_container(kind):
        return _container(value, kind, arguments, given, shown, where)
    if issubclass(kind, PurePath):
        return path(value, kind, given, where)
    for base in (str, int, float, bytes, Decimal, tuple, list, set, frozenset, dict):
        if issubclass(kind, base):  # a derived class of a value type
            return _own_class(_by_class(value, base, arguments, given, shown, where), kind, given, where)
    if type(given) is not kind and isinstance(given, kind):  # an abstract class or a protocol
        return _by_value(value, given, shown, where, False)
    return unfit(where, f"left as it is: values of {_name(kind)} cannot be written as JSON")


def _own_class(value: Any, kind: Any, given: Any, where: str) -> Any:
    if type(given) is kind and normalise({"value": given}, key=b"").opaque:
        unfit(where, f"left as it is: this {_name(kind)} holds more than is shown")
    made = kind(value)
    if type(made) is not kind or not same(shown_of(made), shown_of(value)):
        unfit(where, f"a value that {_name(kind)} takes as it is")
    return made


# --- by the caller's own value ---------------------------------------------------------------------------------------


def _by_value(value: Any, given: Any, shown: Any, where: str, json: bool) -> Any:
    """Convert one value without a declared type."""
    if given is NONE:
        return _plain(value, where)
    kind = type(given)
    if json and kind in (int, float) and type(value) in (int, float):
        return value
    if kind is list or kind is tuple:
        items = _list(value, where)
        made = [
            _by_value_or_same(item, own, was, f"{where}[{index}]", json)
            for index, (item, own, was) in enumerate(aligned(items, list(given), shown, where, False))
        ]
        return made if kind is list else tuple(made)
    if kind is dict or kind is collections.OrderedDict:
        content = _object(value, where)
        was = shown if isinstance(shown, dict) else {}
        return kind(
            (
                name,
                _by_value_or_same(item, given.get(name, NONE), was.get(name, NONE), f"{where}.{name}", json),
            )
            for name, item in content.items()
        )
    if kind is set or kind is frozenset:
        return kind(
            _by_value_or_same(item, own, was, f"{where}[{index}]", json)
            for index, (item, own, was) in enumerate(members(_list(value, where), given, where, False))
        )
    return _by_class(value, kind, (), given, shown, where)


def _by_value_or_same(value: Any, given: Any, shown: Any, where: str, json: bool) -> Any:
    return _convert(value, JSON if json else UNDECLARED, given, shown, where)


def _plain(value: Any, where: str) -> Any:
    """Return a value of unknown type as plain JSON data."""
    if isinstance(value, list):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict):
        if any(name.startswith("$") for name in value):
            unfit(where, "plain JSON")
        return {name: _plain(item, where) for name, item in value.items()}
    return value


# --- several possible types -----------------------------------------------------------------------------------------


def _one_of(value: Any, choices: tuple[Any, ...], given: Any, shown: Any, where: str) -> Any:
    """Try the caller's own type first, so that a Decimal stays a Decimal if a float is allowed as well."""
    if value is None and any(each in (None, type(None)) for each in choices):
        return None
    ordered = sorted(choices, key=lambda each: -_fits(given, each))
    for member in ordered:
        if member in (None, type(None)):
            continue
        try:
            fits = _fits(given, member) > 0
            return _convert(value, member, given if fits else NONE, shown if fits else NONE, where)
        except (Unfit, ValueError, TypeError):
            continue
    return unfit(where, " or ".join(map(_name, choices)))


def _fits(given: Any, hint: Any) -> int:
    """Return how well the caller's own value matches: 2 for the exact type, 1 for a derived class, 0 for neither."""
    if given is NONE:
        return 0
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _fits(given, typing.get_args(hint)[0])
    if origin is Literal:
        return 2 * any(type(each) is type(given) and each == given for each in typing.get_args(hint))
    kind = origin or hint
    if typing.is_typeddict(kind):
        return 2 * (type(given) is dict)
    if not isinstance(kind, type):
        return 0
    return 2 if type(given) is kind else int(_own_kind(kind, given) is not kind)


def _literal(value: Any, allowed: tuple[Any, ...], where: str) -> Any:
    for each in allowed:
        if isinstance(each, enum.Enum):
            if same(value, shown_of(each.value)) or value == each.name:
                return each
        elif type(each) is type(value) and each == value:
            return each
    return unfit(where, "one of " + ", ".join(repr(each) for each in allowed))


def _member(value: Any, kind: type[enum.Enum], where: str) -> enum.Enum:
    for member in kind:
        if same(value, shown_of(member.value)):
            return member
    if isinstance(value, str) and value in kind.__members__:
        return kind.__members__[value]
    if issubclass(kind, enum.Flag) and type(value) is int:
        return kind(value)
    return unfit(where, "one of " + ", ".join(kind.__members__))


# --- containers and records ------------------------------------------------------------------------------------------


def _is_abstract_container(kind: type) -> bool:
    return kind.__module__ == "collections.abc" and any(
        isinstance(each, kind) for each in (list[Any](), set[Any](), dict[str, Any]())
    )


def _container(value: Any, kind: type, arguments: tuple[Any, ...], given: Any, shown: Any, where: str) -> Any:
    own: Any = given if isinstance(given, kind) else NONE
    if isinstance(own, str | bytes | bytearray) or (
        not arguments and type(own) in (list, tuple, set, frozenset)
    ):
        return _by_value(value, own, shown, where, False)
    if issubclass(kind, abc.Mapping) or (type(own) is dict and not issubclass(kind, abc.Sequence | abc.Set)):
        return _built(_entries(value, kind, arguments, own, shown, where), kind, own, dict)
    items = _list(value, where)
    fixed = kind is tuple and bool(arguments) and arguments[-1] is not Ellipsis
    if fixed and len(items) != len(arguments):
        unfit(where, f"a list of {len(arguments)}")
    wanted = arguments if fixed else (arguments[0] if arguments else UNDECLARED,) * len(items)
    unordered, held = issubclass(kind, abc.Set), [] if own is NONE else list(own)
    beside = (
        members(items, held, where, bool(arguments))
        if unordered
        else aligned(items, held, shown, where, bool(arguments))
    )
    made = [
        _convert(item, wanted[index], like, was, f"{where}[{index}]")
        for index, (item, like, was) in enumerate(beside)
    ]
    return _built(made, kind, own, set if unordered else list)


def _entries(
    value: Any, kind: type, arguments: tuple[Any, ...], own: Any, shown: Any, where: str
) -> dict[Any, Any]:
    content, was = _object(value, where), shown if isinstance(shown, dict) else {}
    keys, items = arguments if len(arguments) == 2 else (str, UNDECLARED)
    if kind is collections.Counter:
        keys, items = arguments[0] if arguments else str, int
    held = {} if own is NONE else own
    return {
        _convert(name, keys, NONE, NONE, f"{where} (a key)"): _convert(
            item, items, held.get(name, NONE), was.get(name, NONE), f"{where}.{name}"
        )
        for name, item in content.items()
    }


def _built(content: Any, kind: Any, own: Any, default: type) -> Any:
    """Build the container: of the caller's class if that is known, of a builtin class for an abstract one."""
    if type(own) in _CONTAINERS:
        kind = type(own)
    if kind is collections.defaultdict:
        return kind(None if own is NONE else own.default_factory, content)
    if kind is collections.deque:
        return kind(content, None if own is NONE else own.maxlen)
    return kind(content) if kind in _CONTAINERS else default(content)


def _record(value: Any, kind: type, fields: dict[str, Any], given: Any, shown: Any, where: str) -> Any:
    content = _object(value, where)
    if isinstance(shown, dict) and type(given) is kind and shown.keys() != fields.keys():
        unfit(where, f"left as it is: this {_name(kind)} holds more than its declared fields")
    if content.keys() != fields.keys():
        unfit(where, f"an object with the fields {', '.join(fields)}")
    own = given if type(given) is kind else NONE
    was = shown if own is not NONE and isinstance(shown, dict) else {}
    made = {
        name: _convert(
            content[name],
            hint,
            NONE if own is NONE else getattr(own, name, NONE),
            was.get(name, NONE),
            f"{where}.{name}",
        )
        for name, hint in fields.items()
    }
    changed = {
        name: item for name, item in made.items() if name not in was or not same(content[name], was[name])
    }
    result = rebuilt(kind, made, changed, own)
    if type(result) is not kind:
        unfit(where, _name(kind))
    for name, item in made.items():
        if not same(shown_of(getattr(result, name)), shown_of(item)):
            unfit(f"{where}.{name}", f"a value that {_name(kind)} takes as it is")
    return result


def _typed_dict(value: Any, kind: Any, given: Any, shown: Any, where: str) -> dict[str, Any]:
    content = _object(value, where)
    hints = declared_types(kind)
    if (
        not content.keys() <= kind.__required_keys__ | kind.__optional_keys__
        or not content.keys() >= kind.__required_keys__
    ):
        unfit(where, f"an object with the fields {', '.join(hints)}")
    own = given if type(given) is dict else {}
    was = shown if isinstance(shown, dict) else {}
    return {
        name: _convert(
            item, hints.get(name, UNDECLARED), own.get(name, NONE), was.get(name, NONE), f"{where}.{name}"
        )
        for name, item in content.items()
    }


# --- small things ----------------------------------------------------------------------------------------------------


def _list(value: Any, where: str) -> list[Any]:
    return value if type(value) is list else unfit(where, "a list")


def _object(value: Any, where: str) -> dict[str, Any]:
    if type(value) is not dict or not _TAGS.isdisjoint(value):
        unfit(where, "an object")
    return typing.cast(dict[str, Any], value)


def _name(hint: Any) -> str:
    return "null" if hint in (None, type(None)) else getattr(hint, "__name__", None) or str(hint)
