"""An agent process of the soak: threads and an event loop that make governed calls until told to stop.

``soak_agent.py JSON`` with ``policy``, ``database``, ``journal``, ``stop`` (a file that ends it), ``agent``, ``name`` (of
this incarnation), ``seed`` and ``detached`` (nonces of detached calls that an earlier incarnation left).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from soak_journal import Journal

import ascend_guard
from ascend_guard import ActionPendingError, AscendError, governed, guard

GIVEN = json.loads(sys.argv[1])
STOP = Path(GIVEN["stop"])
TASKS = 6
"""Calls that the event loop has under way at once."""

PATIENCE = 1.5
"""Seconds a call waits for a person."""

journal = Journal(Path(GIVEN["journal"]))
numbers = itertools.count()
stopping = threading.Event()


class Broken(Exception):
    """What a tool raises now and then."""


def body(nonce: str, amount: float, tags: list[str]) -> None:
    """What every tool does: its first statement is written down, then it works a little, then it ends or fails."""
    journal.write("began", nonce=nonce, amount=amount, tags=list(tags))
    time.sleep(random.choice((0.0, 0.0, 0.001, 0.02)))
    if random.random() < 0.1:
        journal.write("ended", nonce=nonce, how="failed")
        raise Broken("as planned")
    journal.write("ended", nonce=nonce, how="completed")


@governed("pay", "bank", resource="orders/{nonce}", timeout=PATIENCE)
def pay(nonce: str, amount: float, tags: list[str]) -> None:
    body(nonce, amount, tags)


@governed("pay", "bank", timeout=PATIENCE)
async def apay(nonce: str, amount: float, tags: list[str]) -> None:
    body(nonce, amount, tags)
    await asyncio.sleep(0)


@governed("pay", "bank", on_pending="raise")
def detach(nonce: str, amount: float, tags: list[str]) -> None:
    body(nonce, amount, tags)


@governed("pay", "bank", timeout=PATIENCE)
def rows(nonce: str, amount: float, tags: list[str]) -> Generator[int, None, None]:
    journal.write("began", nonce=nonce, amount=amount, tags=list(tags))
    for chunk in range(3):
        journal.write("chunk", nonce=nonce)
        yield chunk
        time.sleep(0.002)
    journal.write("ended", nonce=nonce, how="completed")


def _later(nonce: str, amount: float, tags: list[str]) -> Generator[None, None, None]:
    body(nonce, amount, tags)
    yield


@governed("pay", "bank", timeout=PATIENCE)
def later(nonce: str, amount: float, tags: list[str]) -> Generator[None, None, None]:
    return _later(nonce, amount, tags)


def block(nonce: str, amount: float, tags: list[str]) -> None:
    given = {"nonce": nonce, "amount": amount, "tags": tags}
    with guard("pay", "bank", parameters=given, timeout=PATIENCE) as permit:
        body(**permit.parameters)


def fresh() -> dict[str, Any]:
    """The arguments of a call that nobody made before. Most are allowed; the others wait for a person."""
    nonce = f"{GIVEN['name']}-{next(numbers)}"
    return {"nonce": nonce, "amount": random.choice((5.0, 5.0, 5.0, 900.0)), "tags": ["a"]}


def tried(call: dict[str, Any], work: Any) -> None:
    """Make one call and write down how it came back to its caller."""
    journal.write("called", nonce=call["nonce"])
    try:
        work()
    except Broken:
        journal.write("returned", nonce=call["nonce"], how="raised")
    except AscendError as error:
        journal.write("blocked", nonce=call["nonce"], error=type(error).__name__)
    else:
        journal.write("returned", nonce=call["nonce"], how="ok")


def one() -> None:
    """One call of a random kind."""
    call = fresh()
    kind = random.choice(("pay", "pay", "rows", "later", "block", "detached", "changed"))
    if kind == "pay":
        tried(call, lambda: pay(**call))
    elif kind == "rows":
        tried(call, lambda: list(rows(**call)))
    elif kind == "later":
        tried(call, lambda: list(later(**call)))
    elif kind == "block":
        tried(call, lambda: block(**call))
    elif kind == "detached":
        detached(call)
    else:  # somebody changes the arguments while the call waits
        call["amount"] = 900.0
        changing = threading.Timer(random.uniform(0.0, 0.2), call["tags"].append, ("changed",))
        changing.start()
        tried(call, lambda: pay(**call))
        changing.join()


def detached(call: dict[str, Any]) -> None:
    """A call that does not wait: it is made again until it ran or was denied."""
    call["amount"] = 900.0
    for _ in range(6):
        try:
            detach(**call)
        except ActionPendingError:
            time.sleep(0.2)
        except (Broken, AscendError):
            return
        else:
            return


def worker() -> None:
    """A thread besides the main one."""
    while not stopping.is_set():
        one()


async def loop_worker() -> None:
    """The event loop's calls."""

    async def task() -> None:
        while not stopping.is_set():
            call = fresh()
            journal.write("called", nonce=call["nonce"])
            try:
                await asyncio.wait_for(apay(**call), random.choice((5.0, 5.0, 0.01)))
            except Broken:
                journal.write("returned", nonce=call["nonce"], how="raised")
            except (AscendError, TimeoutError) as error:
                journal.write("blocked", nonce=call["nonce"], error=type(error).__name__)
            else:
                journal.write("returned", nonce=call["nonce"], how="ok")

    await asyncio.gather(*(task() for _ in range(TASKS)))


def terminated(*_: object) -> None:
    """SIGTERM: leave by sys.exit, from wherever the main thread is."""
    journal.write("terminated")
    sys.exit(0)


def main() -> None:
    random.seed(GIVEN["seed"])
    plane = ascend_guard.configure(
        policy=GIVEN["policy"],
        database_url=f"sqlite:///{GIVEN['database']}",
        durability="process",
        agent_id=GIVEN["agent"],
    )
    signal.signal(signal.SIGTERM, terminated)
    threads = [
        threading.Thread(target=worker),
        threading.Thread(target=lambda: asyncio.run(loop_worker())),
    ]
    for thread in threads:
        thread.start()
    journal.write("ready", pid=os.getpid())
    try:
        for nonce in GIVEN["detached"]:  # an earlier incarnation died and does not know what it left
            detached({"nonce": nonce, "amount": 900.0, "tags": ["a"]})
        while not STOP.exists():
            try:
                one()
            except KeyboardInterrupt:
                journal.write("interrupted")
    finally:
        while True:
            try:
                stopping.set()
                for thread in threads:
                    thread.join()
                break
            except (KeyboardInterrupt, SystemExit):
                continue
        if STOP.exists():
            plane.close()
        journal.write("bye")


if __name__ == "__main__":
    main()
