"""One walk over plain values and objects that writes their canonical encoding and returns their plain view.

The rules of the encoding, which give any two values that a tool could distinguish different encodings:

1. It is text. Every value is a letter for its type and its content, and everything of variable length has its length or
   count in front. It is encoded to UTF-8 once, at the end.
2. Keys of mappings, and names of attributes, are sorted; members of sets are in the order of their encodings.
3. The real order of a mapping is written to a second stream (``Walk.order``), and only where it is not the sorted one.
   The first stream alone recognises the same call; both together protect "unchanged" (promise 2).
4. The order of a set is in neither stream. It depends on the hash seed of the process and on the history of the set, two
   equal sets iterate differently, and no copy keeps it: a tool cannot depend on it.
5. No code of the values' classes runs: none of their comparisons, hashes, iterators, attribute accesses or ``repr``.
"""

from __future__ import annotations

import binascii
import re
import struct
from typing import Any

from ascend_guard.redaction import REDACTED, is_secret_name

from .walk import (
    HIDDEN,
    Handler,
    Path,
    Walk,
    enter,
    is_redacted_here,
    refuse_change,
    refuse_size,
    tagged,
    wrap,
)

__all__ = ["BUILTIN", "hide", "join_order", "read_fields", "read_items", "read_pairs", "visit"]

_RESERVED = frozenset(
    ("$bytes", "$complex", "$decimal", "$float", "$fraction", "$integer", "$map", "$opaque", "$text")
)
_MIN, _MAX = -(1 << 63), (1 << 63) - 1
_double = struct.Struct(">d").pack


def visit(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """Write the encoding of any value and return its plain view."""
    # By address: a metaclass can misreport a class's equality and hash.
    handler = BUILTIN.get(id(type(value)))
    return (handler or walk.other)(walk, value, path, depth)


def _none(walk: Walk, value: None, path: Path, depth: int) -> None:
    walk.out.append("n")


def _bool(walk: Walk, value: bool, path: Path, depth: int) -> bool:
    walk.out.append("t" if value else "f")
    return value


def _int(walk: Walk, value: int, path: Path, depth: int) -> Any:
    if _MIN <= value <= _MAX:
        walk.out.append(f"i{value};")
        return value
    bits = value.bit_length()
    enter(walk, path, depth, bits >> 2)
    # Hexadecimal is exempt from the limit on the digits of decimal integers, and takes linear time.
    walk.out.append(f"I{value:x};")
    # 600 digits are below the lowest limit that sys.set_int_max_str_digits accepts.
    return wrap(walk, path, depth, "$integer", str(value) if bits < 1990 else hex(value))


def _float(walk: Walk, value: float, path: Path, depth: int) -> Any:
    walk.out.append(f"d{_double(value).hex()}")
    if value - value == 0.0:
        return value
    return wrap(walk, path, depth, "$float", repr(value))


def _complex(walk: Walk, value: complex, path: Path, depth: int) -> Any:
    walk.out.append(f"j{_double(value.real).hex()}{_double(value.imag).hex()}")
    return wrap(walk, path, depth, "$complex", repr(value))


def _str(walk: Walk, value: str, path: Path, depth: int) -> Any:
    walk.left -= len(value)
    if walk.left < 0:
        refuse_size(walk, path)
    walk.out.append(f"s{len(value)}:{value}")
    return value if value.isascii() else _text(walk, value, path, depth)


def _text(walk: Walk, value: str, path: Path, depth: int) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return wrap(walk, path, depth, "$text", value.encode("utf-8", "backslashreplace").decode())
    return value


def _bytes(walk: Walk, value: Any, path: Path, depth: int, letter: str = "b") -> Any:
    enter(walk, path, depth, len(value))
    content = binascii.b2a_base64(value, newline=False).decode()
    walk.out.append(tagged(letter, content))
    return {"$bytes": content}


def _bytearray(walk: Walk, value: bytearray, path: Path, depth: int) -> Any:
    walk.mutable = True
    return _bytes(walk, value, path, depth, "B")


def _memoryview(walk: Walk, value: memoryview, path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, 0)
    if value.nbytes > walk.left:
        refuse_size(walk, path)
    walk.out.append(tagged("v", value.format, repr((value.shape, value.strides, value.readonly))))
    return _bytes(walk, value.tobytes(), path, depth)


def _list(walk: Walk, value: list[Any], path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, 3 + len(value))
    view = read_items(walk, "l", value.copy(), path, depth)
    if len(view) != len(value):
        refuse_change(path)
    return view


def _tuple(walk: Walk, value: tuple[Any, ...], path: Path, depth: int) -> Any:
    enter(walk, path, depth, 3 + len(value))
    return read_items(walk, "u", list(value), path, depth)


def read_items(walk: Walk, letter: str, items: list[Any], path: Path, depth: int) -> list[Any]:
    """Encode a list that belongs to the walk and turn it into its plain view, in place."""
    out = walk.out
    out.append(f"{letter}{len(items)}:")
    for index, item in enumerate(items):
        kind = type(item)
        if kind is str and item.isascii():
            walk.left -= len(item)
            if walk.left < 0:
                refuse_size(walk, (path, index))
            out.append(f"s{len(item)}:{item}")
        elif kind is int and _MIN <= item <= _MAX:
            out.append(f"i{item};")
        else:
            items[index] = visit(walk, item, (path, index), depth + 1)
    return items


def _set(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    return _members(walk, "e", [*set.__iter__(value)], path, depth)


def _frozenset(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    return _members(walk, "z", [*frozenset.__iter__(value)], path, depth)


def _members(walk: Walk, letter: str, items: list[Any], path: Path, depth: int) -> Any:
    enter(walk, path, depth, 3 + len(items))
    members: list[tuple[str, str, int, Any]] = []
    outer, order = walk.out, walk.order
    for item in items:
        walk.out, walk.order = [], []
        view = visit(walk, item, (path, ...), depth + 1)
        members.append(("".join(walk.out), join_order(walk.order), len(members), view))
    walk.out, walk.order = outer, order
    members.sort()  # the number decides before views are compared
    outer.append(f"{letter}{len(members)}:")
    outer.extend(member[0] for member in members)
    order.append("".join([tagged("&", str(at), member[1]) for at, member in enumerate(members) if member[1]]))
    return [member[3] for member in members]


def _dict(walk: Walk, value: dict[Any, Any], path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, 3 + 2 * len(value))
    # A snapshot: view and digest come from the same state, even if other threads change it meanwhile.
    content = value.copy()
    view = read_fields(walk, content, path, depth, walk.redact)
    if len(content) != len(value):
        refuse_change(path)
    return view


def read_fields(
    walk: Walk, content: dict[Any, Any], path: Path, depth: int, redact: frozenset[str]
) -> dict[str, Any]:
    """Encode a dict that belongs to the walk and turn it into its plain view, in place if its keys allow that."""
    for name in content:
        if type(name) is not str:
            return read_pairs(walk, [*content.items()], path, depth, redact)
    names = tuple(content)
    shape = _SHAPES.get(names)
    if shape is None:
        shape = _shape(walk, names, path)
    usual, size, order, fields = shape
    left = walk.left - size
    if left < 0:
        refuse_size(walk, path)
    if not usual:
        return read_pairs(walk, [*content.items()], path, depth, redact)
    out = walk.out
    walk.order.append(order)
    out.append(f"{{{len(content)}:")
    for name, head, secret in fields:
        item = content[name]
        kind = type(item)
        if secret or (name in redact and _redacted(walk, redact, path, name)):
            out.append(head)
            walk.left = left
            content[name] = hide(walk, item, (path, name), depth + 1)
            left = walk.left
        elif kind is str and item.isascii():
            left -= len(item)
            if left < 0:
                refuse_size(walk, (path, name))
            out.append(f"{head}s{len(item)}:{item}")
        elif kind is int and _MIN <= item <= _MAX:
            out.append(f"{head}i{item};")
        elif kind is bool:
            out.append(f"{head}t" if item else f"{head}f")
        elif item is None:
            out.append(f"{head}n")
        elif kind is float and item - item == 0.0:
            out.append(f"{head}d{_double(item).hex()}")
        else:
            out.append(head)
            walk.left = left
            content[name] = visit(walk, item, (path, name), depth + 1)
            left = walk.left
    walk.left = left
    return content


_Shape = tuple[bool, int, str, tuple[tuple[str, str, bool], ...]]
_SHAPES: dict[tuple[str, ...], _Shape] = {}


def _shape(walk: Walk, names: tuple[str, ...], path: Path) -> _Shape:
    """Return the properties of a dict that depend only on its names, which are the same for every call of a tool:
    whether they are usual, their share of the limit, their order if it is not the sorted one, and each with its
    encoding and whether it is secret."""
    size = sum(map(len, names)) + len(names)
    if size > walk.left:
        refuse_size(walk, path)
    ordered = sorted(names)
    shape = (
        not any((not name.isascii() or name[:1] == "$") and _unusual(name) for name in names),
        size,
        "" if ordered == [*names] else repr(names),
        tuple((name, f"{len(name)}:{name}", is_secret_name(name)) for name in ordered),
    )
    # Names may come from an agent's data: neither many names nor long ones may fill the memory.
    if size <= 512:
        if len(_SHAPES) >= 1024:
            _SHAPES.clear()
        _SHAPES[names] = shape
    return shape


def _redacted(walk: Walk, redact: frozenset[str], path: Path, name: str) -> bool:
    # A class whose own annotations redact fields has its own set, in which the place does not matter.
    return redact is not walk.redact or is_redacted_here(walk, path, name)


def _unusual(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return name in _RESERVED


def read_pairs(
    walk: Walk, pairs: list[tuple[Any, Any]], path: Path, depth: int, redact: frozenset[str]
) -> dict[str, Any]:
    """Encode a dict with keys that are not all text, or that JSON cannot use as names."""
    enter(walk, path, depth + 2, 0)
    entries = []
    outer, order = walk.out, walk.order
    for index, (key, item) in enumerate(pairs):
        walk.out, walk.order = [], []
        shown = visit(walk, key, (path, ...), depth + 3)
        code = "".join(walk.out)
        name = key if type(key) is str else key.decode("ascii", "replace") if type(key) is bytes else shown
        here = (path, shown if type(shown) in (str, int) else ...)
        walk.out = []
        if type(name) is str and (
            (name in redact and _redacted(walk, redact, path, name)) or is_secret_name(name)
        ):
            view: Any = hide(walk, item, here, depth + 3)
        else:
            view = visit(walk, item, here, depth + 3)
        entries.append((code, "".join(walk.out), join_order(walk.order), index, [shown, view]))
    walk.out, walk.order = outer, order
    ranked = sorted(entries)  # the index decides before views are compared
    ranks = [entry[3] for entry in ranked]
    order.append(
        ("" if ranks == [*range(len(ranks))] else repr(ranks))
        + "".join([tagged("&", str(at), entry[2]) for at, entry in enumerate(ranked) if entry[2]])
    )
    outer.append(f"m{len(entries)}:")
    for code, encoded, *_ in ranked:
        outer.append(code)
        outer.append(encoded)
    return {"$map": [entry[4] for entry in entries]}


def join_order(order: list[str]) -> str:
    """Return the second stream as text; empty when every mapping is in the order of its keys."""
    # One line for each mapping and set, in the order of the first stream, so each line belongs to a known mapping.
    return "\n".join(order) if any(order) else ""


def hide(walk: Walk, value: Any, path: Path, depth: int) -> str:
    """Write the encoding of a secret, keep its text for scrubbing, and return the view that may be shown."""
    if type(value) is str:
        walk.secrets.append(value)
    _collect(visit(walk, value, (path, HIDDEN), depth), walk.secrets)
    return REDACTED


def _collect(view: Any, secrets: list[str]) -> None:
    kind = type(view)
    if kind is str:
        if view is not REDACTED:
            secrets.append(view)
    elif kind is int or kind is float:
        secrets.append(repr(view))
    elif kind is list:
        for item in view:
            _collect(item, secrets)
    elif kind is dict:
        for name, item in view.items():
            if name == "$bytes":
                secrets.append(binascii.a2b_base64(item).decode("utf-8", "backslashreplace"))
            if name not in ("$opaque", "$float"):
                _collect(item, secrets)
            # Keys may be secret as well, but scrubbing mere names would remove most of any message.
            if name not in _RESERVED and not re.fullmatch("[A-Za-z_-]{1,24}", name):
                secrets.append(name)


BUILTIN: dict[int, Handler] = {
    id(type(None)): _none,
    id(bool): _bool,
    id(int): _int,
    id(float): _float,
    id(complex): _complex,
    id(str): _str,
    id(bytes): _bytes,
    id(bytearray): _bytearray,
    id(memoryview): _memoryview,
    id(list): _list,
    id(tuple): _tuple,
    id(dict): _dict,
    id(set): _set,
    id(frozenset): _frozenset,
}
