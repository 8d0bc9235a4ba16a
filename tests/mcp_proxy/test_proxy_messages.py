"""What is let through cannot be read differently from what was judged."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from ascend_guard_mcp.proxy.jsonrpc import DEEPEST, GATED, MOST_BYTES, Message, Refused, key_of, read
from hypothesis import example, given
from hypothesis import strategies as st

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(10**40, 10**60)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "name", "arguments"])
words = st.sampled_from(
    ["2.0", GATED, "ping", "Tools/Call", "tools/call ", "refund", "notifications/cancelled"]
)


@st.composite
def sent(draw: st.DrawFn) -> bytes:
    """Something like a message, with what parsers differ about sprinkled over it."""
    pairs = draw(st.lists(st.tuples(names | st.text(max_size=8), values | words), max_size=7))
    base = [("jsonrpc", "2.0"), ("id", draw(st.integers() | st.text())), ("method", draw(words))]
    if draw(st.booleans()):
        base.append(
            ("params", {"name": "refund", "arguments": draw(st.dictionaries(st.text(), values, max_size=3))})
        )
    parts = draw(st.permutations(base + (pairs if draw(st.booleans()) else [])))
    body = ",".join(
        f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=draw(st.booleans()))}" for key, value in parts
    )
    raw = f"{{{body}}}".encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        sprinkle = [
            b"\r",
            b"\xe2\x80\xa8",
            b"\xef\xbb\xbf",
            b"\0",
            b" ",
            b"\t",
            b"\\ud800",
            b"NaN",
            b'"id":1,',
            b"[",
            b"\xff",
        ]
        raw = raw[:at] + draw(st.sampled_from(sprinkle)) + raw[at:]
    return raw


def strictly(raw: bytes) -> Any:
    """The value in these bytes; fails for a key that comes twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    return json.loads(raw, object_pairs_hook=unique)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types."""
    return json.dumps(one) == json.dumps(other)


@given(sent() | st.binary(max_size=200))
@example(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\r')
@example(b'{"jsonrpc":"2.0","id":1,"method":"tools\\/call","params":{"name":"x"}}')
def test_what_is_forwarded_is_what_was_judged(raw: bytes) -> None:
    """One ASCII line that parses to the judged value, without duplicate keys, and calls no tool in disguise."""
    try:
        message = read(raw)
    except Refused:
        return
    wire = message.wire
    assert wire.isascii()
    assert b"\n" not in wire
    assert b"\r" not in wire
    assert same(strictly(wire), message.value)
    assert same(json.loads(raw), message.value)
    if isinstance(message.value, list):
        assert GATED not in [part.get("method") for part in message.value]
    elif message.method == GATED:
        assert isinstance(message.params["name"], str)
        assert isinstance(message.params.get("arguments", {}), dict)
        assert key_of(message.id) is not None


def disguised(word: str) -> st.SearchStrategy[str]:
    """The word in a form that a forgiving reader takes for it."""
    wide = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in word)
    forms = [
        word.upper(),
        word.title(),
        wide,
        f" {word}",
        f"{word} ",
        f"{word}\t",
        f"{word}\0x",
        f"\ufeff{word}",
        f"{word}\u200b",
    ]
    forms += [
        word.replace("s", "ſ"),
        word.replace("i", "ı"),
        word.replace("o", "ｏ"),
        word.replace("e", "ｅ"),
    ]
    return st.sampled_from([form for form in forms if form != word])


@given(st.data())
def test_disguised_keys_and_methods_are_refused(data: st.DataObject) -> None:
    """Case, width, blanks, invisible characters, what follows a NUL."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}
    where = data.draw(st.sampled_from(["envelope", "method", "params"]))
    if where == "envelope":
        key = data.draw(st.sampled_from(["method", "params", "id", "result", "error", "jsonrpc"]))
        message[data.draw(disguised(key))] = GATED
    elif where == "method":
        message |= {"method": data.draw(disguised(GATED)), "params": {"name": "x"}}
    else:
        key = data.draw(disguised(data.draw(st.sampled_from(["name", "arguments"]))))
        message |= {"method": GATED, "params": {"name": "x", key: {}}}
    with pytest.raises(Refused) as refused:
        read(json.dumps(message, ensure_ascii=data.draw(st.booleans())).encode())
    assert refused.value.ids == (1,)
    assert refused.value.code in (-32600, -32602)


@given(st.integers(-(10**300), 10**300))
def test_integers_survive(number: int) -> None:
    """To the last digit."""
    raw = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % number
    assert read(raw).wire == raw


@pytest.mark.parametrize(
    "text",
    [
        "1e999",
        "-1e999",
        "1e-999",
        "NaN",
        "Infinity",
        "-Infinity",
        "9" * 5000,
        '"\\ud800"',
        '"\\udfff\\ud800"',
        "01",
        "+1",
        ".5",
    ],
)
def test_values_that_do_not_survive_are_refused(text: str) -> None:
    """Numbers out of range, lone surrogates, what is no JSON."""
    with pytest.raises(Refused) as refused:
        read(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":%s}}' % text.encode())
    assert refused.value.code == -32700


def test_surrogate_pairs_and_zeros_are_fine() -> None:
    """What is whole is let through."""
    message = read(
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\\ud83d\\ude00","y":0.0e99,"z":-0.0}}'
    )
    assert message.params["x"] == "\U0001f600"
    assert math.copysign(1, message.params["z"]) == -1


def test_size_and_depth_are_bounded() -> None:
    """Before anything is made of them."""
    for raw in (
        b" " * (MOST_BYTES + 1),
        b"[" * 100_000,
        b"[" * DEEPEST * 2 + b"]" * DEEPEST * 2,
        b'{"a":' * 5000,
    ):
        with pytest.raises(Refused):
            read(raw)


def test_other_arguments_change_nothing_else() -> None:
    """An edit replaces the arguments alone; a call without any stays without."""
    call = {
        "jsonrpc": "2.0",
        "id": "é",
        "method": GATED,
        "params": {"name": "x", "arguments": {"a": 1}, "task": {}},
    }
    edited = read(json.dumps(call).encode()).with_arguments({"a": 2})
    assert edited.value == {**call, "params": {**call["params"], "arguments": {"a": 2}}}
    bare = Message({**call, "params": {"name": "x"}})
    assert bare.with_arguments({}) is bare


def test_ids_are_compared_as_they_are() -> None:
    """Text is no number, true is no 1, and a float of a server's is the integer it was."""
    assert key_of("1") != key_of(1)
    assert key_of(1.0) == key_of(1)
    assert key_of(True) is None
    assert key_of(None) is None
