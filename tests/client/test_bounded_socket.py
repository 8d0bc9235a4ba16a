"""The bounded socket: no wait outlasts its deadline, no more is read than there is room for, addresses share the time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.bounded_socket import BoundedSocket, Bounds, TooLarge, first_reachable

LATER = 3600.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@given(sent=st.integers(0, 300), room=st.integers(0, 300), size=st.integers(1, 100))
def test_exactly_as_much_is_read_as_there_is_room_for(sent: int, room: int, size: int) -> None:
    """What is more stays in the socket and is an error, not the end of the data."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"x" * sent)
        there.shutdown(socket.SHUT_WR)
        bounded = BoundedSocket(here, Bounds(time.monotonic() + LATER, room))
        got = 0
        try:
            while part := bounded.read(size):
                got += len(part)
            assert (got, sent < room) == (sent, True)
        except TooLarge:
            assert got == room <= sent
        assert len(here.recv(1000)) == sent - got


@pytest.mark.parametrize("wait", [lambda bounded: bounded.read(1), lambda bounded: bounded.sendall(b"x")])
@pytest.mark.parametrize("left", [0.0, -1.0, float("nan")])
def test_no_wait_begins_after_the_deadline(
    pair: tuple[socket.socket, socket.socket], wait: object, left: float
) -> None:
    """Not even for what is there already; nothing is sent."""
    here, there = pair
    there.sendall(b"x")
    with pytest.raises(TimeoutError):
        wait(BoundedSocket(here, Bounds(time.monotonic() + left, 10)))  # type: ignore[operator]
    assert here.recv(10) == b"x"
    there.setblocking(False)
    with pytest.raises(BlockingIOError):
        there.recv(1)


def test_each_wait_has_what_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    """A later deadline, and an earlier one, hold from the next wait on."""
    here, there = pair
    there.sendall(b"xyz")
    bounded = BoundedSocket(here, Bounds(time.monotonic() + LATER, 10))
    for seconds in (LATER, 2 * LATER, LATER / 2, 10.0):
        bounded.bounds = Bounds(time.monotonic() + seconds, 10)
        bounded.arm()
        armed = here.gettimeout()
        assert armed is not None
        assert seconds - 5 < armed <= seconds + 0.001


def test_its_users_time_outs_and_closing_change_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    """urllib3 sets time-outs and http.client closes, both while an answer may still be read."""
    here, there = pair
    bounded = BoundedSocket(here, Bounds(time.monotonic() + LATER, 10))
    reader = bounded.makefile("rb")
    bounded.settimeout(0.0)
    bounded.close()
    there.sendall(b"x\n")
    assert reader.readline() == b"x\n"
    assert bounded.fileno() == here.fileno() >= 0


@given(st.lists(st.booleans(), max_size=6))
def test_addresses_share_the_time(reachable: list[bool]) -> None:
    """Each gets an equal share of what is left; the first that can be reached is the one."""
    bounds = Bounds(time.monotonic() + LATER, 0)
    tried: list[tuple[int, float]] = []

    def connect(address: int, seconds: float) -> int:
        tried.append((address, seconds))
        if not reachable[address]:
            raise ConnectionRefusedError(address)
        return address

    addresses = range(len(reachable))
    if True in reachable:
        assert first_reachable(addresses, bounds, connect) == reachable.index(True)
        assert len(tried) == reachable.index(True) + 1
    else:
        with pytest.raises(OSError, match=str(len(reachable) - 1) if reachable else "no address"):
            first_reachable(addresses, bounds, connect)
        assert len(tried) == len(reachable)
    for address, seconds in tried:
        share = LATER / (len(reachable) - address)
        assert share - 5 < seconds <= share


def test_other_failures_end_the_attempts() -> None:
    """Only an address that cannot be reached leads to the next one; no attempt begins without time."""

    def fails(address: int, seconds: float) -> None:
        raise ValueError(address)

    with pytest.raises(ValueError, match="0"):
        first_reachable([0, 1], Bounds(time.monotonic() + LATER, 0), fails)
    with pytest.raises(TimeoutError):
        first_reachable([0, 1], Bounds(time.monotonic() - 1, 0), fails)
