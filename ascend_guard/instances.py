"""Reads what is none of the builtin types: their subclasses, the standard library's values, enums, records.

Whatever has a class of its own has the class's name in its encoding, so no value passes for another kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ascend_guard.canonical import BUILTIN, hide, read_fields, read_pairs, visit
from ascend_guard.objects import Plan, identity, plan_of, state_of, stored_in_class
from ascend_guard.walk import HIDDEN, Handler, Path, Walk, enter, refuse_size, tagged, wrap

__all__ = ["read_instance"]


def read_instance(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """Write the encoding of an instance of any class and return its plain view."""
    plan = plan_of(type(value))
    enter(walk, path, 0, len(plan.name))
    return _KINDS[plan.kind](walk, plan, value, path, depth)


def _unseen(walk: Walk, value: Any, path: Path) -> None:
    walk.mutable = True
    walk.opaque.append(path)
    walk.out.append(tagged("#", identity(value)))


def _opaque(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.out.append(tagged("o", plan.name))
    _unseen(walk, value, path)
    return wrap(walk, path, depth, "$opaque", plan.name)


def _box(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    walk.out.append(tagged("x", plan.name))
    return hide(walk, state_of(plan, value), path, depth)


def _enum(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    state = state_of(plan, value)
    name = state.get("_name_")
    walk.out.append(tagged("E", plan.name, name if type(name) is str else ""))
    return visit(walk, state["_value_"], path, depth)


def _record(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    state = state_of(plan, value)
    enter(walk, path, depth, len(state))
    walk.out.append(tagged("O", plan.name))
    if plan.hidden:
        _unseen(walk, value, path)
    # pydantic keeps these beside the fields; which fields were set decides what a partial update writes.
    for name in ("__pydantic_extra__", "__pydantic_private__"):
        part = state.get(name, _COMPUTED)
        if part is None:
            walk.out.append("-")
            del state[name]
        elif type(part) is dict and not any(type(each) is not str or each in state for each in part):
            walk.out.append(tagged(f"+{len(part)}:", *sorted(part)))
            state |= part
            del state[name]
    for name in ("__pydantic_fields_set__", "__fields_set__"):
        if name in state:
            visit(walk, state.pop(name), (path, HIDDEN), depth)
    for name in plan.fields:
        if name not in state:
            try:
                state[name] = stored_in_class(plan, name)
            except LookupError:
                pass
            except TypeError:
                state[name] = _COMPUTED
                _unseen(walk, value, path)
    return read_fields(walk, state, path, depth, (walk.redact | plan.redact if plan.redact else walk.redact))


class _Computed:
    """Stands for a field that only code of its own class could tell."""


_COMPUTED = _Computed()


def _base(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    length = _LENGTHS.get(plan.base)
    if length is not None and length(value) > walk.left:
        refuse_size(walk, path)
    walk.out.append(tagged("k", plan.name))
    if not plan.exact:
        walk.mutable |= plan.extensible
        if plan.hidden:
            _unseen(walk, value, path)
        state = state_of(plan, value)
        if state:
            walk.opaque.append(path)
            walk.out.append("+")
            read_fields(walk, state, (path, HIDDEN), depth, walk.redact)
    reduce, handler = _BASES[plan.base]
    content = reduce(value)
    if plan.base == "tuple" and len(plan.fields) == len(content) == len({*plan.fields}) > 0:
        enter(walk, path, depth, len(content))
        walk.out.append(tagged("N", *plan.fields))
        fields = dict(zip(plan.fields, content, strict=True))
        return read_fields(
            walk, fields, path, depth, (walk.redact | plan.redact if plan.redact else walk.redact)
        )
    return handler(walk, content, path, depth)


def _mapping(walk: Walk, pairs: list[tuple[Any, Any]], path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, 2 * len(pairs))
    if any(type(name) is not str for name, _ in pairs):
        return read_pairs(walk, pairs, path, depth, walk.redact)
    return read_fields(walk, dict(pairs), path, depth, walk.redact)


def _datetime(walk: Walk, value: Any, path: Path, depth: int) -> str:
    from datetime import datetime

    text = datetime.isoformat(value)
    walk.out.append(tagged("T", text, str(_get(datetime, "fold", value))))
    _zone(walk, _get(datetime, "tzinfo", value), path)
    return text


def _time(walk: Walk, value: Any, path: Path, depth: int) -> str:
    from datetime import time

    text = time.isoformat(value)
    walk.out.append(tagged("h", text, str(_get(time, "fold", value))))
    _zone(walk, _get(time, "tzinfo", value), path)
    return text


def _zone(walk: Walk, zone: Any, path: Path) -> None:
    """Two zones may agree on an offset today and differ tomorrow, so the zone itself counts."""
    from datetime import timezone

    kind = type(zone)
    named = getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None)
    if zone is None:
        walk.out.append("n")
    elif kind is timezone:
        walk.out.append(tagged("z", repr(zone)))
    elif kind is named and type(zone.key) is str:
        walk.out.append(tagged("Z", zone.key))
    else:
        _unseen(walk, zone, (path, "tzinfo"))


def _date(walk: Walk, value: Any, path: Path, depth: int) -> str:
    from datetime import date

    text = date.isoformat(value)
    walk.out.append(tagged("y", text))
    return text


def _timedelta(walk: Walk, value: Any, path: Path, depth: int) -> float:
    from datetime import timedelta

    parts = (_get(timedelta, name, value) for name in ("days", "seconds", "microseconds"))
    walk.out.append(tagged("D", *map(str, parts)))
    return timedelta.total_seconds(value)


def _decimal(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from decimal import Decimal

    # A byte of it holds two digits.
    if Decimal.__sizeof__(value) - 128 > walk.left:
        refuse_size(walk, path)
    # Whether the exponent's letter is a capital is up to the caller's context.
    text = Decimal.__str__(value).replace("e", "E")
    enter(walk, path, 0, len(text))
    walk.out.append(tagged("q", text))
    if Decimal.is_finite(value):
        number = float(text)
        if Decimal.__eq__(value, Decimal(repr(number))):
            return number
    return wrap(walk, path, depth, "$decimal", text)


def _uuid(walk: Walk, value: Any, path: Path, depth: int) -> str:
    from uuid import UUID

    text = f"{_get(UUID, 'int', value):032x}"
    walk.out.append(tagged("U", text))
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _path(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from pathlib import PurePath

    text = PurePath.__str__(value)
    return BUILTIN[id(str)](walk, text, path, depth)


def _get(owner: type, name: str, value: Any) -> Any:
    return owner.__dict__[name].__get__(value)


def _same(value: Any) -> Any:
    return value


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    # Not dict.copy, which asks an overridden __iter__, and no new dict, which would hash keys of any class.
    return [*dict.items(value)]


_ALL = slice(None)
_KINDS: dict[str, Callable[[Walk, Plan, Any, Path, int], Any]] = {
    "base": _base,
    "box": _box,
    "enum": _enum,
    "opaque": _opaque,
    "record": _record,
}
_BASES: dict[str, tuple[Callable[[Any], Any], Handler]] = {
    "str": (str.__str__, BUILTIN[id(str)]),
    "int": (int.__int__, BUILTIN[id(int)]),
    "float": (float.__float__, BUILTIN[id(float)]),
    "complex": (complex.__complex__, BUILTIN[id(complex)]),
    "bytes": (lambda value: bytes.__getitem__(value, _ALL), BUILTIN[id(bytes)]),
    "bytearray": (lambda value: bytearray.__getitem__(value, _ALL), BUILTIN[id(bytearray)]),
    "list": (list.copy, BUILTIN[id(list)]),
    "tuple": (lambda value: tuple(tuple.__iter__(value)), BUILTIN[id(tuple)]),
    "dict": (_pairs, _mapping),
    "set": (_same, BUILTIN[id(set)]),
    "frozenset": (_same, BUILTIN[id(frozenset)]),
    "collections.OrderedDict": (_pairs, _mapping),
    "datetime.datetime": (_same, _datetime),
    "datetime.date": (_same, _date),
    "datetime.time": (_same, _time),
    "datetime.timedelta": (_same, _timedelta),
    "decimal.Decimal": (_same, _decimal),
    "uuid.UUID": (_same, _uuid),
}
_BASES.update(
    (f"pathlib.{name}", (_same, _path))
    for name in ("PurePath", "PurePosixPath", "PureWindowsPath", "Path", "PosixPath", "WindowsPath")
)
_LENGTHS: dict[str, Callable[[Any], int]] = {
    kind.__name__: kind.__len__ for kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset)
}
