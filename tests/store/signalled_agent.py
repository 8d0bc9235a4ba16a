"""An agent that is sent signals all the time: calls in the main thread and beside it, then a clean end or ``sys.exit``.

Usage: python signalled_agent.py FOLDER SIGNAL CALLS. Prints READY, then one line of JSON about what its calls returned.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import Any

import ascend_guard
from ascend_guard import governed
from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

folder, name, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = SQLiteStore(f"{folder}/a.db", durability="process")
ascend_guard.configure(
    control_plane=EmbeddedControlPlane(
        store, parse_policy("version: 1\ndefault: deny\nrules: [{name: all, actions: ['*'], effect: allow}]")
    )
)
armed = False
over = False
done: list[str] = []
wrong: list[str] = []
hits = 0


class SoftTimeLimit(Exception):
    """What a worker's time limit raises."""


RAISED: Any = {"SIGINT": KeyboardInterrupt, "SIGTERM": SystemExit, "SIGALRM": SoftTimeLimit}[name]


def handler(*_: object) -> None:
    """Raises once for each call."""
    global armed
    if armed:
        armed = False
        raise RAISED


@governed("main")
def tool(number: int) -> str:
    """The main thread's."""
    running = ascend_guard.calling.scope.current()
    return str(running.action_id if running else "outside")


@governed("side")
def side(number: int) -> str:
    """Another thread's."""
    running = ascend_guard.calling.scope.current()
    return str(running.action_id if running else "outside")


def beside() -> None:
    """Calls that no interrupt may reach."""
    while not over:
        try:
            done.append(side(1))
        except BaseException as error:
            wrong.append(f"beside: {error!r}")


signal.signal(getattr(signal, name), handler)
done.append(tool(0))
thread = threading.Thread(target=beside)
thread.start()
print("READY", flush=True)
if name == "SIGALRM":
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
for number in range(calls):
    try:
        armed = True
        action = tool(number)
        armed = False
        done.append(action)
    except RAISED:
        hits += 1
    except ascend_guard.ValidationError as error:  # its arguments could not be read, because of the interrupt
        hits += 1
        if "SoftTimeLimit" not in str(error):
            wrong.append(f"main: {error!r}")
    except BaseException as error:
        wrong.append(f"main: {error!r}")
    armed = False
    if ascend_guard.calling.scope.current() is not None:
        wrong.append("the context is still inside a call")
signal.setitimer(signal.ITIMER_REAL, 0)
over = True
thread.join()
done.append(tool(-1))
print(json.dumps({"done": done, "wrong": wrong, "hits": hits}), flush=True)
sys.stdin.readline()
armed = name == "SIGTERM"
if armed:
    done.append(tool(-2))  # its outcome lies in the queue
    print("ARMED", flush=True)
    signal.pause()  # the last signal ends the process by sys.exit
