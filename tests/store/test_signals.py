"""Agents under storms of real signals, and the database that they leave, read by sqlite3 alone."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import PROFILE

from ascend_guard.store.log import of_key

CALLS = {"quick": 300, "ci": 1000, "full": 20_000}[PROFILE]
HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGALRM"])
def test_a_storm_of_signals_costs_no_finished_call_its_outcome(tmp_path: Path, name: str) -> None:
    """The agent comes to its end, other threads notice nothing, every call that returned is completed."""
    agent = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(HERE / "signalled_agent.py"), str(tmp_path), name, str(CALLS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    assert agent.stdout.readline() == "READY\n"
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.0007) and agent.poll() is None:
            agent.send_signal(getattr(signal, name))

    sender = threading.Thread(target=send)
    if name != "SIGALRM":
        sender.start()
    said = json.loads(agent.stdout.readline())
    stop.set()
    if name != "SIGALRM":
        sender.join()
    agent.stdin.write("\n")
    agent.stdin.flush()
    if name == "SIGTERM":
        assert agent.stdout.readline() == "ARMED\n"
        agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 0
    assert said["wrong"] == []
    assert said["hits"] > CALLS // 20, "the storm reached too few calls"
    connection = sqlite3.connect(tmp_path / "a.db")
    rows = connection.execute(
        "SELECT action, event FROM log WHERE action IS NOT NULL ORDER BY key"
    ).fetchall()
    outcomes = {str(of_key(key)[1]): None if found == "submitted" else found for key, found in rows}
    assert len(set(said["done"])) == len(said["done"])
    assert {outcomes[number] for number in said["done"]} == {"completed"}
    assert None not in outcomes.values()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


COLD = """
import builtins, json, os, sys
import ascend_guard
from ascend_guard import governed, guard
from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore
import asyncio, datetime, decimal, pathlib, uuid

RULES = '''version: 1
default: deny
rules:
  - {name: free, actions: [free], when: args.x != 1.5, effect: allow}
  - {name: ask, actions: [ask], effect: require_approval, timeout: 60s}
'''
plane = EmbeddedControlPlane(SQLiteStore(sys.argv[1] + "/a.db", durability="process"), parse_policy(RULES))
ascend_guard.configure(control_plane=plane)

@governed("free")
def tool(x): return x
@governed("free")
def fails(x): raise ValueError("x")
@governed("free")
def stream(x): yield x
@governed("free")
async def atool(x): return x
@governed("free")
async def astream(x): yield x
@governed("ask", on_pending="raise")
def ask(x): return x
@governed("ask", timeout=0.01)
def wait(x): return x
@governed("never")
def never(x): return x

async def main():
    await atool(1)
    async for _ in astream(1): pass
    async with guard("free", parameters={"x": 1}): pass

class Plain: pass

late = []
real = builtins.__import__
def watch(name, globals=None, locals=None, fromlist=(), level=0):
    before = set(sys.modules)
    module = real(name, globals, locals, fromlist, level)
    late.extend(set(sys.modules) - before)
    return module
builtins.__import__ = watch
loop = asyncio.new_event_loop()
values = (1, decimal.Decimal(1), datetime.datetime.now(datetime.timezone.utc), uuid.uuid4(), pathlib.Path("x"), b"x", {1},
          Plain())
for call in (*(lambda value=value: tool(value) for value in values), lambda: fails(1), lambda: list(stream(1)),
             lambda: ask(1), lambda: wait(1), lambda: never(1), lambda: loop.run_until_complete(main())):
    try: call()
    except Exception: pass
with guard("free", parameters={"x": 1}): pass
plane.kill(reason="r", by="me")
try: tool(1)
except Exception: pass
print(json.dumps(late))
"""


def test_a_call_imports_nothing(tmp_path: Path) -> None:
    """An import of one thread's first call would be left unfinished in a child that another thread forks meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", COLD, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
