"""The people of the soak.

``soak_people.py approver|killer JSON`` with ``policy``, ``database``, ``journal``, ``stop``, ``name``, ``agents``, ``seed``.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from soak_journal import Journal

import ascend_guard
from ascend_guard import AscendError

GIVEN = json.loads(sys.argv[2])
STOP = Path(GIVEN["stop"])
journal = Journal(Path(GIVEN["journal"]))


def approve(plane: Any) -> None:
    """Decide something that waits: most are approved, some with another amount, some are denied."""
    waiting = plane.pending()
    if not waiting:
        time.sleep(0.02)
        return
    row = random.choice(waiting)
    chance = random.random()
    try:
        if chance < 0.2:
            plane.deny(str(row.id), approver=GIVEN["name"])
        elif chance < 0.4:
            plane.approve(str(row.id), approver=GIVEN["name"], arguments={"amount": 700.0})
        else:
            plane.approve(str(row.id), approver=GIVEN["name"])
    except AscendError as error:
        journal.write("refused", action=row.id, error=type(error).__name__)
    else:
        journal.write("decided", action=row.id)


def kill(plane: Any) -> None:
    """Stop one agent or all of them for a moment. The times are taken right after one call and right before the other."""
    time.sleep(random.uniform(0.2, 0.8))
    agent = random.choice((None, None, *GIVEN["agents"]))
    killed = plane.kill(reason="soak", by=GIVEN["name"], agent_id=agent)
    journal.write("killed", agent=agent, running=[int(call.action_id) for call in killed.running])
    time.sleep(random.uniform(0.05, 0.3))
    journal.write("releasing", agent=agent)
    plane.release(reason="soak", by=GIVEN["name"], agent_id=agent)


def main() -> None:
    random.seed(GIVEN["seed"])
    plane = ascend_guard.configure(
        policy=GIVEN["policy"], database_url=f"sqlite:///{GIVEN['database']}", durability="process"
    )
    journal.write("ready")
    work = approve if sys.argv[1] == "approver" else kill
    while not STOP.exists():
        work(plane)
    plane.close()


if __name__ == "__main__":
    main()
