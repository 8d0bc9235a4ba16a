"""A call's arguments as a tree: each value whole and in its own column, so that none can look like another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ascend_guard.cli.output import shown
from ascend_guard.redaction import REDACTED

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment
    from rich.text import Text

_BARE = re.compile(r"[\w$.-]{1,60}")
_FEW_LINES = 8
_MANY_LINES = 80


class Brief:
    """Shorten long values: show eight lines of each value and eighty in all.

    Args:
        command: what to type, or the key to press, to see everything.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.hidden = False
        """Whether anything was left out so far."""

    def rest(self, left_out: str) -> Text:
        """The text in place of what is left out."""
        from rich.text import Text

        self.hidden = True
        return Text(f"… and {left_out}: {self.command}", "bold yellow")


class Tree:
    """JSON data for rich.

    Args:
        value: named values.
        edits: an approver's values, which replace those of the same name.
        brief: how long values are shortened.
    """

    def __init__(
        self, value: dict[str, Any], *, edits: dict[str, Any] | None = None, brief: Brief | None = None
    ) -> None:
        self.value = value
        self.edits = edits or {}
        self.brief = brief

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.text import Text

        lines = self._entries(list(self.value.items()), Text(), options.max_width, self.edits)
        for number, line in enumerate(lines):
            if self.brief and number == _MANY_LINES:
                yield from self.brief.rest("more").render(console, "\n")
                break
            yield from line.render(console, "\n")

    def _entries(
        self, entries: Sequence[tuple[str | int, Any]], guide: Text, width: int, edits: dict[str, Any]
    ) -> Iterator[Text]:
        from rich.text import Text

        for number, (name, value) in enumerate(entries, 1):
            last = number == len(entries)
            head = guide + Text("└── " if last else "├── ", "bright_black")
            rest = guide + Text("    " if last else "│   ", "bright_black")
            label = Text(f"[{name}] ", "dim") if isinstance(name, int) else _name(name)
            if name in edits:
                yield from self._leaf(head, rest, label, _compact(value).append(" (as asked)"), width, "dim")
                new = Text("  edited to ", "bold yellow")
                yield from self._leaf(rest, rest, new, _compact(edits[str(name)]), width, "bold")
                continue
            inside = _inside(value, width - rest.cell_len - label.cell_len)
            if inside is None:
                yield from self._leaf(head, rest, label, _compact(value), width)
            elif rest.cell_len > width // 2:  # no room for more indentation
                yield from self._leaf(head, rest, label, _as_json(value), width)
            else:
                for line in fold(label, max(8, width - head.cell_len)):
                    yield head + line
                    head = rest
                yield from self._entries(inside, rest, width, {})

    def _leaf(
        self, head: Text, rest: Text, label: Text, value: Text, width: int, style: str = ""
    ) -> Iterator[Text]:
        """A name and its value, with the value in its own column."""
        from rich.text import Text

        value.stylize_before(style)
        indent = label.cell_len
        if indent > max(8, (width - head.cell_len) // 2):
            for line in fold(label, max(8, width - head.cell_len)):
                yield head + line
                head = rest
            label, indent = Text("  "), 2
        room = max(8, width - head.cell_len - indent)
        lines = [line for part in value.split("\n") for line in fold(part, room)] or [Text()]
        hidden = lines[_FEW_LINES:]
        if self.brief and hidden:
            count = sum(map(len, hidden))
            lines[_FEW_LINES:] = fold(unshown(count, self.brief), room)
        for line in lines:
            yield head + label + line
            head, label = rest, Text(" " * indent)


def unshown(count: int, brief: Brief) -> Text:
    """The text in place of what was left out, with the command that shows it."""
    return brief.rest(f"{count:,} more characters")


def _name(name: str) -> Text:
    bare = _BARE.fullmatch(name) is not None
    text = name if bare else '"' + _backslashed(name) + '"'
    return shown(text, "bold", table=True).append(": ")


def _inside(value: Any, room: int) -> Sequence[tuple[str | int, Any]] | None:
    """The content of a value that is shown as branches; None for one that is shown on one line."""
    if isinstance(value, dict) and value and _wrapped(value) is None:
        return list(value.items())
    if isinstance(value, list) and not all(isinstance(item, int | float | None) for item in value):
        if all(isinstance(item, str) for item in value) and sum(map(len, value)) + 4 * len(value) <= room:
            return None
        return list(enumerate(value))
    return None


def _compact(value: Any) -> Text:
    from rich.text import Text

    if isinstance(value, str):
        return Text(REDACTED, "dim italic") if value == REDACTED else _quoted(value, "green")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return Text("[") + Text(", ").join(_compact(item) for item in value) + Text("]")
    return _wrapped(value) or _as_json(value)


def _wrapped(value: Any) -> Text | None:
    """The plain form of a value that JSON cannot express: ``{"$decimal": "1.10"}``."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(tag, content)] = value.items()
    if not tag.startswith("$") or not isinstance(content, str):
        return None
    if tag == "$opaque":
        return shown(content, "magenta").append(" (an object whose content cannot be read)", "italic")
    return (
        _quoted(content, "cyan")
        .append(f" ({'base64, ' if tag == '$bytes' else ''}")
        .append(shown(tag[1:]))
        .append(")")
    )


def _as_json(value: Any) -> Text:
    text = json.dumps(value, ensure_ascii=False)
    return shown(text, "" if isinstance(value, dict | list) else "cyan")


def _quoted(text: str, style: str) -> Text:
    """The text in quotes, with a line break after every ``\\n`` in it."""
    from rich.text import Text

    quoted = Text().append('"', style)
    lines = _backslashed(text).split("\n")
    for number, line in enumerate(lines, 1):
        quoted.append_text(shown(line, style))
        if number < len(lines):
            quoted.append_text(shown("\n", style)).append("\n")
    return quoted.append('"', style)


def _backslashed(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def fold(line: Text, width: int) -> list[Text]:
    """Split into lines of this width, after a space if there is one near the end. Nothing is left out."""
    from rich.cells import cell_len

    plain = line.plain
    cuts: list[int] = []
    start = 0
    while True:
        end = start + width
        if not plain.isascii():
            end, room = start, width
            while end < len(plain) and (room := room - cell_len(plain[end])) >= 0:
                end += 1
            end = max(end, start + 1)
        if end >= len(plain):
            return list(line.divide(cuts))
        space = plain.rfind(" ", start + width * 2 // 3, end)
        start = end if space < 0 else space + 1
        cuts.append(start)
