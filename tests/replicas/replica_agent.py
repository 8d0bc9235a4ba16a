"""An agent process that makes governed calls until its input ends, and keeps a journal of what it was told.

``replica_agent.py JSON`` with ``url``, ``key``, ``agent``, ``journal``, ``seed`` and ``kind``: ``threads``, ``tasks``, or
``stuck``, whose one body never ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from replica_journal import Journal

import ascend_guard.client.guard.control_plane as remote
from ascend_guard import AscendError, governed
from ascend_guard.calling.scope import current
from ascend_guard.client.http.transport import Answer, Transport

GIVEN = json.loads(sys.argv[1])
AGENT = GIVEN["agent"]
SESSIONS = 2
"""Calls that each process has under way at once."""

PATIENCE = 4.0
"""Seconds a call waits for a person."""

journal = Journal(Path(GIVEN["journal"]))
stopping = threading.Event()


class Overheard(Transport):
    """Notes what the server acknowledged, as it arrives."""

    def send(self, method: str, path: str, **options: Any) -> Answer:
        answer = super().send(method, path, **options)
        if method == "POST" and answer.status == 200:
            acknowledged(path, options.get("body") or b"{}", json.loads(answer.body))
        return answer


def acknowledged(path: str, asked: bytes, said: dict[str, Any]) -> None:
    """Note what an answer says: of one action, or of several whose outcomes were reported together."""
    if not path.endswith("/outcomes"):
        journal.write("acknowledged", path=path, id=int(said["action_id"]), status=said["status"])
        return
    refused = {one["action_id"] for one in said["refused"]}
    for one in json.loads(asked)["outcomes"]:
        if one["action_id"] not in refused:
            end = "complete" if one["status"] == "completed" else "fail"
            journal.write(
                "acknowledged", path=f"{path}/{end}", id=int(one["action_id"]), status=one["status"]
            )


remote.Transport = Overheard  # type: ignore[misc]
plane = remote.RemoteControlPlane(GIVEN["key"], GIVEN["url"], agent_id=AGENT, timeout=15.0, poll_interval=1.0)


def begun(**arguments: Any) -> None:
    """The first line of every body."""
    running = current()
    assert running is not None
    journal.write("began", id=running.action_id, agent=AGENT, arguments=arguments)


@governed("refund", timeout=PATIENCE, control_plane=plane)
def refund(amount: float, note: str) -> str:
    begun(amount=amount, note=note)
    if GIVEN["kind"] == "stuck":
        signal.pause()
    return f"{note} {amount}"


@governed("refund", timeout=PATIENCE, control_plane=plane)
async def refund_later(amount: float, note: str) -> str:
    begun(amount=amount, note=note)
    await asyncio.sleep(0.002)
    if amount == 13:
        raise RuntimeError("as told")
    return f"{note} {amount}"


@governed("refund", on_pending="raise", control_plane=plane)
def refund_detached(amount: float, note: str) -> str:
    begun(amount=amount, note=note)
    return f"{note} {amount}"


@governed("file_delete", control_plane=plane)
def delete(amount: float, note: str) -> str:
    begun(amount=amount, note=note)
    return note


def outcome(note: str, error: AscendError) -> bool:
    """Note that a call was refused; whether it waits for somebody."""
    kind = type(error).__name__
    journal.write("refused", note=note, error=kind, id=error.action_id, message=str(error)[:300])
    return kind == "ActionPendingError"


def session(name: str, chance: random.Random) -> None:
    """Calls one after the other, from a thread."""
    for number in range(1_000_000):
        note = f"{name}-{number}"
        tool, amount = chance.choice(
            [(refund, 5), (refund, 5), (refund, 900), (refund_detached, 800), (delete, 1)]
        )
        for _ in range(20):
            if stopping.is_set():
                return
            journal.write("calling", note=note)
            try:
                said = tool(amount, note)
            except AscendError as error:
                if not outcome(note, error):
                    break
                stopping.wait(0.25)
            else:
                journal.write("returned", note=note, said=said)
                break
        stopping.wait(chance.uniform(0.01, 0.08))


async def task(name: str, chance: random.Random) -> None:
    """The same, from a coroutine."""
    for number in range(1_000_000):
        note = f"{name}-{number}"
        if stopping.is_set():
            return
        journal.write("calling", note=note)
        try:
            said = await refund_later(chance.choice([5, 5, 13, 700]), note)
        except AscendError as error:
            outcome(note, error)
        except RuntimeError:
            journal.write("failed", note=note)
        else:
            journal.write("returned", note=note, said=said)
        await asyncio.sleep(chance.uniform(0.01, 0.08))


async def tasks(names: list[str]) -> None:
    """All of them at once."""
    await asyncio.gather(*(task(name, random.Random(name)) for name in names))


def main() -> None:
    """Work until the input ends."""
    names = [f"{AGENT}-{GIVEN['seed']}-{number}" for number in range(SESSIONS)]
    threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
    if GIVEN["kind"] == "stuck":
        refund(5, names[0])
    elif GIVEN["kind"] == "tasks":
        asyncio.run(tasks(names))
    else:
        threads = [threading.Thread(target=session, args=(name, random.Random(name))) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    plane.close()
    journal.write("ended")


if __name__ == "__main__":
    main()
