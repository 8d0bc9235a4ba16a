"""JSON with comments is read as it is meant, and every value is where it is said to be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ascend_guard_mcp.clients.jsonc import DEEPEST, ClientFileError, Node, apply, parse
from hypothesis import given
from hypothesis import strategies as st
from install_world import VALUES, written


@given(st.data(), VALUES)
def test_what_is_written_is_read(data: st.DataObject, value: Any) -> None:
    """Comments, blanks and trailing commas change nothing of a value."""
    assert parse(data.draw(written(value))).plain() == value


@given(st.data(), VALUES)
def test_every_span_holds_its_value(data: st.DataObject, value: Any) -> None:
    """The text of each part, read by itself, is that part; a comma is where one is said to be."""
    text = data.draw(written(value))

    def check(node: Node) -> None:
        assert parse(text[node.start : node.end]).plain() == node.plain()
        assert node.comma < 0 or text[node.comma] == ","
        for item in node.items or ():
            check(item)
        for member in node.members or ():
            assert json.loads(text[member.start : member.end]) == member.key
            check(member.node)

    check(parse(text))


@given(VALUES, st.sampled_from([None, 0, 2]))
def test_plain_json_is_read_as_json(value: Any, indent: int | None) -> None:
    """Whatever Python's own reader takes is the same to ours."""
    text = json.dumps(value, indent=indent)
    assert parse(text).plain() == json.loads(text)


@given(st.data(), VALUES, st.integers(0, 200), st.text(max_size=2))
def test_broken_text_is_refused_clearly(data: st.DataObject, value: Any, at: int, noise: str) -> None:
    """Noise anywhere is either read or refused with its line; nothing else happens."""
    text = data.draw(written(value))
    broken = text[:at] + noise + text[at:]
    said = "line "
    try:
        parse(broken)
    except ClientFileError as error:
        said = error.message
    assert said.startswith("line ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1, column 1: the file is empty"),
        (" // nothing\n", "line 2, column 1: the file is empty"),
        ('{"a": 1,\n "a": 2}', "line 2, column 2: the key 'a' stands twice"),
        ('{"a": 1 "b": 2}', 'line 1, column 8: "," or "}" belongs'),
        ('{"a" 1}', "belongs after the key 'a'"),
        ("{a: 1}", "a key in double quotes"),
        ("{'a': 1}", "a key in double quotes"),
        ('{,"a": 1}', "a key in double quotes"),
        ("[1,,2]", "a value belongs here"),
        ('{"a": "b\n"}', "line 1, column 7: a string begins here"),
        ('{"a": "\\x"}', "escape"),
        ("{} {}", "line 1, column 4: something follows"),
        ("/* {}", "never ends"),
        ("[NaN]", "a value belongs here"),
        ("[truely]", "belongs after this value"),
        ("[" * (DEEPEST + 2), "inside one another"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    """Every kind of mistake: the line, the column, the mend."""
    with pytest.raises(ClientFileError) as caught:
        parse(text)
    assert says in caught.value.message


def test_enormous_numbers_are_read() -> None:
    """An integer that Python refuses to convert is a number all the same."""
    assert parse("9" * 5000).plain() == float("inf")


@given(st.text(max_size=20), st.data())
def test_edits_touch_their_spans_only(text: str, data: st.DataObject) -> None:
    """Everything between two edits stays."""
    cuts = (
        sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=6, unique=True)))
        if text
        else []
    )
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    expected, at = "", 0
    for start, end in spans:
        expected += text[at:start] + "<new>"
        at = end
    assert apply(text, [(start, end, "<new>") for start, end in reversed(spans)]) == expected + text[at:]
