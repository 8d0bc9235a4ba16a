"""Server-sent events are understood however they are cut up, and nothing that is half there counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.client.guard.feed import LARGEST_EVENT, events
from ascend_guard.errors import ServerError
from ascend_guard.event_stream import Events

ENDS = (b"\n", b"\r\n", b"\r")

plain = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
names = st.text("abcdefgh_", min_size=1, max_size=8)
idents = st.one_of(st.integers(0, 10**18 - 1).map(str), st.sampled_from(["", "x", "-1", "٣", "9" * 30]))
filler = st.one_of(
    plain.map(lambda text: ":" + text),
    st.sampled_from(["retry: 5", "unknown: 1", "nofield", ":", "data2: no", "id: 7\0"]),
)


@st.composite
def told(draw: st.DrawFn) -> tuple[list[str], tuple[str, bytes, str | None] | None]:
    """The lines of one event, and what they say; None when it has no data."""
    name = draw(st.none() | names)
    ident = draw(st.none() | idents)
    data = draw(st.lists(plain, max_size=3))
    lines = [f"data: {text}" for text in data]
    if name is not None:
        lines.insert(draw(st.integers(0, len(lines))), f"event:{draw(st.sampled_from(['', ' ']))}{name}")
    if ident is not None:
        lines.insert(draw(st.integers(0, len(lines))), f"id: {ident}")
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), draw(filler))
    meant = (name or "message", "\n".join(data).encode(), ident) if data else None
    return lines, meant if meant is not None else (None if ident is None else ("", b"", ident))


def cut(data: bytes, at: list[int]) -> Iterator[bytes]:
    """The same bytes in pieces."""
    places = sorted({place % (len(data) + 1) for place in at})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:end]


@given(
    st.lists(st.tuples(told(), st.sampled_from(ENDS)), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.booleans(),
)
def test_any_cut_any_line_end(said: list, at: list[int], bytewise: bool) -> None:
    """The events of a stream do not depend on how it is cut into chunks or how its lines end."""
    data, meant = b"", []
    last: str | None = None
    for (lines, event), end in said:
        data += b"".join(line.encode() + end for line in [*lines, ""])
        if event is not None:
            last = last if event[2] is None else event[2]
            if event[0]:
                meant.append((event[0], event[1], last))
    chunks = [data[n : n + 1] for n in range(len(data))] if bytewise else cut(data, at)
    found = [(event.name, event.data, event.id) for event in events(chunks, lambda: None)]
    assert found == meant


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes(data: bytes, at: list[int]) -> None:
    """No bytes break it or are lost, and the same bytes mean the same, whole or cut."""
    whole, pieces = Events(), Events()
    said = [event for chunk in cut(data, at) for event in pieces.feed(chunk)]
    assert [event[1:] for event in said] == [event[1:] for event in whole.feed(data)]
    assert b"".join(event.raw for event in said) + pieces.rest == data


@given(st.binary(max_size=200))
def test_what_is_cut_off_does_not_count(data: bytes) -> None:
    """An event without the empty line at its end has not been said."""
    whole = b"event: kill_switch\nid: 5\ndata: {}\n\n"
    before = list(events([data + b"\n\n"], lambda: None))
    for end in range(len(whole) - 1):
        assert list(events([data + b"\n\n" + whole[:end]], lambda: None)) == before


@given(st.lists(st.sampled_from([b"x", b": hea", b"rtbeat", b"\n", b"\r", b"da"]), max_size=40))
def test_signs_of_life_are_whole_lines(pieces: list[bytes]) -> None:
    """Bytes that trickle in without ending a line keep nothing alive: the news may be stuck behind them."""
    heard: list[int] = []
    data = b"".join(pieces)
    list(events(pieces, lambda: heard.append(1)))
    complete = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
    assert len(heard) == complete


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 65536,
        b"data: " + b"x" * 65536 + b"\n",
        (b"data: " + b"y" * 100 + b"\n") * 500,
        b"event: " + b"e" * 65536,
    ],
)
def test_an_event_without_end(piece: bytes) -> None:
    """It is given up before it fills the memory."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += len(piece)
            yield piece

    with pytest.raises(ServerError, match="too large"):
        list(events(endless(), lambda: None))
    assert taken <= 7 * LARGEST_EVENT


def test_a_large_event_in_small_pieces() -> None:
    """Almost the largest one, in pieces of any size, is whole and takes no time that grows with its square."""
    text = b"y" * (LARGEST_EVENT - 100)
    stream = b"data: " + text + b"\n\n"
    pieces = (stream[n : n + 997] for n in range(0, len(stream), 997))
    (event,) = events(pieces, lambda: None)
    assert event.data == text
