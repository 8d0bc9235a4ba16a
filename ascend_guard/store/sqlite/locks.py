"""Locks between processes that the kernel releases when their process dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ascend_guard.interrupts import interruptibly

from .running_calls import Slots


class FairLock:
    """A mutual exclusion between processes without starvation.

    SQLite's own busy handler sleeps and retries, so a busy writer is overtaken for seconds. Here a process first takes the
    queue lock, keeps it until it has the write lock, and only then lets the next process through: a process that has just
    released the write lock queues behind those that wait. The kernel releases both when a process dies.

    The main thread enters and leaves it inside a section of ``interrupts``: only the waits can be interrupted.
    """

    def __init__(self, path: Path) -> None:
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._gate = os.open(f"{path}-queue", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        # A wait may end with an interrupt that comes when the lock was just taken. Releasing a lock that is not held is
        # harmless, so both are released in any case.
        try:
            _take(self._gate)
            _take(self._lock)
        except BaseException:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            raise
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close both files; the kernel releases held locks."""
        os.close(self._lock)
        os.close(self._gate)


def _take(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        interruptibly(fcntl.flock, file, fcntl.LOCK_EX)


class LivenessFile:
    """Shows other processes that this one is alive: a file that it keeps locked as long as it runs.

    A process identifier is reused; a lock is not. ``name`` names the file, and a process that can lock it knows that its
    owner is dead. The file contains the table of this process's running calls.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.name = name
        self._path = folder / name
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._left = False
        self.closing = False
        self.slots = Slots(self._path)

    def ended(self, organization: str, action_id: str) -> None:
        """Note that a call of this process has ended. The last one that outlived ``leave`` removes the file."""
        if self.slots.end(organization, action_id) and self._left and not len(self.slots):
            self._remove()

    def abandon(self) -> None:
        """Close without leaving: for a child process that inherited the descriptor, and for tests of crashes."""
        self.slots.forget()
        os.close(self._file)

    def leave(self) -> None:
        """Leave normally. Calls that still run stay listed, under a name that no action refers to any more."""
        self._left = True
        if not len(self.slots):
            self._remove()
            return
        closed = self._path.with_name(f"{self.name}.closed")
        with suppress(FileNotFoundError):
            self._path.rename(closed)
        self._path = closed
        if not len(self.slots):  # it ended meanwhile, unnoticed
            self._remove()

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def alive(folder: Path, name: str) -> bool:
    """Return whether the owner of this file still runs. The file of a dead owner is removed."""
    path = folder / name
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)
