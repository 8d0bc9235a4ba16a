"""The important arguments of a call on one line, so that an approver can compare calls.

1. Values come from the record of the submission, which is redacted before it is stored (promise 8). Values that an approver
   edited replace the submitted ones (promise 2).
2. There are four kinds of values: amounts, by their names (``amount``, ``total``, ``quantity``, ...); targets, by their
   names (``to``, ``path``, ``customer_id``, ...); values that differ between the calls shown together; and all others.
   One value of each of the first three kinds comes before a second one of any kind, so many of one kind do not hide
   another kind.
3. No value can look like something else: text is in quotes with its own quotes escaped, and so are terminal controls.
4. Every cut is visible. Text is cut in its middle, with ``…`` outside the quotes. A number is shown whole or as its
   number of digits, never as its first digits. Values that do not fit are counted: ``+3``.
5. The work is limited, whatever an agent sends: arguments are read breadth first, up to ``_MOST_READ`` values, and the
   first ``_MOST_KEPT`` of each kind are kept.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from ascend_guard.cli.output import safe
from ascend_guard.redaction import REDACTED

if TYPE_CHECKING:
    from rich.text import Text

AMOUNT, TARGET, OTHER, HIDDEN = range(4)

_MOST_READ = 2_000
_MOST_KEPT = 200
_MOST_TEXT = 160
_MOST_DIGITS = 32
_CUTS = ((100, 100), (60, 24), (36, 14), (24, 14), (14, 14))
_MOST_TRIED = 16
_LEAST = 4
_LONGEST_NAME = 28
_WIDEST = 400

_AMOUNTS = """
amount amounts total subtotal sum price cost fee value balance quantity qty count limit number units shares
percent rate credit debit payment refund discount salary budget cents pence usd eur gbp chf jpy cny inr btc
eth size max hours days rows records
"""
_TARGETS = """
to cc bcc recipient recipients receiver payee beneficiary account accounts iban bic wallet customer
customers user users username email emails mail phone address addresses url uri endpoint host hostname
domain ip path paths file files filename folder directory destination dest target targets order invoice id
ids key name table database db schema bucket repository repo branch cluster namespace service resource
channel group role query sql command cmd statement
"""
_KINDS = dict.fromkeys(_AMOUNTS.split(), AMOUNT) | dict.fromkeys(_TARGETS.split(), TARGET)
_NAMING = frozenset(("id", "ids", "name"))
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_BARE = re.compile(r"[\w$.\[\]-]{1,60}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|nan|Infinity|NaN)")
_NUMBERS = ("$decimal", "$integer", "$float")


class Leaf(NamedTuple):
    """One value inside a call's arguments.

    Args:
        path: its place: ``payment.amount``, ``to[1]``.
        value: the value, text no longer than the longest that is shown; for cut text, its beginning and its end.
        kind: ``AMOUNT``, ``TARGET``, ``OTHER``, or ``HIDDEN`` for a redacted or unreadable value.
        cut: for text, how many characters of ``value`` precede the removed part; 0 for whole text.
    """

    path: str
    value: str | float | bool | None
    kind: int
    cut: int = 0


class Essentials(NamedTuple):
    """The stored part of a call's arguments for a list. Limited in size for any call.

    Args:
        leaves: the values that may be shown, in the call's order.
        more: how many other values there are.
    """

    leaves: tuple[Leaf, ...]
    more: int


def essentials(arguments: Mapping[str, object]) -> Essentials:
    """Return what a list shows of these arguments.

    Args:
        arguments: as recorded: JSON, redacted.
    """
    found: list[Leaf] = []
    waiting: deque[tuple[str, int, object]] = deque()
    read = 0
    waiting.extend((name, _kind(name, OTHER), value) for name, value in arguments.items())
    while waiting and read < _MOST_READ:
        path, kind, value = waiting.popleft()
        read += 1
        tagged = _tagged(value)
        if tagged is not None:
            found.append(_leaf(path, kind, *tagged))
        elif isinstance(value, dict) and value:
            waiting.extend((f"{path}.{name}", _kind(name, kind), inner) for name, inner in value.items())
        elif isinstance(value, list) and value:
            waiting.extend((f"{path}[{number}]", kind, inner) for number, inner in enumerate(value))
        elif value is None or isinstance(value, str | int | float):
            found.append(_leaf(path, kind, value, ""))
        else:
            found.append(Leaf(path, "{}" if isinstance(value, dict) else "[]", HIDDEN))
    kept: list[Leaf] = []
    counts = [0] * (HIDDEN + 1)
    for leaf in found:
        counts[leaf.kind] += 1
        if counts[leaf.kind] <= _MOST_KEPT:
            kept.append(leaf)
    return Essentials(tuple(kept), len(found) - len(kept) + len(waiting))


def differing(calls: Iterable[Essentials]) -> frozenset[str]:
    """Return the paths of arguments whose values are not the same in all of these calls.

    Args:
        calls: calls that are shown together, of the same action type, tool and session.
    """
    values: dict[str, set[tuple[object, bool, int]]] = {}
    count = 0
    for call in calls:
        count += 1
        for leaf in call.leaves:
            values.setdefault(leaf.path, set()).add((leaf.value, isinstance(leaf.value, bool), leaf.cut))
    return frozenset(path for path, found in values.items() if len(found) > 1) if count > 1 else frozenset()


class Line:
    """The important arguments, as one line of any width.

    Args:
        call: the stored part of the arguments; None if they cannot be read.
        differs: paths of values that differ between the calls shown together.
    """

    def __init__(self, call: Essentials | None, differs: frozenset[str] = frozenset()) -> None:
        self._call = call
        self._leaves, self._first = ([], 0) if call is None else _ordered(call.leaves, differs)
        self._differs = differs

    @property
    def natural(self) -> int:
        """The width without any cut, in columns of a terminal; at most ``_WIDEST``."""
        return self.fit(_WIDEST).cell_len

    def fit(self, width: int) -> Text:
        """The line, at most this many columns wide."""
        from rich.text import Text

        if self._call is None:
            return _within(Text("arguments missing from the audit trail", "bold red"), width)
        if not self._leaves:
            return _within(Text("no arguments", "dim"), width)
        best: list[_Item] = []
        most = (-1, -1)
        for cuts in _CUTS:
            first, chosen = self._chosen(*cuts, width)
            if (first, len(chosen)) > most:
                best, most = chosen, (first, len(chosen))
            if len(best) == len(self._leaves):
                break
        line = Text()
        for item in best:
            line.append("  " if line else "")
            line.append(item.name, "dim").append(": ", "dim").append(item.value, item.style)
            if item.end:
                line.append("…", "bold red").append(item.end, item.style)
        left = len(self._leaves) - len(best) + self._call.more
        if left:
            mark = f"  +{left}" if best else f"… {left} arguments" if left > 1 else "… 1 argument"
            line.append(mark, "yellow")
        return _within(line, width)

    def _chosen(self, cut: int, rest: int, width: int) -> tuple[int, list[_Item]]:
        """Return as many values as fit, in order, and how many of the first are among them. A short value may replace a
        long one.

        Args:
            cut: most columns for each of the first values.
            rest: most columns for each of the others.
            width: most columns in all.
        """
        more = self._call.more if self._call else 0
        chosen: list[_Item] = []
        first, used, total = 0, 0, len(self._leaves) + more
        for number, leaf in enumerate(self._leaves[:_MOST_TRIED]):
            left = total - len(chosen) - 1
            room = width - used - (2 if chosen else 0) - (len(str(left)) + 3 if left else 0)
            if room < _LEAST or (leaf.kind == HIDDEN and len(chosen) < number):
                continue
            item = _item(leaf, cut if number < self._first else rest, leaf.path in self._differs)
            if item.width <= room:
                used += item.width + (2 if chosen else 0)
                chosen.append(item)
                first += number < self._first
        return first, chosen


class _Item(NamedTuple):
    name: str
    value: str
    end: str
    style: str
    width: int
    kind: int


def _within(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _kind(name: str, outer: int) -> int:
    words = {word.lower() for word in _WORD.findall(name[:_MOST_TEXT])}
    kinds = {_KINDS.get(word, OTHER) for word in words}
    if AMOUNT in kinds and not words & _NAMING:  # refund_id is a name, not an amount
        return AMOUNT
    return TARGET if TARGET in kinds or AMOUNT in kinds else outer


def _leaf(path: str, kind: int, value: str | int | float | None, note: str) -> Leaf:
    path = path if len(path) <= _MOST_TEXT else f"{path[:60]}…{path[-60:]}"
    if value == REDACTED or note == "opaque":
        return Leaf(path, value, HIDDEN)
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        head = _MOST_TEXT * 2 // 3
        return Leaf(path, value[:head] + value[head - _MOST_TEXT :], kind, head)
    if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        return Leaf(path, _digits(int(value.bit_length() * 0.30103) + 1), kind, -1)
    return Leaf(path, value, kind, -1 if note == "number" else 0)


def _digits(count: int) -> str:
    return f"a number of about {count} digits"


def _tagged(value: object) -> tuple[str, str] | None:
    """The written form of a value that JSON cannot express, and whether it is a number, opaque, or neither."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    pair: tuple[str, object] = next(iter(value.items()))
    tag, content = pair
    if not tag.startswith("$") or not isinstance(content, str):
        return None
    if tag == "$opaque":
        return f"({content[:_MOST_TEXT]})", "opaque"
    if tag in _NUMBERS and _NUMBER.fullmatch(content[: _MOST_TEXT * 100]):
        return (content, "number") if len(content) <= _MOST_DIGITS else (_digits(len(content)), "number")
    return content, ""


def _ordered(leaves: Sequence[Leaf], differs: frozenset[str]) -> tuple[list[Leaf], int]:
    """The values in display order, and how many of them come first: an amount, a target, one that differs."""
    rest = sorted(leaves, key=lambda leaf: (leaf.kind == HIDDEN, leaf.path not in differs, leaf.kind))
    first: list[Leaf] = []
    for kind in (AMOUNT, TARGET, None):
        for index, leaf in enumerate(rest):
            if leaf.path in differs if kind is None else leaf.kind == kind:
                first.append(rest.pop(index))
                break
    return first + rest, len(first)


def _item(leaf: Leaf, cut: int, differs: bool) -> _Item:
    name = leaf.path
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-(_LONGEST_NAME // 2 - 1) :]}"
    name = name if _BARE.fullmatch(leaf.path) else _in_quotes(name)
    style = "bold" if leaf.kind in (AMOUNT, TARGET) else "dim italic" if leaf.kind == HIDDEN else ""
    style = f"{style} yellow".strip() if differs else style
    value, end = _value(leaf, cut)
    width = sum(map(cell_len, (name, value, end))) + 2 + bool(end)
    return _Item(name, value, end, style, width, leaf.kind)


def _value(leaf: Leaf, cut: int) -> tuple[str, str]:
    """The value for display, in at most this many columns; if it is cut, its beginning and its end."""
    value = leaf.value
    if not isinstance(value, str):
        return json.dumps(value), ""
    if leaf.kind == HIDDEN or leaf.cut == -1:
        return safe(value, table=True), ""
    head, tail = (value[: leaf.cut], value[leaf.cut :]) if leaf.cut else (value, "")
    if not tail:
        whole = _in_quotes(value)
        if cell_len(whole) <= cut:
            return whole, ""
        head, tail = value[: -(len(value) // 3) or None], value[-(len(value) // 3) :]
    # The end of cut text is as important as its beginning: a path, an address, a list of recipients.
    return _fitting(head, cut * 2 // 3, end=False), _fitting(tail, cut // 3, end=True)


def _fitting(text: str, room: int, *, end: bool) -> str:
    count = min(len(text), max(1, room - 2))
    while True:
        shown = _in_quotes(text[-count:] if end else text[:count])
        if cell_len(shown) <= max(room, 4) or count <= 1:
            return shown
        count -= 1


def _in_quotes(text: str) -> str:
    return '"' + safe(text.replace("\\", "\\\\").replace('"', '\\"'), table=True) + '"'
