"""Read the standard library's values, and numpy's: dates, numbers, containers, buffers, exceptions.

Each reader gets the content with the type's own C function or descriptor, so a subclass cannot change it, and writes
everything of it that a tool could see. Values that reading would change, such as generators, are not read. Modules are
imported only to read an instance, whose existence shows that they are loaded.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from .canonical import BUILTIN, read_fields, read_items, read_pairs, visit
from .objects import identity
from .walk import Handler, Path, Walk, enter, refuse_change, refuse_size, tagged, wrap

__all__ = ["LENGTHS", "STANDARD", "unseen"]


def unseen(walk: Walk, value: Any, path: Path) -> None:
    """Mark a value that cannot be read, or not in full, as opaque; only its identity counts."""
    walk.mutable = True
    walk.opaque.append(path)
    walk.out.append(tagged("#", identity(value)))


def _mapping(walk: Walk, pairs: list[tuple[Any, Any]], path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, 2 * len(pairs))
    if any(type(name) is not str for name, _ in pairs):
        return read_pairs(walk, pairs, path, depth, walk.redact)
    return read_fields(walk, dict(pairs), path, depth, walk.redact)


def _ordered(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """An ``OrderedDict`` has its own order, which differs from that of the underlying dict."""
    from collections import OrderedDict

    pairs = [*dict.items(value)]
    # Its iterator looks up each key, which runs the code of keys with their own hash.
    if all(_plain_key(name) for name, _ in pairs):
        content = dict(pairs)
        try:
            pairs = [(name, content.pop(name)) for name in OrderedDict.__iter__(value)]
        except (KeyError, RuntimeError):
            refuse_change(path)
        # Items that dict.__setitem__ added can be found by name, although no iteration returns them.
        pairs += content.items()
    else:
        unseen(walk, value, path)
    return _mapping(walk, pairs, path, depth)


def _plain_key(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(_plain_key, key))
    return any(type(key) is kind for kind in (str, int, bool, float, bytes, type(None)))


def _defaultdict(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from collections import defaultdict

    factory = _get(defaultdict, "default_factory", value)
    if id(factory) in BUILTIN:
        walk.out.append(tagged("f", factory.__name__))
    else:
        visit(walk, factory, path, depth + 1)
    return _mapping(walk, [*dict.items(value)], path, depth)


def _deque(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from collections import deque

    walk.mutable = True
    enter(walk, path, depth, 3 + deque.__len__(value))
    walk.out.append(tagged("Q", str(_get(deque, "maxlen", value))))
    try:
        items = [*deque.__iter__(value)]
    except RuntimeError:
        refuse_change(path)
    return read_items(walk, "l", items, path, depth)


def _array(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from array import array

    walk.mutable = True
    size = array.__len__(value) * _get(array, "itemsize", value)
    if size > walk.left:
        refuse_size(walk, path)
    content = array.tobytes(value)
    walk.out.append(tagged("A", _get(array, "typecode", value)))
    BUILTIN[id(bytes)](walk, content, path, depth)
    return _shown(walk, array.tolist(value), path, depth)


def _shown(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """Return the plain view of a value whose content is already written."""
    out, order = walk.out, walk.order
    walk.out, walk.order = [], []
    view = visit(walk, value, path, depth)
    walk.out, walk.order = out, order
    return view


def _text_buffer(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from io import StringIO

    return _buffer(walk, StringIO, value, path, depth)


def _byte_buffer(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from io import BytesIO

    if BytesIO.__sizeof__(value) >> 1 > walk.left:
        refuse_size(walk, path)
    return _buffer(walk, BytesIO, value, path, depth)


def _buffer(walk: Walk, kind: Any, value: Any, path: Path, depth: int) -> Any:
    """Read a file in memory: content, position, newlines and attributes, as ``pickle`` gets them. The position stays."""
    walk.mutable = True
    if _get(kind, "closed", value):
        walk.out.append(tagged("J", "closed"))
        return None
    # By name: typeshed does not declare it, and an attribute of the instance could hide it.
    content, *others, attributes = kind.__dict__["__getstate__"](value)
    walk.out.append(tagged("J", *map(repr, others)))
    if attributes:
        walk.opaque.append(path)
        read_fields(walk, dict(attributes), path, depth, walk.redact)
    return visit(walk, content, path, depth)


def _members(*names: str) -> Handler:
    """Return a reader for a type that consists of a few read-only members."""

    def read(walk: Walk, value: Any, path: Path, depth: int) -> Any:
        enter(walk, path, depth, len(names))
        owner = next(
            kind for kind in type.__dict__["__mro__"].__get__(type(value)) if names[0] in _space(kind)
        )
        fields = {name: _get(owner, name, value) for name in names}
        return read_fields(walk, fields, path, depth, walk.redact)

    return read


def _partial(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from functools import partial

    walk.mutable = True
    fields = {name: _get(partial, name, value) for name in ("func", "args", "keywords")}
    attributes = _get(partial, "__dict__", value)
    if attributes:
        fields["__dict__"] = attributes
    enter(walk, path, depth, len(fields))
    return read_fields(walk, fields, path, depth, walk.redact)


def _proxy(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """Read a ``MappingProxyType``. Its methods call the mapping behind it, whose class may have its own code."""
    enter(walk, path, depth, 1)
    return visit(walk, _behind(value), path, depth + 1)


def _view(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """Read ``dict.keys()``, ``values()`` or ``items()``. They also show later items of the dict, so the dict is read."""
    enter(walk, path, depth, 1)
    shown = visit(walk, _behind(value), path, depth + 1)
    pairs = shown["$map"] if shown.keys() == {"$map"} else [[*pair] for pair in shown.items()]
    what = type(value).__name__.rpartition("_")[2]
    return pairs if what == "items" else [pair[what == "values"] for pair in pairs]


def _behind(value: Any) -> Any:
    # A function of the garbage collector: it runs no code of the mapping's class.
    (content,) = gc.get_referents(value)
    return content


def _fraction(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from fractions import Fraction

    walk.mutable = True
    above, below = (_get(Fraction, name, value) for name in ("_numerator", "_denominator"))
    for part in (above, below):
        visit(walk, part, path, depth)
    if type(above) is int is type(below) and below > 0 and max(above.bit_length(), below.bit_length()) < 1000:
        number = above / below
        if number.as_integer_ratio() == (above, below):
            return number
        return wrap(walk, path, depth, "$fraction", f"{above}/{below}")
    text = f"{above:#x}/{below:#x}" if type(above) is int is type(below) else "malformed"
    return wrap(walk, path, depth, "$fraction", text)


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
    """Encode the zone itself: two zones may have the same offset today and different ones tomorrow."""
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
        unseen(walk, zone, (path, "tzinfo"))


def _zone_itself(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    from datetime import timezone

    _zone(walk, value, path)
    name = timezone.__str__(value) if type(value) is timezone else _get(type(value), "key", value)
    return _shown(walk, name, path, depth)


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

    # One byte of it holds two digits.
    if Decimal.__sizeof__(value) - 128 > walk.left:
        refuse_size(walk, path)
    # The caller's context determines whether the exponent's letter is a capital.
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


def _ndarray(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    kind: Any = sys.modules["numpy"].__dict__["ndarray"]
    dtype = _get(kind, "dtype", value)
    if type(value) is not kind or dtype.hasobject:
        unseen(walk, value, path)
        return wrap(walk, path, depth, "$opaque", "numpy.ndarray")
    walk.mutable = True
    if _get(kind, "nbytes", value) > walk.left:
        refuse_size(walk, path)
    walk.out.append(tagged("a", repr(dtype.descr), repr(_get(kind, "shape", value))))
    content = kind.tobytes(value)
    view = BUILTIN[id(bytes)](walk, content, path, depth)
    # Numbers and text as lists, which policies can compare; dates and structures as their bytes.
    return _shown(walk, kind.tolist(value), path, depth) if dtype.kind in "biufSU" else view


def _number(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    kind: Any = sys.modules["numpy"].__dict__["generic"]
    view = BUILTIN[id(bytes)](walk, kind.tobytes(value), path, depth)
    content = kind.item(value)
    if issubclass(type(content), kind):  # a long double has no Python type
        return view
    return _shown(walk, content, path, depth)


def _get(owner: Any, name: str, value: Any) -> Any:
    return owner.__dict__[name].__get__(value)


def _space(kind: type) -> Any:
    return type.__dict__["__dict__"].__get__(kind)


def _same(value: Any) -> Any:
    return value


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    # Not dict.copy, which calls an overridden __iter__, and no new dict, which would hash keys of any class.
    return [*dict.items(value)]


_ALL = slice(None)
STANDARD: dict[str, tuple[Callable[[Any], Any], Handler]] = {
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
}
"""By the name of a value's type or base type: the function that gets its content, and the function that reads it."""

STANDARD.update(
    (name, (_same, handler))
    for name, handler in {
        "array.array": _array,
        "collections.OrderedDict": _ordered,
        "collections.defaultdict": _defaultdict,
        "collections.deque": _deque,
        "datetime.date": _date,
        "datetime.datetime": _datetime,
        "datetime.time": _time,
        "datetime.timedelta": _timedelta,
        "datetime.timezone": _zone_itself,
        "decimal.Decimal": _decimal,
        "fractions.Fraction": _fraction,
        "functools.partial": _partial,
        "io.BytesIO": _byte_buffer,
        "io.StringIO": _text_buffer,
        "numpy.generic": _number,
        "numpy.ndarray": _ndarray,
        "range": _members("start", "stop", "step"),
        "re.Pattern": _members("pattern", "flags"),
        "slice": _members("start", "stop", "step"),
        "types.MappingProxyType": _proxy,
        "uuid.UUID": _uuid,
        "zoneinfo.ZoneInfo": _zone_itself,
    }.items()
)
STANDARD.update(
    (f"pathlib.{name}", (_same, _path))
    for name in ("PurePath", "PurePosixPath", "PureWindowsPath", "Path", "PosixPath", "WindowsPath")
)
STANDARD.update((f"dict_{name}", (_same, _view)) for name in ("keys", "values", "items"))
LENGTHS: dict[str, Callable[[Any], int]] = {
    kind.__name__: kind.__len__ for kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset)
}
"""The function for the length of each builtin type, which is checked before anything is copied."""
