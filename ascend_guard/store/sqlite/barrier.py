"""The kill switch as a barrier: once ``kill`` has returned, no call that it stops passes its last check, in any process.

A starting call (``begin``)                          A killer (``kill``)

1. announces itself in its process's table           1. writes the switch to the end of the switch file, and tells
2. reads the switch file                                all living processes to read it before they decide anything
                                                     2. waits until earlier announcements can be seen
3. has begun; looks whether it was revoked           3. reads the tables of all living processes
                                                     4. waits for calls between 1 and 3, at most ``PATIENCE``
                                                     5. revokes those that are still there, and waits as in 2
                                                     6. returns the calls that had begun

A call that announces itself after 2 reads the file after 1, and is blocked. An earlier call is found in 3; in 6 it has
begun and is listed, or has not begun, and is blocked by the file or by its revocation, however long its process was
stopped. None of this needs the database, or a lock that a stopped process may hold (promise 4).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ascend_guard.errors import StoreError
from ascend_guard.model import Killed, KillSwitchState, RunningCall

from .locks import LivenessFile
from .running_calls import CHECKING, IDLE, SETTLING, Seen, Table, tables
from .switch_file import SwitchFile
from .switch_records import EVERYONE, turned_on

PATIENCE = 0.1
"""Seconds that a killer waits for calls that are at their last check."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RUNG = (
    "The disk is full, so the switch could not be written: every agent of this database is stopped instead, "
    "and the reason is not stored."
)
_DAMAGED = (
    "The kill switch's file is missing or damaged, which stops every agent of this database. This switch was recorded in "
    "the database, and will be in the file that replaces it."
)


class Closing(Exception):
    """No call of this process begins any more, because its store is being closed."""


def begin(
    file: SwitchFile, liveness: LivenessFile, organization: str, agent_id: str, action_id: str
) -> KillSwitchState | None:
    """Make the last check of one call: None when it has begun, else what blocks it. Raises ``OSError``, ``Closing``."""
    slots = liveness.slots
    at = slots.announce(organization, agent_id, action_id)
    state = None
    begun = False
    try:
        if liveness.closing:
            raise Closing
        state = file.stopped(organization, agent_id)
        begun = state is None and slots.passed(at)
        if not begun and state is None:
            # A killer gave up waiting for this call: its switch has been in the file since then.
            state = file.stopped(organization, agent_id) or KillSwitchState(
                True, "it was turned on for a moment"
            )
    finally:
        if not begun:
            liveness.ended(organization, action_id)
    return state


def shut(liveness: LivenessFile) -> None:
    """Prevent calls of this process from beginning, and wait until calls at their last check have begun, or have not."""
    liveness.closing = True
    ends = time.monotonic() + 10 * PATIENCE
    while liveness.slots.checking() and time.monotonic() < ends:
        time.sleep(SETTLING)


def kill(
    file: SwitchFile, folder: Path, organization: str, agent_id: str, reason: str, by: str, at: float
) -> Killed | None:
    """Turn a switch on, and wait until no call that it stops can pass its last check.

    Args:
        file: the switch file.
        folder: the folder of the liveness files.
        organization: the organization of the agents.
        agent_id: ``''`` is every agent.
        reason: the reason.
        by: who turns it on.
        at: seconds since the epoch.

    Returns:
        None when the file is damaged beyond repair: every agent is stopped, but this switch must be stored elsewhere.

    Raises:
        StoreError: nothing could be written, and agents are not stopped.
    """
    entry = turned_on(organization, agent_id, reason, by, at)
    remark = None
    try:
        file.append(entry)
    except OSError as error:
        damage = file.now().damage
        if damage is not None and damage.beyond_repair:
            return None
        if error.errno not in _FULL:
            raise StoreError(
                f"NOT stopped: the kill switch's file {file.path} cannot be written ({error})."
            ) from error
        try:
            file.ring()
        except OSError as failure:
            raise StoreError(
                f"NOT stopped: the kill switch's file {file.path} cannot be written ({failure}). Stop the agents' processes."
            ) from failure
        agent_id, remark = EVERYONE, _RUNG
    running = still_running(folder, organization, agent_id)
    state = entry.state
    return Killed(
        True,
        state.reason,
        agent_id or None,
        state.activated_at,
        state.activated_by,
        running=tuple(running),
        recorded=remark is None,
        remark=remark,
    )


def damaged(file: SwitchFile, folder: Path, organization: str, agent_id: str) -> Killed:
    """Return the result where the file was damaged beyond repair, once the switch is in the database."""
    running = still_running(folder, organization, EVERYONE)
    state = file.now().everyone
    reason = None if state is None else state.reason
    return Killed(True, reason, agent_id or None, running=tuple(running), remark=_DAMAGED)


def undone(file: SwitchFile) -> StoreError:
    """Return the error for a switch that could be written neither to the file nor to the database."""
    return StoreError(
        f"The kill switch was not stored. {file.path} is missing or damaged, which stops every agent at this "
        f"moment, and the "
        f"database cannot be written: another process holds it. Stop the agents' processes before you repair the file."
    )


def still_running(folder: Path, organization: str, agent_id: str) -> list[RunningCall]:
    """Make steps 2 to 6 of a killer: return the calls of this agent, or of every agent, that may still act.

    Args:
        folder: the folder of the liveness files.
        organization: the organization of the agents.
        agent_id: ``''`` is every agent.
    """
    tell(folder)
    time.sleep(SETTLING)
    with _mapped(folder) as found:
        seen = [call for table in found for call in table.calls(organization, agent_id)]
        ends = time.monotonic() + PATIENCE
        while any(_checking(call) for call in seen) and time.monotonic() < ends:
            time.sleep(SETTLING)
        late = [call for call in seen if _checking(call) and call.table.writable]
        for call in late:
            call.table.revoke(call.at, call.word)
        if late:
            time.sleep(SETTLING)
        running = []
        for call in seen:
            word = call.table.word(call.at)
            # The slot now has another call's word: this call has ended or was blocked.
            if word >> 2 == call.word >> 2 and word & 3 != IDLE:
                # A call that could not be revoked may still begin.
                running.append(call.described(begun=word & 3 != CHECKING or not call.table.writable))
        return sorted(running, key=lambda call: int(call.action_id))


def processes(folder: Path) -> int:
    """Return how many living processes have the database open. Raises ``OSError``."""
    with _mapped(folder) as found:
        return len(found)


def tell(folder: Path) -> None:
    """Make every living process read the switch file again before its next transaction."""
    with _mapped(folder) as found:
        for table in found:
            table.tell()


def _checking(call: Seen) -> bool:
    return call.word & 3 == CHECKING and call.table.word(call.at) == call.word


@contextmanager
def _mapped(folder: Path) -> Iterator[list[Table]]:
    with ExitStack() as stack:
        found: list[Table] = []
        for table in tables(folder):
            stack.callback(table.close)
            found.append(table)
        yield found


def runners_path(database: Path) -> Path:
    """Return the folder of the liveness files of a database's processes."""
    return database.with_name(os.fspath(database.name) + ".runners")
