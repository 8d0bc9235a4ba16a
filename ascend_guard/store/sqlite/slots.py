"""A process's running calls, in a table that other processes map: how a killer learns what had begun.

The table is in the process's presence file (``locks.Presence``), 128 bytes each, the first a header::

    header   magic, process id, start time of the process in clock ticks, its pid namespace's inode, turn, 0 ...
    slot     word, revoked, action id, began at (nanoseconds since the epoch), organization and agent (tags),
             agent (80 bytes of UTF-8)

``turn`` is changed by whoever turned a kill switch, so a process knows without a system call that it must read the file.

``word`` is a count of the slot's uses, shifted, and one of ``IDLE``, ``CHECKING`` and ``BEGUN``. It is written with one
aligned store of eight bytes, after the fields it vouches for.

A call announces itself (``CHECKING``), reads the kill switch, and passes (``BEGUN``). Then it looks whether it was
revoked: a killer that has waited long enough for a call that is still ``CHECKING`` writes that very word into
``revoked``. So either the killer sees the call ``BEGUN``, or the call sees that it was revoked. Both sides store one
word and then load another, which processors may do the other way round; the killer waits ``SETTLING`` between the two,
after which the caller's stores have reached memory (promise 4).
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ascend_guard.model import RunningCall, iso

IDLE, CHECKING, BEGUN = range(3)
SETTLING = 0.001
"""Seconds until a processor's stores have reached memory; 20 microseconds were enough in 400,000 tries."""

SIZE = 128
_WORDS = SIZE // 8
_FIRST = 63
_TURN = 4
_NAME = 80
_MAGIC = int.from_bytes(b"agslots1", "little")
_EVERY = bytes(8)


class Slots:
    """The table of this process.

    Args:
        path: the presence file, empty. It is opened anew: a mapping keeps its descriptor, which must not hold the lock.

    Raises:
        OSError: there is no space for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._growing = threading.RLock()
        self._held: dict[str, int] = {}
        self._free: list[int] = []
        self._tags: dict[tuple[str, str], bytes] = {}
        self._capacity = 0
        self._grow()
        header = (_MAGIC, os.getpid(), started_at(os.getpid()) or 0, _namespace())
        struct.pack_into("=4Q", self._map, 0, *header)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def begun(self) -> set[str]:
        """The actions that hold a slot."""
        return set(self._held)

    def announce(self, organization: str, agent_id: str, action_id: str) -> int:
        """This call is about to read the kill switch. The answer is for ``passed``. Raises ``OSError``."""
        tag = self._tags.get((organization, agent_id)) or self._tag(organization, agent_id)
        held = self._held
        while action_id not in held:
            try:
                # One call of a C function, as in ``end``: no interrupt can come when a slot is neither free nor held.
                held.update(zip((action_id,), iter(self._free.pop, None), strict=False))
            except IndexError:
                self._grow()
        slot = held[action_id]
        at, words = slot * _WORDS, self._words
        self._map[slot * SIZE + 32 : slot * SIZE + SIZE] = tag
        words[at + 2] = int(action_id)
        words[at + 3] = time.time_ns()
        words[at] = (words[at] | 3) + 1 + CHECKING
        return at

    def passed(self, at: int) -> bool:
        """It has read that no switch is on: it has begun now, unless a killer has given up waiting for it."""
        words = self._words
        word = words[at]
        words[at] = word - CHECKING + BEGUN
        return words[at + 1] != word

    def end(self, action_id: str) -> bool:
        """This call has ended, or did not pass; False when it held no slot."""
        slot = self._held.get(action_id)
        if slot is None:
            return False
        # First of all, so that an end that is interrupted can be repeated: while it is held, nobody else uses the slot.
        words = self._words
        words[slot * _WORDS] &= ~3
        try:
            self._free.extend(map(self._held.pop, (action_id,)))
        except KeyError:  # somebody else ended it at the same moment
            return False
        return True

    def turn(self) -> int:
        """A number that changes when somebody turned a kill switch."""
        turn: int = self._words[_TURN]
        return turn

    def forget(self) -> None:
        """In a forked child: the calls in this table are the parent's, which goes on with them."""
        self._held.clear()

    def checking(self) -> bool:
        """Whether any call is at its check."""
        words = self._words
        return any(words[slot * _WORDS] & 3 == CHECKING for slot in list(self._held.values()))

    def _grow(self) -> None:
        """Double the table; the old mapping stays for those that are writing to it, and is of the same pages."""
        with self._growing:
            if self._free:  # another thread was faster
                return
            had = self._capacity
            capacity = had * 2 + 1 if had else _FIRST
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Not sparse: a page that has no room on a full disk ends the process when it is written to.
                os.posix_fallocate(file, 0, (capacity + 1) * SIZE)
                grown = mmap.mmap(file, (capacity + 1) * SIZE)
            finally:
                os.close(file)
            words, slots = memoryview(grown).cast("Q"), range(capacity, had, -1)
            if self._capacity != had:  # a finaliser made a call meanwhile, in this very thread
                return
            self._map, self._words, self._capacity = grown, words, capacity
            self._free.extend(slots)

    def _tag(self, organization: str, agent_id: str) -> bytes:
        if len(self._tags) > 10_000:
            self._tags.clear()
        tags = tag_of(organization) + tag_of(agent_id)
        tag = tags + agent_id.encode("utf-8", "backslashreplace")[:_NAME].ljust(_NAME, b"\0")
        self._tags[organization, agent_id] = tag
        return tag


class Table:
    """Another process's table, as a killer maps it.

    Args:
        file: its presence file, opened for reading, and for writing where it may be.
        writable: whether it may.
    """

    def __init__(self, file: int, *, writable: bool) -> None:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self.writable = writable
        self._map = mmap.mmap(file, os.fstat(file).st_size, access=access)
        self._words = memoryview(self._map).cast("Q")
        magic, self._pid, self._started, self._namespace = self._words[:4]
        self._known = magic == _MAGIC

    def close(self) -> None:
        """Let go of it."""
        self._words.release()
        self._map.close()

    def calls(self, organization: str, agent_id: str) -> Iterator[Seen]:
        """Those of this agent, or with ``''`` of every agent, that are checking or have begun."""
        if not self._known:
            return
        wanted_organization, wanted_agent = tag_of(organization), tag_of(agent_id) if agent_id else _EVERY
        for at in range(_WORDS, len(self._words) - _WORDS + 1, _WORDS):
            for _ in range(100):  # until the slot was read while its call did not change it
                word = self._words[at]
                if word & 3 == IDLE:
                    break
                entry = bytes(self._map[at * 8 : at * 8 + SIZE])
                if self._words[at] == word:
                    of, agent = entry[32:40], entry[40:48]
                    if of == wanted_organization and (agent == wanted_agent or not agent_id):
                        yield Seen(self, at, word, entry)
                    break

    def tell(self) -> None:
        """Let its process read the switch file again. No two turns leave the same number."""
        if self._known and self.writable:
            self._words[_TURN] = secrets.randbits(64)

    def word(self, at: int) -> int:
        """A slot's word now."""
        return self._words[at]

    def revoke(self, at: int, word: int) -> None:
        """Keep the call that is ``CHECKING`` with this word from passing."""
        self._words[at + 1] = word

    def state(self) -> str:
        """What its process is doing, as far as this process can see."""
        if self._namespace != _namespace():
            return "unknown"
        return state_of(self._pid, self._started)

    @property
    def pid(self) -> int | None:
        """Its process, by the number it has where it runs."""
        return self._pid


class Seen(Struct, frozen=True):
    """A call in a table: where, with which word, and its slot's bytes."""

    table: Table
    at: int
    word: int
    entry: bytes

    def described(self, *, begun: bool) -> RunningCall:
        """The call, for people."""
        action_id, began = struct.unpack_from("=2Q", self.entry, 16)
        agent = self.entry[48:].rstrip(b"\0").decode("utf-8", "ignore")
        return RunningCall(str(action_id), agent, begun, iso(began / 1e9), self.table.pid, self.table.state())


def tables(folder: Path) -> Iterator[Table]:
    """The tables of all processes that live: those that hold the lock of their presence file."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        path, writable = folder / name, True
        try:
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except PermissionError:
                file, writable = os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if os.fstat(file).st_size >= 2 * SIZE:
                yield Table(file, writable=writable)
        finally:
            os.close(file)


def tag_of(name: str) -> bytes:
    """Eight bytes that stand for a name, never zero."""
    return hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=7).digest() + b"\1"


def started_at(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None when there is none, or the system does not say."""
    fields = _stat_of(pid)
    return None if fields is None else int(fields[19])


def state_of(pid: int, started: int) -> str:
    """``running``, ``sleeping``, ``stopped``, ``ended`` or ``unknown``."""
    fields = _stat_of(pid)
    if fields is None:
        return "unknown" if not os.path.isdir("/proc/self") else "ended"
    if int(fields[19]) != started:
        return "ended"
    return {"R": "running", "S": "sleeping", "D": "sleeping", "T": "stopped", "t": "stopped"}.get(
        fields[0], "ended"
    )


def _stat_of(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
