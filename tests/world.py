"""How a test gets a control plane, people and a database: one place for what nearly every folder of tests needs.

- ``new_store(path)``: a SQLite database with our tables. ``postgres_server.database()`` gives the URL of a PostgreSQL one.
- ``World(folder)``: a control plane on such a database, people who decide (``approve``, ``deny``, ``kill``, ``expire``),
  and what was recorded (``rows``, ``events``, ``trail``, ``verify``). Give it the policy that the test needs.
- the fixture ``plane``: such a control plane, which is also the configured default, for tests that need no more.
- ``serving.serving(path)``: a server on a port of its own, with keys and tokens of people at hand.
- ``Clock``: a clock that stands still, or runs ahead, as the test says.
- ``Meanwhile``: a person who acts as soon as a call waits. ``Beside``: a call in a thread of its own.
- ``eventually(look)``: wait for something, and fail when that takes too long.
- ``Answer`` and ``Keyboard``: what a command answered, and a terminal on which somebody types.

The functions ``rows``, ``asked``, ``story``, ``events`` and ``settled`` look at any control plane. Folders whose tests need
more derive from ``World``, and their module says what it adds.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from recorded import asked_in, every_action, every_record
from support import POLICY

import ascend_guard
from ascend_guard import AgentAction, AscendError, EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.port import ActionRow
from ascend_guard.store.sqlite.store import SQLiteStore

HALF_AN_HOUR = 1800.0
"""Seconds after which a call that waits for a person expires, in the policies of most tests."""


class Clock:
    """Seconds since the epoch, as the test says.

    Args:
        stands_at: the time, which stands still; without it, the true time runs on.

    Attributes:
        ahead: seconds that the test has moved it.
    """

    def __init__(self, stands_at: float | None = None) -> None:
        self._stands_at = stands_at
        self.ahead = 0.0

    def __call__(self) -> float:
        return (time.time() if self._stands_at is None else self._stands_at) + self.ahead

    @property
    def now(self) -> float:
        """The time; a test may set it."""
        return self()

    @now.setter
    def now(self, time: float) -> None:
        self.ahead += time - self()

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += seconds


def standing() -> Clock:
    """A clock that stands still, at a time in 2023."""
    return Clock(1_700_000_000.0)


# --- a database ----------------------------------------------------------------------------------------------------------


def new_store(path: Path, clock: Callable[[], float] = time.time) -> SQLiteStore:
    """Open a SQLite database with our tables in it and nothing else; it survives the end of the process, and no power cut.

    A copy of one that was made once for this process: making one takes several times as long as most tests, and has tests
    of its own. A database that is there already is opened as it is.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", ".key", ".switch"):
            shutil.copy(_empty_database().with_name(f"empty.db{suffix}"), path.with_name(path.name + suffix))
    return SQLiteStore(path, durability="process", clock=clock)


@cache
def _empty_database() -> Path:
    folder, made_in = Path(tempfile.mkdtemp(prefix="ascend-empty-")), os.getpid()

    def remove() -> None:
        if os.getpid() == made_in:  # a forked child runs this as well when it ends
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    path = folder / "empty.db"
    SQLiteStore(path, durability="process").close()
    return path


# --- what was recorded ---------------------------------------------------------------------------------------------------


def rows(plane: EmbeddedControlPlane) -> list[ActionRow]:
    """All actions, oldest first."""
    return plane.read(lambda reader: every_action(reader))


def asked(plane: EmbeddedControlPlane, action_id: int | str) -> AgentAction:
    """What was submitted as this action."""
    return plane.read(lambda reader: asked_in(reader, action_id, plane.organization))


def story(plane: EmbeddedControlPlane) -> list[dict[str, Any]]:
    """The audit trail, decoded."""
    return [msgspec.json.decode(row.body) for row in plane.read(lambda reader: every_record(reader))]


def events(plane: EmbeddedControlPlane) -> list[str]:
    """The names of the records in the audit trail."""
    return [record["event"] for record in story(plane)]


def settled(plane: EmbeddedControlPlane) -> None:
    """Return once everything that was posted is written; the trail must be whole."""
    plane.store.write(lambda tx: None)
    report = plane.verify_audit()
    assert report.ok, report.problems


# --- a control plane and its people --------------------------------------------------------------------------------------


class World:
    """A control plane on a folder, and the people who decide.

    Args:
        folder: where the database is; another world on the same folder is the same one after a restart.
        policy: its text.
        agent_id: the agent.
        ahead: seconds the clock is ahead.
        default: whether it is the configured default.

    Attributes:
        plane: the control plane, opened anew by ``restart``.
        clock: its clock, which can be moved.
    """

    def __init__(
        self,
        folder: Path,
        policy: str = POLICY,
        *,
        agent_id: str = "billing",
        ahead: float = 0.0,
        default: bool = True,
    ) -> None:
        self.folder = folder
        self.policy = policy
        self.agent_id = agent_id
        self.clock = Clock()
        self.clock.move(ahead)
        self._default = default
        self.plane = self._open()

    def _open(self) -> EmbeddedControlPlane:
        store = new_store(self.folder / "ascend.db", self.clock)
        plane = EmbeddedControlPlane(
            store, parse_policy(self.policy), agent_id=self.agent_id, clock=self.clock
        )
        if self._default:
            ascend_guard.configure(control_plane=plane)
        return plane

    def restart(self) -> None:
        """The same database, opened anew."""
        self.plane.close()
        self.plane = self._open()

    def close(self) -> None:
        """Close the database."""
        self.plane.close()

    def approve(self, row: ActionRow | str | int, **arguments: Any) -> None:
        """Ann approves, with these arguments changed."""
        self.plane.approve(_number(row), approver="ann", arguments=arguments or None)

    def deny(self, row: ActionRow | str | int) -> None:
        """Ann denies."""
        self.plane.deny(_number(row), approver="ann", comment="not this one")

    def kill(self, _: object = None) -> None:
        """Everything stops."""
        self.plane.kill(reason="stop it", by="ann")

    def release(self) -> None:
        """Everything goes on."""
        self.plane.release(reason="safe", by="ann")

    def expire(self, _: object = None) -> None:
        """The deadline of everything that waits passes."""
        self.clock.move(HALF_AN_HOUR + 1)
        self.plane.housekeep()

    def rows(self) -> list[ActionRow]:
        """All actions, oldest first."""
        return rows(self.plane)

    def asked(self, row: ActionRow) -> AgentAction:
        """What was submitted as this action."""
        return asked(self.plane, row.id)

    def pending(self) -> list[ActionRow]:
        """What waits for a person."""
        return [row for row in self.rows() if row.status == "pending"]

    def claimed(self) -> list[ActionRow]:
        """What was begun."""
        return [row for row in self.rows() if row.claimed_at is not None]

    def trail(self) -> str:
        """Every byte of the audit trail."""
        return b"\n".join(row.body for row in self.plane.read(lambda reader: every_record(reader))).decode()

    def events(self) -> list[str]:
        """The names of the audit records."""
        return events(self.plane)

    def verify(self) -> None:
        """Everything that was posted is written, and the trail is whole."""
        settled(self.plane)


def _number(row: ActionRow | str | int) -> str:
    return str(row.id if isinstance(row, ActionRow) else row)


# --- what happens at the same time ---------------------------------------------------------------------------------------


def eventually(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What ``look`` gives once it is neither None nor false; a failure when that takes too long."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.005)
    return found


def waiting(
    plane: EmbeddedControlPlane, count: int = 1, wanted: Callable[[], bool] = lambda: True
) -> list[ActionRow]:
    """Return once this many calls of living processes wait for a person; none when that is not wanted any more."""
    while wanted():
        found = plane.read(lambda reader: reader.actions("local", status="pending"))
        if len([row for row in found if row.waiter]) >= count:
            return found
        time.sleep(0.001)
    return []


class Meanwhile:
    """A person who does something in another thread as soon as calls wait; what they met is raised on leaving.

    Args:
        plane: whose calls.
        do: what is done, for each call that waits.
        count: how many calls must wait before.
    """

    def __init__(
        self, plane: EmbeddedControlPlane, do: Callable[[ActionRow], object], count: int = 1
    ) -> None:
        self._plane = plane
        self._do = do
        self._count = count
        self._error: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            found = waiting(self._plane, self._count, lambda: not self._over)
            assert found, "no call waits"
            for row in found:
                self._do(row)
        except BaseException as error:
            self._error = error
            with suppress(AscendError):
                self._plane.kill(reason="the test failed", by="test")  # or the call would wait for ever

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        self._over = True
        self._thread.join()
        if self._error is not None:
            raise self._error from error


class Beside:
    """A call that runs in a thread, and what became of it."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call, args), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self.result = call(*args)
        except BaseException as error:
            self.error = error

    def end(self, seconds: float = 30.0) -> Beside:
        """Wait until it has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the call still waits"
        return self


# --- the command line ----------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, which is one JSON value."""
        return json.loads(self.out)


class Keyboard:
    """A terminal on which answers were typed beforehand."""

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = [f"{answer}\n" for answer in answers]

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise ValueError("no real terminal")

    def readline(self) -> str:
        return self._answers.pop(0) if self._answers else ""
