"""Turn a kill switch on: in the switch file first, which needs no lock; the next process that writes records it."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from ascend_guard.model import Killed
from ascend_guard.store.port import Transaction, switch_on
from ascend_guard.store.writer import GroupCommit

from . import barrier
from .switch_file import SwitchFile

RECORDING = 0.5
"""Seconds that turning a kill switch on waits for its record in the audit trail."""

_TURNED = "A kill switch was turned on"


class Place(msgspec.Struct, frozen=True):
    """The places of a store's kill switches, and of its table of calls that have begun."""

    switches: SwitchFile
    runners: Path
    writer: GroupCommit


def turn_on(place: Place, organization: str, agent_id: str, reason: str, by: str, now: float) -> Killed:
    """Stop an agent, or every agent (``agent_id`` is empty), and list what had begun. ``now`` in seconds since the epoch.

    Raises:
        StoreError: neither the file nor the database could store the switch.
    """
    recorded = threading.Event()
    killed = barrier.kill(place.switches, place.runners, organization, agent_id, reason, by, now)
    if killed is None:  # the file is damaged beyond repair, and so stops every agent

        def keep(tx: Transaction) -> None:
            switch_on(tx, organization, agent_id, reason, by)
            tx.after_commit(recorded.set)

        place.writer.post(keep, _TURNED)
        place.writer.hurry()
        if not recorded.wait(RECORDING):
            raise barrier.undone(place.switches)
        return barrier.damaged(place.switches, place.runners, organization, agent_id)
    place.writer.post(lambda tx: tx.after_commit(recorded.set), _TURNED)
    place.writer.hurry()
    return msgspec.structs.replace(killed, recorded=recorded.wait(RECORDING) and killed.recorded)
