"""A process's running calls, in a table that other processes map: so a killer learns which calls had begun.

The table is in the process's liveness file, in entries of 128 bytes, of which the first is a header::

    header   magic, process id, start time of the process in clock ticks, its pid namespace's inode, turn, 0 ...
    slot     word, revoked, action id, began at (nanoseconds since the epoch), organization and agent (tags),
             agent (80 bytes of UTF-8)

A process that changes a kill switch changes ``turn``, so the owner knows without a system call that it must read the file.

``word`` is a count of the slot's uses, shifted, and one of ``IDLE``, ``CHECKING`` and ``BEGUN``. It is written with one
aligned store of eight bytes, after the fields that it makes valid.

A call announces itself (``CHECKING``), reads the kill switch, and passes (``BEGUN``). Then it checks whether it was
revoked: a killer that has waited long enough for a call that is still ``CHECKING`` writes that same word into
``revoked``. So either the killer sees the call ``BEGUN``, or the call sees that it was revoked. Both sides store one
word and then load another, which processors may reorder; the killer waits ``SETTLING`` between the two,
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
        path: the liveness file, empty. It is opened again: a mapping keeps its descriptor, which must not hold the lock.

    Raises:
        OSError: there is no space for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._growing = threading.RLock()
        self._held: dict[tuple[str, str], int] = {}
        self._free: list[int] = []
        self._tags: dict[tuple[str, str], bytes] = {}
        self._capacity = 0
        self._grow()
        header = (_MAGIC, os.getpid(), started_at(os.getpid()) or 0, _namespace())
        struct.pack_into("=4Q", self._map, 0, *header)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def begun(self) -> set[tuple[str, str]]:
        """The actions that have a slot, each with its organization: numbers count within one."""
        return set(self._held)

    def announce(self, organization: str, agent_id: str, action_id: str) -> int:
        """Note that this call is about to read the kill switch. Returns the argument for ``passed``. Raises ``OSError``."""
        tag = self._tags.get((organization, agent_id)) or self._tag(organization, agent_id)
        held, call = self._held, (organization, action_id)
        while call not in held:
            try:
                # One call of a C function, as in ``end``: no interrupt can come while a slot is neither free nor used.
                held.update(zip((call,), iter(self._free.pop, None), strict=False))
            except IndexError:
                self._grow()
        slot = held[call]
        at, words = slot * _WORDS, self._words
        self._map[slot * SIZE + 32 : slot * SIZE + SIZE] = tag
        words[at + 2] = int(action_id)
        words[at + 3] = time.time_ns()
        words[at] = (words[at] | 3) + 1 + CHECKING
        return at

    def passed(self, at: int) -> bool:
        """Note that it has read that no switch is on. Returns True: it has begun; False: a killer has revoked it."""
        words = self._words
        word = words[at]
        words[at] = word - CHECKING + BEGUN
        return words[at + 1] != word

    def end(self, organization: str, action_id: str) -> bool:
        """Note that this call has ended, or did not pass; False when it had no slot."""
        call = organization, action_id
        slot = self._held.get(call)
        if slot is None:
            return False
        # First, so that an interrupted end can be repeated: while the slot is used, no other call gets it.
        words = self._words
        words[slot * _WORDS] &= ~3
        try:
            self._free.extend(map(self._held.pop, (call,)))
        except KeyError:  # another thread ended it at the same moment
            return False
        return True

    def turn(self) -> int:
        """A number that changes when a kill switch changes."""
        turn: int = self._words[_TURN]
        return turn

    def forget(self) -> None:
        """In a forked child: the calls in this table are the parent's, which continues them."""
        self._held.clear()

    def checking(self) -> bool:
        """Return whether any call is at its last check."""
        words = self._words
        return any(words[slot * _WORDS] & 3 == CHECKING for slot in list(self._held.values()))

    def _grow(self) -> None:
        """Double the table. The old mapping stays for threads that are writing to it, and maps the same pages."""
        with self._growing:
            if self._free:  # another thread was faster
                return
            had = self._capacity
            capacity = had * 2 + 1 if had else _FIRST
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Not sparse: writing to a page without space on a full disk would kill the process.
                os.posix_fallocate(file, 0, (capacity + 1) * SIZE)
                grown = mmap.mmap(file, (capacity + 1) * SIZE)
            finally:
                os.close(file)
            words, slots = memoryview(grown).cast("Q"), range(capacity, had, -1)
            if self._capacity != had:  # a finaliser made a call meanwhile, in this same thread
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
        file: its liveness file, opened for reading, and for writing if permitted.
        writable: whether writing is permitted.
    """

    def __init__(self, file: int, *, writable: bool) -> None:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self.writable = writable
        self._map = mmap.mmap(file, os.fstat(file).st_size, access=access)
        self._words = memoryview(self._map).cast("Q")
        magic, self._pid, self._started, self._namespace = self._words[:4]
        self._known = magic == _MAGIC

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._map.close()

    def calls(self, organization: str, agent_id: str) -> Iterator[Seen]:
        """Yield the calls of this agent, or with ``''`` of every agent, that are checking or have begun."""
        if not self._known:
            return
        wanted_organization, wanted_agent = tag_of(organization), tag_of(agent_id) if agent_id else _EVERY
        for at in range(_WORDS, len(self._words) - _WORDS + 1, _WORDS):
            for _ in range(100):  # until the slot was read without a change by its call
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
        """Make its process read the switch file again. Each change of the number is unique."""
        if self._known and self.writable:
            self._words[_TURN] = secrets.randbits(64)

    def word(self, at: int) -> int:
        """Return the present word of a slot."""
        return self._words[at]

    def revoke(self, at: int, word: int) -> None:
        """Prevent the call that is ``CHECKING`` with this word from passing."""
        self._words[at + 1] = word

    def state(self) -> str:
        """Return the state of its process, as far as this process can see it."""
        if self._namespace != _namespace():
            return "unknown"
        return state_of(self._pid, self._started)

    @property
    def pid(self) -> int | None:
        """Return its process id, in its own namespace."""
        return self._pid


class Seen(Struct, frozen=True):
    """A call in a table: its slot, its word, and the slot's bytes."""

    table: Table
    at: int
    word: int
    entry: bytes

    def described(self, *, begun: bool) -> RunningCall:
        """Return the call in the form for people."""
        action_id, began = struct.unpack_from("=2Q", self.entry, 16)
        agent = self.entry[48:].rstrip(b"\0").decode("utf-8", "ignore")
        return RunningCall(str(action_id), agent, begun, iso(began / 1e9), self.table.pid, self.table.state())


def tables(folder: Path) -> Iterator[Table]:
    """Yield the tables of all living processes: those that hold the lock of their liveness file."""
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
    """Return eight bytes that stand for a name, never zero."""
    return hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=7).digest() + b"\1"


def started_at(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None when it does not exist, or this is unknown."""
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
