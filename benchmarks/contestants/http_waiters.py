"""A process whose many calls all wait for a person, on one event loop. Usage: URL KEY CALLS.

Prints ``ready``; for ``go`` makes the calls and answers, once all of them wait, with their actions' identifiers, the
bytes of memory for each, and the number of threads before and after; for ``report N`` answers, once N of them ran, when
each got its decision and when its body ran.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic_ns, process_time
from typing import Any

from plane import ARGUMENTS

from ascend_guard import governed
from ascend_guard.client.guard.control_plane import RemoteControlPlane
from ascend_guard.flow import AwaitDecision, Effect

url, key, calls = sys.argv[1:]
orders: dict[str, str] = {}
decided: dict[str, int] = {}
ran: dict[str, int] = {}
another = asyncio.Event()


class Noting(RemoteControlPlane):
    """Records which actions wait, and when their decisions arrive."""

    async def aperform(self, effect: Effect[Any]) -> Any:
        if not isinstance(effect, AwaitDecision):
            return await super().aperform(effect)
        order = effect.action.action_details["order_id"]
        orders[order] = effect.action_id
        answer = await super().aperform(effect)
        decided[order] = monotonic_ns()
        return answer


plane = Noting(key, url, agent_id="bench")


@governed("refund", "payments", control_plane=plane)
async def refund(order_id: str, amount: int, note: str) -> None:
    return None


@governed("pay_out", "payments", control_plane=plane)
async def pay_out(order_id: str, amount: int, note: str) -> None:
    ran[order_id] = monotonic_ns()
    another.set()


def memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


async def quiet(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until every call waits and nothing more is requested for any of them."""
    while True:
        for task in tasks:
            if task.done():
                task.result()
                raise AssertionError("a call that must wait ran")
        used = process_time()
        await asyncio.sleep(0.3)
        if len(orders) == len(tasks) and process_time() - used < 0.03:
            return


async def lines() -> AsyncIterator[list[str]]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        yield line.decode().split()


async def main() -> None:
    while not plane._feed.live:
        await asyncio.gather(*(refund(f"warm-up-{number}", *ARGUMENTS) for number in range(64)))
    await quiet([])
    tasks: list[asyncio.Task[None]] = []
    begin = memory(), threads()
    print("ready", flush=True)
    async for words in lines():
        if words[0] == "go":
            tasks += [asyncio.create_task(pay_out(f"{number}", *ARGUMENTS)) for number in range(int(calls))]
            await quiet(tasks)
            each = (memory() - begin[0]) / len(tasks)
            print(json.dumps([list(orders.values()), each, begin[1], threads()]), flush=True)
        else:
            async with asyncio.timeout(30):
                while len(ran) < int(words[1]):
                    another.clear()
                    await another.wait()
            times = [(orders[order], decided[order], ran[order]) for order in ran]
            print(json.dumps(times), flush=True)


try:
    asyncio.new_event_loop().run_until_complete(main())
except BaseException:
    traceback.print_exc()
    os._exit(1)
os._exit(0)  # thousands of calls still wait; ending each of them would take longer than the measurement
