"""The switch file: which kill switches are on, in a file beside the database that needs no access to the database.

::

    00000000000000000000000000000000                      the alarm: 32 hexadecimal digits, all zero
    {"ascend-guard":"kill switches","version":1,"nonce":…}<tab><mac>
    {"id":…,"kind":"on","organization":…,"agent":…,"reason":…,"by":…,"at":…}<tab><mac>
    {"id":…,"kind":"off","released":[…],…}<tab><mac>

1. A switch is on while its ``on`` record is written and no ``off`` record names its ``id``. Turning on needs no
   lock: one ``write`` to the end of the file, whatever else is locked or stopped. An ``off`` releases the switches that
   were seen when it was decided, so it cannot undo a switch that is turned on at the same moment (promise 4).
2. Each record has a MAC over the file's nonce and the record, with a key derived from the store's secret. Records are
   not chained, because that would need a lock. What was read once must stay unchanged (3), and the database stores what
   it has recorded (4).
3. The file only grows. When it is deleted, replaced, cut or changed, or when a record does not verify, is torn or occurs
   twice, the file is damaged, and a damaged file stops every agent (promise 4: an unknown state counts as on).
4. A file with another nonce than before, and the first file that a process sees, must be the one that the database names,
   and must contain what the database has recorded. ``confirm`` checks that; without an answer the file is not trusted.
5. A full disk cannot prevent turning a switch on: if no record can be written, random digits are written over
   the alarm, which needs no space, and the file is damaged.
6. Turning the switch off for every agent repairs the file: an ``off`` record names the damage that it clears, byte
   range and content, so that damage which was not seen is not cleared. A file that cannot be used any more is replaced
   by a new one (``draft``).

Every record begins and ends with a line break, so that a record torn by a crash damages only itself.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ascend_guard.errors import StoreError
from ascend_guard.model import KillSwitchState

from .switch_records import EVERYONE, QUIET, START, Codec, Damage, Entry, Identity, Snapshot, damage_of

LATELY = 0.5
"""Seconds after which a transaction reads the file itself, whatever ``turn`` says."""

_RACY = 50_000_000
"""Nanoseconds after a change during which time stamps do not reveal a further change, because their clock is coarse."""


class SwitchFile:
    """One switch file, as a process reads and extends it.

    Args:
        path: its path.
        secret: the store's secret.
        sync: whether a record must survive a power cut.
        confirm: returns what is wrong with a file that this process sees for the first time; None if it is the database's.
        turn: returns a number that changes when any switch changes; None when there is no such number.
    """

    def __init__(
        self,
        path: Path,
        secret: bytes,
        *,
        sync: bool,
        confirm: Callable[[Snapshot], str | None],
        turn: Callable[[], int] | None = None,
    ) -> None:
        self.path = path
        self._name = os.fspath(path)
        self._codec = Codec(secret)
        self._what = f"The kill switch's file {path.name}"  # agents and clients read this: no folder
        self._sync = sync
        self._confirm = confirm
        self._lock = threading.RLock()
        self._seen: Snapshot | None = None
        self._turn = turn
        self._at_turn = -1
        self._until = 0.0
        self.unreleased: OSError | None = None
        """Why a recorded release could not be written, until it has been reported."""

    # --- reading -------------------------------------------------------------------------------------------------

    def stopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        """Return the switch that stops this agent now, or None. One system call, if nothing has changed."""
        seen = self.now()
        if seen.everyone is not None:
            return seen.everyone
        on = seen.by_organization.get(organization)
        return None if on is None else on.get(EVERYONE) or on.get(agent_id)

    def now(self) -> Snapshot:
        """Return the present content."""
        seen = self._seen
        try:
            found = os.stat(self._name)
        except OSError as error:
            return self._unreadable(error)
        if seen is not None and seen.identity == (
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_dev,
        ):
            return seen
        return self._load()

    def lately(self) -> Snapshot:
        """Return the present content; damage may be noticed up to ``LATELY`` later. No system call, for most calls.

        For transactions: each call that runs is checked against the file itself afterwards.
        """
        if self._turn is None:
            return self.now()
        seen, turn, now = self._seen, self._turn(), time.monotonic()
        if turn == self._at_turn and now < self._until and seen is not None and seen.damage is None:
            return seen
        self._at_turn, self._until = (
            turn,
            now + LATELY,
        )  # before the file is read: a later change is read the next time
        return self.now()

    def _load(self) -> Snapshot:
        with self._lock:
            try:
                identity, content = self._read()
                for _ in range(3):
                    if content.endswith(b"\n"):
                        break
                    time.sleep(0.0005)  # another process may be in the middle of a write
                    identity, content = self._read()
            except OSError as error:
                return self._unreadable(error)
            seen = self._seen
            if seen is not None and seen.content == content and seen.damage is None:
                seen = Snapshot(identity, content, seen.nonce, seen.entries)
            else:
                seen = self._understood(identity, content)
            self._seen = seen
            return seen

    def _read(self) -> tuple[Identity | None, bytes]:
        file = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while True:
                before = _identity(os.fstat(file))
                content = os.pread(file, before[1] + 1, 0)
                if len(content) == before[1] and _identity(os.fstat(file)) == before:
                    break
        finally:
            os.close(file)
        age = time.time_ns() - max(before[2], before[3])
        return (before if age > _RACY else None), content

    def _unreadable(self, error: OSError) -> Snapshot:
        missing = isinstance(error, FileNotFoundError)
        what = (
            f"{self._what} is missing"
            if missing
            else f"{self._what} cannot be read ({error.strerror or error})"
        )
        # What was read before stays known: a file that reappears must still contain it.
        seen = self._seen
        content, nonce, entries = (
            (b"", None, ()) if seen is None else (seen.content, seen.nonce, seen.entries)
        )
        return Snapshot(None, content, nonce, entries, Damage(what, beyond_repair=True))

    def _understood(self, identity: Identity | None, content: bytes) -> Snapshot:
        seen = self._seen
        nonce, start = self._codec.header(content)
        if nonce is None:
            return self._unusable(content, "is damaged at its beginning, or belongs to another database")
        known: Sequence[tuple[int, Entry]] = ()
        if seen is not None and seen.nonce == nonce:
            if seen.content[START:] != content[START : len(seen.content)]:
                return self._unusable(content, "was cut, changed, or replaced by an older copy")
            if seen.damage is None:
                known, start = seen.entries, len(seen.content)
        parsed = self._codec.parse(content, nonce, start, known)
        snapshot = Snapshot(identity, content, nonce, parsed.entries, damage_of(content, parsed, self._what))
        new = seen is None or seen.nonce != nonce or (seen.damage is not None and seen.damage.beyond_repair)
        wrong = self._confirm(snapshot) if new else None
        return snapshot if wrong is None else self._unusable(content, wrong)

    def _unusable(self, content: bytes, what: str) -> Snapshot:
        seen = self._seen
        damage = Damage(f"{self._what} {what}", beyond_repair=True)
        if seen is not None:
            return Snapshot(None, seen.content, seen.nonce, seen.entries, damage)
        return Snapshot(None, content, None, (), damage)

    # --- writing -------------------------------------------------------------------------------------------------

    def append(self, *entries: Entry) -> None:
        """Write these at the end. When this returns, they are durable, and every later check sees them.

        Raises:
            StoreError: the file is damaged beyond repair.
            OSError: they could not be written completely, for instance because the disk is full.
        """
        for _ in range(8):
            seen = self.now()
            if seen.nonce is None or (seen.damage is not None and seen.damage.beyond_repair):
                assert seen.damage is not None
                raise StoreError(f"{seen.damage.what}.")
            data = self._codec.lines(seen.nonce, entries)
            file = os.open(self._name, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                header = seen.content[START : seen.content.index(b"\n", START)]
                if os.pread(file, len(header), START) != header:
                    continue  # replaced meanwhile
                if os.write(file, data) != len(data):
                    raise OSError(errno.ENOSPC, "only a part of the record could be written", self._name)
                if self._sync:
                    os.fdatasync(file)
                if os.path.samestat(os.fstat(file), os.stat(self._name)):
                    return
            except FileNotFoundError:
                continue  # removed meanwhile
            finally:
                os.close(file)
        raise StoreError(f"{self._what} is being replaced repeatedly.")

    def ring(self) -> None:
        """Stop every agent when no record can be written. Raises ``OSError`` when even that fails."""
        file = os.open(self._name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.pwrite(file, secrets.token_hex(len(QUIET) // 2).encode(), 0)
            os.fsync(file)
        finally:
            os.close(file)

    def draft(self, entries: Sequence[Entry]) -> tuple[Path, Snapshot]:
        """Write a new file with these records under another name; ``install`` puts it in place. Raises ``OSError``."""
        nonce, content = self._codec.new(entries)
        path = self.path.with_name(f"{self.path.name}.{nonce[:8]}.new")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(file)
        return path, Snapshot(None, content, nonce)

    def install(self, draft: Path) -> None:
        """Put a draft in place. Raises ``OSError``."""
        os.replace(draft, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def distrust(self, what: str) -> None:
        """The database names another file: this one is damaged until it is replaced."""
        with self._lock:
            self._seen = self._unusable(self.now().content, what)


def switch_path(database: Path) -> Path:
    """Return the path of a database's switch file."""
    return database.with_name(database.name + ".switch")


def _identity(found: os.stat_result) -> Identity:
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev)
