"""The kill switch of a SQLite database, for a process that does not have it open, and may be unable to open it.

Opening takes locks that a stopped process may hold. Here the switch is turned on first; the database is opened afterwards,
in a thread, with a time limit.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from ascend_guard.errors import StoreError
from ascend_guard.model import Killed, KillSwitchState
from ascend_guard.store.failures import explain
from ascend_guard.store.forks import forget

from . import barrier
from .keyfile import load_secret
from .queries import UNASKED, foreign
from .store import Durability, SQLiteStore
from .switch_file import SwitchFile, switch_path
from .switch_records import Snapshot
from .switch_turning import RECORDING

R = TypeVar("R")

OPENING = 5.0
"""Seconds that opening the database may take when nothing can be done without it."""


class Beside:
    """The kill switch of the database at ``path``, which exists.

    Args:
        path: the database.
        durability: see ``SQLiteStore``.

    Raises:
        StoreError: the key cannot be read, or a database of an older version cannot be opened.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self._path = path
        self._durability: Durability = durability
        switches = switch_path(path)
        if not os.path.lexists(switches):
            self._opened(lambda store: None, OPENING)  # an older database; or its file is missing
        try:
            secret = load_secret(path.with_name(path.name + ".key"), may_make=False)
        except OSError as error:
            raise explain(error, path) from error
        self._file = SwitchFile(switches, secret, sync=durability == "power", confirm=self._foreign)

    def _foreign(self, file: Snapshot) -> str | None:
        wrong = foreign(self._path, file)
        # Locked: every agent's process checks for itself.
        return None if wrong is not None and wrong.startswith(UNASKED) else wrong

    def switches(self, organization: str) -> list[KillSwitchState]:
        """Return the switches that are on."""
        return list(self._file.now().switches(organization).values())

    def stopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        """Return the switch that stops this agent, or None; ``''`` means every agent."""
        return self._file.stopped(organization, agent_id)

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> Killed:
        """Turn a switch on; ``recorded`` is set by ``followed``. Raises as ``Store.kill``."""
        folder = barrier.runners_path(self._path)
        try:
            killed = barrier.kill(self._file, folder, organization, agent_id, reason, by, time.time())
        except OSError as error:
            if isinstance(error, StoreError) or self._file.stopped(organization, agent_id) is None:
                raise
            why = explain(error, self._path)
            raise StoreError(
                f"The kill switch is on: no call starts. But the calls that were already running cannot be "
                f"listed, and may still "
                f"act. {why}"
            ) from error
        if killed is None:
            found = self._opened(lambda store: store.kill(organization, agent_id, reason, by), OPENING)
            if found is None:
                raise barrier.undone(self._file)
            return found
        return msgspec.structs.replace(killed, recorded=False)

    def followed(self, work: Callable[[SQLiteStore], R], seconds: float = RECORDING) -> R | None:
        """Open the database, which records the switch, and read from it; None if that takes too long or fails."""
        try:
            return self._opened(work, seconds)
        except StoreError:
            return None

    def _opened(self, work: Callable[[SQLiteStore], R], seconds: float) -> R | None:
        return briefly(partial(SQLiteStore, self._path, durability=self._durability), work, seconds)


def briefly(opening: Callable[[], SQLiteStore], work: Callable[[SQLiteStore], R], seconds: float) -> R | None:
    """Open a database as agents do, read from it, and close it; None if that takes longer than this.

    Raises:
        StoreError: it cannot be opened or read.
    """
    answers: list[R | StoreError] = []
    done = threading.Event()

    def open_() -> None:
        try:
            store = opening()
            forget(store)  # the end of this process does not wait for it
            try:
                store.write(lambda tx: None)
                answers.append(work(store))
            finally:
                store.close()
        except StoreError as error:
            answers.append(error)
        finally:
            done.set()

    threading.Thread(target=open_, name="ascend-guard-recording", daemon=True).start()
    if not done.wait(seconds) or not answers:
        return None
    [answer] = answers
    if isinstance(answer, StoreError):
        raise answer
    return answer
