"""A process of agents for the tests of the kill switch: ``barrier_agent.py FOLDER MODE [WHERE]``.

``busy``: threads and tasks call a governed tool as fast as they can, until a file ``stop`` appears. Each body's first
statement takes the time; it goes to a log of this process with the action's number. ``halt``: one call, and the process
stops itself with SIGSTOP at WHERE: on the way into a function, or out of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import ascend_guard
from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.calling.scope import current
from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import AscendError
from ascend_guard.store.sqlite.store import SQLiteStore

POLICY = "{version: 1, default: allow}"
THREADS, TASKS = 3, 3
folder = Path(sys.argv[1])
log = os.open(folder / f"starts-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(at: int) -> None:
    running = current()
    assert running is not None
    os.write(log, f"{at} {running.action_id}\n".encode())


@governed("work")
def work() -> None:
    at = time.monotonic_ns()
    note(at)
    time.sleep(0.003)


@governed("work")
async def awork() -> None:
    at = time.monotonic_ns()
    note(at)
    await asyncio.sleep(0.003)


@governed("work")
def stream() -> Any:
    at = time.monotonic_ns()
    note(at)
    yield 1
    yield 2


def stopping() -> bool:
    return (folder / "stop").exists()


def threads(number: int) -> None:
    while not stopping():
        try:
            work() if number else list(stream())
        except AscendError:
            time.sleep(0.001)


async def tasks() -> None:
    async def one() -> None:
        while not stopping():
            try:
                await awork()
            except AscendError:
                await asyncio.sleep(0.001)

    await asyncio.gather(*(one() for _ in range(TASKS)))


def busy() -> None:
    running = [threading.Thread(target=threads, args=(number,)) for number in range(THREADS)]
    for thread in running:
        thread.start()
    print("ready", flush=True)
    asyncio.run(tasks())
    for thread in running:
        thread.join()


def halt(where: str) -> None:
    event, name = where.split()
    halted = []

    def watch(frame: FrameType, kind: str, argument: object) -> None:
        if (
            kind == event
            and frame.f_code.co_name == name
            and "store" in frame.f_code.co_filename
            and not halted
        ):
            halted.append(name)
            print("halting", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.setprofile(watch)
    try:
        work()
    except AscendError as error:
        print(type(error).__name__, flush=True)
    else:
        print("ran", flush=True)
    sys.setprofile(None)


if __name__ == "__main__":
    store = SQLiteStore(folder / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(POLICY), agent_id="worker")
    ascend_guard.configure(control_plane=plane)
    if sys.argv[2] == "busy":
        busy()
    else:
        halt(sys.argv[3])
    plane.close()
