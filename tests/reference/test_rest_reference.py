"""The REST document's reference implementations, word for word but for the address, against the real server.

Each situation is put to every language whose runtime is here, all at once, since they wait between their attempts. For each
a test says what the program printed, what passed between it and the server, and what the server's trail has of it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from postgres_server import private_server
from rest_between import PRECHECK, SUBMIT, between
from rest_programs import HERE, LANGUAGES, MISSING, RUNTIMES, Program, section
from serving import Serving, serving
from silent_postgres import stopped
from world import eventually

from ascend_guard.engine.history import steps
from ascend_guard.engine.kill import release, stop
from ascend_guard.server.handling import ServerSettings
from ascend_guard.store.postgres.store import PostgresStore

pytestmark = pytest.mark.timeout(300)

R = TypeVar("R")

ATTEMPTS = 5
"""How often each submits before it gives up, by the document."""

AGENT = "my-agent"


def passing(count: int) -> bool:
    """Every submission, and every answer to one, passes."""
    return True


@dataclass
class Told:
    """What became of one program's call.

    Attributes:
        said: what it printed.
        asked: what it asked, in order.
        answered: with which statuses.
    """

    said: str
    asked: list[str]
    answered: list[int]

    def decided(self) -> dict[str, Any]:
        """The decision it printed."""
        assert not self.said.startswith(("BLOCKED", "FAILED")), self.said
        found: dict[str, Any] = json.loads(self.said)
        return found

    def blocked(self) -> str:
        """Why it blocked; each language puts other words before that."""
        assert self.said.startswith("BLOCKED "), self.said
        return self.said[len("BLOCKED ") :].lower().removeprefix("ascend blocked: ")


@dataclass
class Ready:
    """A program, and the port of 127.0.0.1 for which it was made: nothing listens there unless a relay does."""

    program: Program
    port: int


Programs = dict[str, Ready]


class Played:
    """One language's program, and a server of its own for it.

    Args:
        language: one of ``RUNTIMES``.
        server: whose trail is only about this program.
        ready: its program.
    """

    def __init__(self, language: str, server: Serving, ready: Ready) -> None:
        self.language = language
        self.server = server
        self.key = server.key()
        self._ready = ready
        self._known = 0
        self.trail()

    def __call__(
        self,
        kind: str,
        amount: float = 0.0,
        *,
        key: str = "",
        before: Callable[[int], bool] = passing,
        after: Callable[[int], bool] = passing,
    ) -> Told:
        """Let the program submit an action; ``before`` and ``after`` are the relay's."""
        port = int(self.server.url.rpartition(":")[2])
        with between(self._ready.port, port, before, after) as relay:
            said = self._ready.program(key or self.key, action(kind, amount))
        return Told(said, relay.asked, relay.answered)

    def trail(self) -> list[tuple[str, str, str | None]]:
        """What was recorded since the last look: each event, its author, and its outcome.

        A record of a call that was allowed at once says that it started, too, which is a step of its own here.
        """
        page = self.server.ask("GET", "/api/audit/logs?limit=1000", self.server.token(role="admin")).json()
        assert not page["has_more"]
        new = [event for event in reversed(page["events"]) if int(event["id"]) > self._known]
        self._known = max([self._known, *(int(event["id"]) for event in new)])
        told = []
        for event in new:
            number = int(event["id"])
            row = self.server.store.read(lambda reader, number=number: reader.log_record("local", number))
            assert row is not None
            recorded = [(step["event"], step["actor"], step.get("decision")) for step in steps(row)]
            assert recorded[0] == (event["event_type"], event["actor"], event["outcome"])
            told += recorded
        return told


def action(kind: str, amount: float = 0.0) -> dict[str, Any]:
    """A submission as the document has it."""
    return {
        "agent_id": AGENT,
        "agent_name": "My AI Agent",
        "action_type": kind,
        "description": "Query customers' data: é",
        "tool_name": "postgresql",
        "action_details": {"amount": amount},
    }


def all_at_once(work: Callable[[str], R]) -> dict[str, R]:
    """What each language's turn gives."""
    with ThreadPoolExecutor(len(RUNTIMES)) as threads:
        return dict(zip(RUNTIMES, threads.map(work, RUNTIMES), strict=True))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Every program that can run here, made once."""
    with ExitStack() as stack:

        def make(language: str) -> Ready:
            kept = stack.enter_context(socket.socket())
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for the relays
            kept.bind(("127.0.0.1", 0))
            port = kept.getsockname()[1]
            folder = tmp_path_factory.mktemp(language) / "program"
            return Ready(Program(language, f"http://127.0.0.1:{port}", folder), port)

        yield all_at_once(make)


@pytest.fixture
def everyone(programs: Programs, tmp_path: Path) -> Iterator[list[Played]]:
    """Every program, each with a server."""
    with ExitStack() as stack:
        yield [
            Played(language, stack.enter_context(serving(tmp_path / f"{language}.db")), ready)
            for language, ready in programs.items()
        ]


def each(everyone: list[Played], call: Callable[[Played], Told]) -> list[tuple[Played, Told]]:
    """What each was told."""
    with ThreadPoolExecutor(len(everyone)) as threads:
        return list(zip(everyone, threads.map(call, everyone), strict=True))


# --- the programs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_runtime_is_here(language: str) -> None:
    """Each language takes part in every test below; the one that cannot is named."""
    if language in MISSING:
        pytest.skip(f"the document's {language} implementation was not run: {MISSING[language]}")
    assert language in RUNTIMES


def test_the_python_one_is_the_documents() -> None:
    """The indented text has the document's very lines."""
    lines = [line.strip() for line in section("Python", "Node.js").splitlines() if line.strip()]
    kept = [line.strip() for line in (HERE / "rest_reference.txt").read_text().splitlines() if line.strip()]
    assert kept == lines


# --- decisions -----------------------------------------------------------------------------------------------------------


def test_allowed(everyone: list[Played]) -> None:
    """An action that the policy allows is approved by it, with the body as it was sent."""
    for one, told in each(everyone, lambda one: one("orders_read", 12.5)):
        decided = told.decided()
        assert (decided["status"], decided["requires_approval"]) == ("approved", False), one.language
        assert (told.asked, told.answered) == ([PRECHECK, SUBMIT], [200, 200]), one.language
        assert one.trail() == [("submitted", AGENT, "approved"), ("started", AGENT, None)], one.language
        kept = one.server.ask("GET", f"/api/v1/actions/{decided['id']}", one.server.token()).json()
        assert {name: kept[name] for name in ("action_type", "description", "tool_name")} == {
            name: action("orders_read")[name] for name in ("action_type", "description", "tool_name")
        }
        assert kept["action_details"] == {"amount": 12.5}


def test_denied(everyone: list[Played]) -> None:
    """An action that the policy denies is not approved, and was never started."""
    for one, told in each(everyone, lambda one: one("orders_delete")):
        decided = told.decided()
        assert (decided["status"], decided["execution_allowed"]) == ("denied", False), one.language
        assert (told.asked, told.answered) == ([PRECHECK, SUBMIT], [200, 200]), one.language
        assert one.trail() == [("submitted", AGENT, "denied")], one.language


def test_pending_then_approved(everyone: list[Played]) -> None:
    """What needs a person waits, and is approved where the caller asks for its status, once one has approved it."""
    for one, told in each(everyone, lambda one: one("refund", 900.0)):
        decided = told.decided()
        assert (decided["status"], decided["requires_approval"]) == ("pending", True), one.language
        assert decided["execution_allowed"] is False
        assert one.trail() == [("submitted", AGENT, "pending")], one.language
        status = f"/api/v1/actions/{decided['id']}/status"
        assert one.server.ask("GET", status, one.key).json()["status"] == "pending"
        assert one.server.approve(decided["id"]).status_code == 200
        assert one.server.ask("GET", status, one.key).json()["status"] == "approved"
        assert one.trail()[0][:2] == ("approved", "ann@example.com"), one.language


def test_a_wrong_key(everyone: list[Played]) -> None:
    """A key that is none blocks at the first question."""
    for one, told in each(everyone, lambda one: one("orders_read", key="owkai_" + "0" * 43)):
        assert told.blocked() == "kill-switch active or status endpoint unreachable", one.language
        assert (told.asked, told.answered, one.trail()) == ([PRECHECK], [401], []), one.language


# --- the kill switch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", [None, AGENT])
def test_the_kill_switch(everyone: list[Played], agent: str | None) -> None:
    """While it is on, for everybody or for this agent, each is blocked before it submits; afterwards it is not."""
    for one in everyone:
        stop(one.server.store, "local", agent, "an incident for the test", "ann@example.com")
        assert [event[:2] for event in one.trail()] == [("kill_switch.on", "ann@example.com")]
    for one, told in each(everyone, lambda one: one("orders_read")):
        assert told.blocked() == "kill-switch active or status endpoint unreachable", one.language
        assert (told.asked, told.answered, one.trail()) == ([PRECHECK], [200], []), one.language
    for one in everyone:
        one.server.store.write(
            lambda tx: release(tx, "local", agent, "the incident is over", "ann@example.com")
        )
        one.server.store.require_released()
        one.trail()
    for one, told in each(everyone, lambda one: one("orders_read")):
        assert told.decided()["status"] == "approved"
        assert [event[0] for event in one.trail()] == ["submitted", "started"], one.language


def test_the_kill_switch_comes_after_the_first_question(everyone: list[Played]) -> None:
    """A switch that is turned on between the question and the submission blocks this submission."""

    def call(one: Played) -> Told:
        def switch(count: int) -> bool:
            stop(one.server.store, "local", None, "an incident for the test", "ann@example.com")
            return True

        return one("orders_read", before=switch)

    for one, told in each(everyone, call):
        assert told.blocked() == "kill-switch / spend limit active", one.language
        assert (told.asked, told.answered) == ([PRECHECK, SUBMIT], [200, 402]), one.language
        assert [event[0] for event in one.trail()].count("started") == 0, one.language


# --- too often -----------------------------------------------------------------------------------------------------------


class Ahead:
    """A server's clock, which can be put forward."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


def exhausted(
    programs: Programs, tmp_path: Path, language: str, after: Callable[[Ahead, int], bool]
) -> tuple[Told, list[Any]]:
    """A call when the free tier has one request left: the first question takes it."""
    clock = Ahead()
    with serving(tmp_path / f"{language}.db", settings=ServerSettings(tier="free"), clock=clock) as server:
        one = Played(language, server, programs[language])
        used = [server.ask("GET", "/api/v1/actions?limit=1", one.key).status_code for _ in range(59)]
        assert used == [200] * 59
        return one("orders_read", after=lambda count: after(clock, count)), one.trail()


def test_too_often(programs: Programs, tmp_path: Path) -> None:
    """Each tries five times while the limit is used up, and blocks; nothing of it is in the trail."""
    for language, (told, trail) in all_at_once(
        lambda language: exhausted(programs, tmp_path, language, lambda clock, count: True)
    ).items():
        assert told.blocked() == "max retries exceeded (429)", language
        assert told.asked == [PRECHECK] + [SUBMIT] * ATTEMPTS, language
        assert told.answered == [200] + [429] * ATTEMPTS, language
        assert trail == [], language


def test_too_often_for_a_while(programs: Programs, tmp_path: Path) -> None:
    """When the minute is over between two attempts, the next one is decided, and is one action."""

    def over(clock: Ahead, count: int) -> bool:
        clock.seconds = 70.0
        return True

    for language, (told, trail) in all_at_once(
        lambda language: exhausted(programs, tmp_path, language, over)
    ).items():
        assert told.decided()["status"] == "approved", language
        assert told.answered == [200, 429, 200], language
        assert trail == [("submitted", AGENT, "approved"), ("started", AGENT, None)], language


def ready(server: Serving) -> None:
    """Wait until a server can decide again."""
    eventually(lambda: requests.get(server.url + "/ready", timeout=30).ok)


# --- the database is gone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("returns", [False, True], ids=["for good", "for a while"])
def test_the_database_is_gone(programs: Programs, returns: bool) -> None:
    """PostgreSQL stops after the first question: each gets 503, tries again, and blocks unless it has come back by then."""
    with ExitStack() as stack:
        database = stack.enter_context(private_server())
        everyone = []
        for language in RUNTIMES:
            store = PostgresStore(stack.enter_context(database.database()), secret=b"s" * 32)
            server = stack.enter_context(serving(store))
            everyone.append(Played(language, server, programs[language]))

        def back() -> None:
            database.start()
            for one in everyone:
                ready(one.server)

        gone = threading.Barrier(len(everyone), database.stop, timeout=60)
        here = threading.Barrier(len(everyone), back, timeout=60)

        def before(count: int) -> bool:
            if count == 1:
                gone.wait()
            if count == 2 and returns:
                here.wait()
            return True

        found = each(everyone, lambda one: one("orders_read", before=before))
        if not returns:
            back()
        for one, told in found:
            if returns:
                assert told.decided()["status"] == "approved", one.language
                assert told.answered == [200, 503, 200], one.language
                assert one.trail() == [("submitted", AGENT, "approved"), ("started", AGENT, None)]
            else:
                assert told.blocked() == "max retries exceeded (503)", one.language
                assert told.answered == [200] + [503] * ATTEMPTS, one.language
                assert one.trail() == [], one.language
            assert told.asked == [PRECHECK] + [SUBMIT] * (len(told.answered) - 1), one.language


@pytest.mark.parametrize("hangs", [False, True], ids=["gone", "hanging"])
def test_the_database_is_gone_before_the_first_question(programs: Programs, hangs: bool) -> None:
    """While nothing can be read, the kill switch's state is unknown, which blocks; also where the answer takes too long."""
    with ExitStack() as stack:
        database = stack.enter_context(private_server())
        store = PostgresStore(stack.enter_context(database.database()), secret=b"s" * 32)
        server = stack.enter_context(serving(store))
        everyone = [Played(language, server, ready) for language, ready in programs.items()]
        everyone[0].trail()
        if hangs:
            with stopped(database):
                found = each(everyone, lambda one: one("orders_read"))
        else:
            database.stop()
            found = each(everyone, lambda one: one("orders_read"))
            database.start()
        ready(server)
        for one, told in found:
            assert told.blocked() == "kill-switch active or status endpoint unreachable", one.language
            assert told.asked == [PRECHECK], one.language
            assert told.answered == [503] or (hangs and told.answered == []), one.language
        assert everyone[0].trail() == []


# --- the server is down --------------------------------------------------------------------------------------------------


def test_nobody_listens(programs: Programs, tmp_path: Path) -> None:
    """Where no server listens each is blocked, and the one that comes back later has nothing of it."""
    with serving(tmp_path / "a.db") as server:
        key = server.key()
    said = all_at_once(lambda language: programs[language].program(key, action("orders_read")))
    for language, text in said.items():
        assert Told(text, [], []).blocked() == "kill-switch active or status endpoint unreachable", language
    with serving(tmp_path / "a.db") as again:
        events = again.ask("GET", "/api/audit/logs", again.token(role="admin")).json()["events"]
        assert [event["event_type"] for event in events if event["actor"] == AGENT] == []


@pytest.mark.parametrize("reached", [False, True], ids=["the submission is lost", "its answer is lost"])
def test_the_connection_is_lost(everyone: list[Played], reached: bool) -> None:
    """A submission whose answer does not come blocks; the trail shows whether it had come, and nothing that says it ran."""

    def lost(count: int) -> bool:
        return False

    def call(one: Played) -> Told:
        return one("orders_read", after=lost) if reached else one("orders_read", before=lost)

    for one, told in each(everyone, call):
        assert told.blocked() == "ascend unreachable", one.language
        events = [event[0] for event in one.trail()]
        assert events == ["submitted", "started"] * reached * told.asked.count(SUBMIT), (one.language, told)
