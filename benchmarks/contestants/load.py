"""Many callers of one governed no-op at once. Usage: KIND CALLERS SECONDS DURABILITY FOLDER.

Prints ``ready``, and answers each line with the milliseconds of every call that it then made.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from time import perf_counter

from plane import ARGUMENTS, control_plane

from ascend_guard import governed

kind, callers, seconds, durability, folder = sys.argv[1:]
plane = control_plane(folder, durability)


@governed("refund", "payments", control_plane=plane)
def refund(order_id: str, amount: int, note: str) -> None:
    return None


@governed("refund", "payments", control_plane=plane)
async def refund_async(order_id: str, amount: int, note: str) -> None:
    return None


def one_thread(stop: float, took: list[float]) -> None:
    while (start := perf_counter()) < stop:
        refund("order-1", *ARGUMENTS)
        took.append(perf_counter() - start)


def threads(stop: float, took: list[float]) -> None:
    running = [threading.Thread(target=one_thread, args=(stop, took)) for _ in range(int(callers))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


async def one_task(stop: float, took: list[float]) -> None:
    while (start := perf_counter()) < stop:
        await refund_async("order-1", *ARGUMENTS)
        took.append(perf_counter() - start)


async def tasks(stop: float, took: list[float]) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(int(callers)):
            group.create_task(one_task(stop, took))


for warm_up in range(50):
    refund(f"order-{warm_up}", *ARGUMENTS)
print("ready", flush=True)
for _ in sys.stdin:
    took: list[float] = []
    begin = perf_counter()
    stop = begin + float(seconds)
    if kind == "tasks":
        asyncio.run(tasks(stop, took))
    else:
        threads(stop, took)
    print(json.dumps([perf_counter() - begin, [round(each * 1e3, 3) for each in took]]), flush=True)
plane.close()
