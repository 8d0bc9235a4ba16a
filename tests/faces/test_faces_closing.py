"""A control plane that is closed while calls are on their way: they are blocked or told, and nothing crashes."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from face_kinds import STREAMS, Body, Kind, raw
from support import POLICY
from world import Meanwhile, events, rows, settled

import ascend_guard
from ascend_guard import AscendError, EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore


def begun(folder: Path) -> EmbeddedControlPlane:
    """A control plane on the database in this folder, also the configured default."""
    store = SQLiteStore(folder / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(POLICY), agent_id="billing")
    ascend_guard.configure(control_plane=plane)
    return plane


@pytest.fixture
def again(tmp_path: Path) -> Iterator[Any]:
    """Opens the database again, to see what is in it."""
    opened: list[EmbeddedControlPlane] = []

    def open_() -> EmbeddedControlPlane:
        opened.append(begun(tmp_path))
        return opened[-1]

    yield open_
    for plane in opened:
        plane.close()


@pytest.mark.parametrize("style", ["sync", "async", "stream", "astream"])
def test_closed_while_waiting(tmp_path: Path, again: Any, style: str) -> None:
    """The wait ends at once, the tool does not run, and the action can still be decided and taken up."""
    plane = begun(tmp_path)
    body = Body()
    kind = Kind("function", style, lambda gate, body: gate(raw(style, body)))
    tool = kind.make(governed("refund"), body)
    with Meanwhile(plane, lambda _: plane.close()), pytest.raises(AscendError, match="was closed"):
        kind.run(tool, "o-1", 900.0)
    assert body.ran == []
    plane = again()
    assert [row.status for row in rows(plane)] == ["pending"]
    plane.approve("1", approver="ann")
    kind.run(tool, "o-1", 900.0)
    assert body.ran == [("o-1", 900.0, "n")]
    assert len(rows(plane)) == 1
    settled(plane)


@pytest.mark.parametrize("style", ["sync", "async"])
def test_closed_while_the_tool_runs(
    tmp_path: Path, again: Any, style: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The tool has acted, so its result is handed over; what could not be recorded is logged and shows as unknown."""
    plane = begun(tmp_path)

    def function() -> str:
        plane.close()
        return "done"

    async def coroutine() -> str:
        await asyncio.to_thread(plane.close)
        return "done"

    gate = governed("order_read")
    with caplog.at_level(logging.ERROR):
        result = gate(function)() if style == "sync" else asyncio.run(gate(coroutine)())
    assert result == "done"
    assert "action 1 could not be recorded" in caplog.text
    reopened = again()
    assert [row.outcome for row in rows(reopened)] == ["unknown"]
    assert events(reopened) == ["submitted", "started", "unknown"]
    settled(reopened)


@pytest.mark.parametrize("kind", [kind for kind in STREAMS if kind.name == "function"], ids=str)
def test_closed_between_chunks(tmp_path: Path, again: Any, kind: Kind) -> None:
    """A stream whose kill switch cannot be looked at any more stops there, and its tool cleans up."""
    plane = begun(tmp_path)
    body = Body()
    stream = kind.make(governed("order_read"), body)("o-1")

    async def consume() -> None:
        assert await anext(stream) == 0
        plane.close()
        with pytest.raises(AscendError):
            await anext(stream)

    if kind.style == "astream":
        asyncio.run(consume())
    else:
        assert next(stream) == 0
        plane.close()
        with pytest.raises(AscendError):
            next(stream)
    assert body.cleaned == 1
    assert [row.outcome for row in rows(again())] == ["unknown"]


def test_closed_while_everybody_is_busy(tmp_path: Path, again: Any) -> None:
    """Calls of many threads and tasks either ran and are recorded, or were blocked and did not run."""
    plane = begun(tmp_path)
    ran: list[int] = []
    blocked: list[BaseException] = []

    @governed("order_read")
    def sync(number: int) -> None:
        ran.append(number)

    @governed("order_read")
    async def coroutine(number: int) -> None:
        ran.append(number)

    def work(number: int) -> None:
        try:
            while True:
                sync(number)
                asyncio.run(coroutine(number))
        except AscendError as error:
            blocked.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(ran) < 20:
        threading.Event().wait(0.001)
    plane.close()
    for thread in threads:
        thread.join()
    assert len(blocked) == 4
    reopened = again()
    claimed = [row for row in rows(reopened) if row.claimed_at]
    # A call that had its permit and had not begun is settled by closing; nothing is left without an outcome.
    ran_rows = [row for row in claimed if not (row.error or "").startswith("not started")]
    assert len(ran_rows) == len(ran)
    assert {row.outcome for row in ran_rows} <= {"completed", "unknown"}
    assert {row.outcome for row in claimed if row not in ran_rows} <= {"failed"}
    settled(reopened)


_CRASHING = """
import sys, tempfile, threading
from ascend_guard.store.sqlite.store import SQLiteStore

SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n"
for _ in range(3):
    store = SQLiteStore(tempfile.mkdtemp(dir=sys.argv[1]) + "/ascend.db", durability="process")
    inside = threading.Event()

    def read():
        try:
            while True:
                store.read(lambda reader: (inside.set(), reader._execute(SLOW).fetchall()))
                store.changed()
        except Exception as error:
            ends.append(type(error).__name__)

    ends = []
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.wait()
    store.close()
    for thread in threads:
        thread.join()
    assert ends == ["StoreError"] * 3, ends
print("alive")
"""


def test_closed_in_the_middle_of_a_query(tmp_path: Path) -> None:
    """SQLite does not survive a connection closed under a running query: closing waits for whoever is reading."""
    done = subprocess.run(
        [sys.executable, "-c", _CRASHING, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


_ENDING = """
import asyncio, multiprocessing, os, sys, threading
import ascend_guard
from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

store = SQLiteStore(sys.argv[1] + "/ascend.db", durability="process")
ascend_guard.configure(control_plane=EmbeddedControlPlane(store, parse_policy("{version: 1, default: allow}")))
tool = governed("order_read")(lambda: 1)

@governed("order_read")
async def coroutine():
    return 1

def fork():
    if os.fork() == 0:
        tool()
        sys.exit(0)
    os.wait()

def process():
    child = multiprocessing.get_context("fork").Process(target=tool)
    child.start()
    child.join()

def raising():
    tool()
    raise SystemExit(0)

{
    "falls off the end": tool,
    "raises": raising,
    "ran a loop": lambda: asyncio.run(coroutine()),
    "left a thread": threading.Thread(target=tool).start,
    "forked": fork,
    "made a process": process,
}[sys.argv[2]]()
"""


@pytest.mark.parametrize(
    "how", ["falls off the end", "raises", "ran a loop", "left a thread", "forked", "made a process"]
)
def test_a_process_that_ends_without_closing(tmp_path: Path, again: Any, how: str) -> None:
    """Nobody closes control planes in scripts: what ran is recorded as completed all the same."""
    done = subprocess.run(
        [sys.executable, "-c", _ENDING, str(tmp_path), how], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    plane = again()
    assert [row.outcome for row in rows(plane)] == ["completed"]
    settled(plane)
