"""An agent whose threads start governed calls as fast as they can. Usage: URL KEY THREADS.

``go`` starts them, answered ``running`` once a body has run in each; ``stop`` ends them, answered with when the last body
began, how many began, and how many calls the kill switch refused. Any other failure ends the process.
"""

from __future__ import annotations

import json
import sys
import threading
from itertools import count
from time import monotonic, monotonic_ns, sleep

from plane import ARGUMENTS, wait_until_live

from ascend_guard import KillSwitchError, governed
from ascend_guard.client.guard.control_plane import RemoteControlPlane

url, key, threads = sys.argv[1:]
plane = RemoteControlPlane(key, url, agent_id="bench")
numbers = count()
going = threading.Event()


class Starter(threading.Thread):
    """One thread's calls."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.last = self.starts = self.refused = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        while going.is_set():
            try:
                refund(f"order-{next(numbers)}", *ARGUMENTS)
            except KillSwitchError:
                self.refused += 1
                sleep(
                    0.001
                )  # refusing costs no request; eight threads of it would take both cores from the server
            except BaseException as error:
                self.failure = error
                return


@governed("refund", "payments", control_plane=plane)
def refund(order_id: str, amount: int, note: str) -> None:
    starter = threading.current_thread()
    if isinstance(starter, Starter):
        starter.last = monotonic_ns()
        starter.starts += 1


def check(starters: list[Starter]) -> None:
    for starter in starters:
        if starter.failure is not None:
            raise starter.failure


refund("order-first", *ARGUMENTS)
wait_until_live(plane)
print("ready", flush=True)
starters: list[Starter] = []
for line in sys.stdin:
    if line == "go\n":
        going.set()
        starters = [Starter() for _ in range(int(threads))]
        for starter in starters:
            starter.start()
        patience = monotonic() + 20
        while not all(starter.starts for starter in starters):
            check(starters)
            assert monotonic() < patience, "no call ran"
            sleep(0.002)
        print("running", flush=True)
    else:
        assert plane._feed.live, "the stream is not live"
        going.clear()
        for starter in starters:
            starter.join()
        check(starters)
        totals = [sum(starter.starts for starter in starters), sum(starter.refused for starter in starters)]
        print(json.dumps([max(starter.last for starter in starters), *totals]), flush=True)
plane.close()
