"""Whatever happens between the guard and its server, no tool body runs without a permit of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from fault_server import FaultServer, certificates
from fault_switchboard import BROKEN, LOST, MUTATIONS, REPLAYED, STATUSES, Step, Switchboard
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import every_action
from serving import Serving, serving
from support import PROFILE
from world import eventually

from ascend_guard import AscendError, KillSwitchError, RemoteControlPlane, governed
from ascend_guard.client.guard.feed import MISSED
from ascend_guard.client.http.exchange import Retry
from ascend_guard.engine import audit

FAULTS = (*map(str, STATUSES), *MUTATIONS, *LOST, *BROKEN, REPLAYED)
EXAMPLES = {"quick": 250, "ci": 600, "full": 8000}[PROFILE]
TIMEOUT = 0.25

EVENTS = ("approve", "approve", "approve", "edit", "deny", "kill", "release")

quiet = st.just(Step())
faulty = st.builds(Step, st.just(()), st.sampled_from(FAULTS), st.booleans())
eventful = st.builds(
    Step, st.lists(st.sampled_from(EVENTS), max_size=2).map(tuple), st.just(""), st.just(False)
)
both = st.builds(
    Step, st.lists(st.sampled_from(EVENTS), max_size=2).map(tuple), st.sampled_from(FAULTS), st.booleans()
)
steps = st.lists(st.one_of(quiet, quiet, eventful, faulty, both), max_size=9).map(tuple)


@dataclass(frozen=True)
class Made:
    """One call of a schedule."""

    amount: int
    detached: bool
    steps: tuple[Step, ...]


calls = st.builds(Made, st.sampled_from([10, 400, 900, 901]), st.booleans(), steps)


class Town:
    """A server, the switchboard before it, and everything that ran."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self.board = Switchboard(server.url, self.people)
        self.key = server.key("my-agent")
        self.ran: list[int] = []
        self._admin = server.key(None, "admin")

    def people(self, event: str) -> None:
        """What people do, directly at the server."""
        store = self.server.store
        if event in ("approve", "edit", "deny"):
            rows = store.read(lambda reader: reader.actions("local", status="pending", limit=1))
            if not rows:
                return
            if event == "deny":
                self.server.deny(rows[0].id)
            else:
                self.server.approve(rows[0].id, **({"arguments": {"amount": 600}} if event == "edit" else {}))
            return
        how = "trigger" if event == "kill" else "release"
        self.server.ask(
            "POST", f"/api/billing/kill-switch/local/{how}", self._admin, {"reason": "there is a fire"}
        )

    def plane(self, *, push: bool) -> RemoteControlPlane:
        plane = RemoteControlPlane(
            self.key, self.board.url, agent_id="my-agent", timeout=TIMEOUT, poll_interval=0.01, push=push
        )
        plane._retry = Retry(attempts=5, statuses=frozenset({429, 503}), base=0.0)
        return plane

    def started(self) -> list[Any]:
        """Actions whose permit was taken."""
        rows = self.server.store.read(lambda reader: every_action(reader))
        return [row for row in rows if row.claimed_at is not None]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One town for all schedules: what one leaves behind, the next one lives with."""
    with serving(tmp_path_factory.mktemp("faults") / "a.db") as server:
        made = Town(server)
        yield made
        made.board.close()


def _play(town: Town, plane: RemoteControlPlane, made: Made, awaited: bool) -> str:
    ran = town.ran
    options: dict[str, Any] = {
        "on_pending": "raise" if made.detached else "wait",
        "timeout": 0.1,
        "control_plane": plane,
    }
    known = {row.id for row in town.started()}
    before = len(ran)
    town.board.play(made.steps)
    try:
        if awaited:

            @governed("refund", "stripe", **options)
            async def arefund(amount: int) -> str:
                ran.append(amount)
                return "done"

            end = asyncio.run(arefund(made.amount))
        else:

            @governed("refund", "stripe", **options)
            def refund(amount: int) -> str:
                ran.append(amount)
                return "done"

            end = refund(made.amount)
    except AscendError as error:
        end = type(error).__name__
    runs = ran[before:]
    fresh = [row for row in town.started() if row.id not in known]
    assert len(runs) <= 1, "the body ran more than once for one call"
    assert (end == "done") == bool(runs), end
    if runs:
        # Exactly the permit of this call, for exactly these arguments.
        (row,) = [row for row in fresh if row.outcome != "failed" or "not started" not in (row.error or "")]
        assert row.status == "approved"
        amount = 600 if row.edits else made.amount
        assert runs == [amount]
        assert amount <= 500 or row.decided_by is not None
    return end


@settings(max_examples=EXAMPLES)
@given(made=st.lists(calls, min_size=1, max_size=3), awaited=st.booleans())
def test_no_body_without_a_permit(town: Town, made: list[Made], awaited: bool) -> None:
    """Any fault at any request of the governed call: it runs at most once, with the permit the server gave for it."""
    town.people("release")
    plane = town.plane(push=False)
    try:
        for call in made:
            _play(town, plane, call, awaited)
    finally:
        plane._outbox._closing.set()
        plane.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_each_fault_at_each_step(town: Town, fault: str, reached: bool, at: int) -> None:
    """Features, kill switch, submission, outcome: a call is blocked, or runs once with its permit."""
    town.people("release")
    plane = town.plane(push=False)
    try:
        end = _play(town, plane, Made(10, False, (*[Step()] * at, Step((), fault, reached))), awaited=False)
        if at == 3:  # the tool has run by then; nothing that happens to its outcome may say otherwise
            assert end == "done"
        if at == 1:  # a kill switch that cannot be read counts as on, unless a resend reads it
            assert end in ("KillSwitchError", "AuthenticationError", "AuthorizationDeniedError", "done")
    finally:
        plane._outbox._closing.set()
        plane.close()


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_an_answer_to_an_earlier_call_is_no_permit(town: Town, awaited: bool) -> None:
    """The same call twice; a cache answers the second one's submission, or kill switch, with what the first one got."""
    town.people("release")
    for at, blocked in ((1, "KillSwitchError"), (2, "ServerError")):
        plane = town.plane(push=False)
        try:
            assert _play(town, plane, Made(10, False, ()), awaited) == "done"
            eventually(lambda: town.started()[-1].outcome)  # its report would take the next step
            steps = (*[Step()] * (at - 1), Step((), REPLAYED, True))  # the features are known by now
            assert _play(town, plane, Made(10, False, steps), awaited) == blocked
        finally:
            plane._outbox._closing.set()
            plane.close()


def test_an_answer_to_earlier_outcomes_loses_none(town: Town) -> None:
    """A cache answers the report of the second call's outcome; it is sent again until the server has it."""
    town.people("release")
    plane = town.plane(push=False)
    try:
        assert _play(town, plane, Made(10, False, ()), awaited=False) == "done"
        eventually(lambda: town.started()[-1].outcome)
        lost = (Step(), Step(), Step((), REPLAYED, False))  # kill switch, submission, outcome
        assert _play(town, plane, Made(10, False, lost), awaited=False) == "done"
        eventually(lambda: town.started()[-1].outcome == "completed")
    finally:
        plane._outbox._closing.set()
        plane.close()


def test_killed_means_nothing_runs(town: Town) -> None:
    """With the kill switch on, no fault whatsoever makes a body run."""
    town.people("kill")
    try:
        for fault in FAULTS:
            for at in range(3):
                plane = town.plane(push=False)
                end = _play(
                    town, plane, Made(10, False, (*[Step()] * at, Step((), fault, True))), awaited=False
                )
                assert end != "done"
                plane._outbox._closing.set()
                plane.close()
    finally:
        town.people("release")


def test_the_trail_is_whole_after_all_that(town: Town) -> None:
    """Nothing of it left the audit trail in disorder."""
    store = town.server.store
    report = store.snapshot(lambda reader: audit.verify(reader, store.secret))
    assert report.problems == []


@pytest.mark.parametrize("mode", ["another's", "refuse", "reset", "silent", "garbage"])
def test_a_stream_that_does_not_come(town: Town, mode: str) -> None:
    """The guard asks the server itself: calls go on, and the kill switch is seen."""
    town.board.stream = mode
    town.board.play(())
    plane = town.plane(push=True)
    try:
        assert not plane._feed.live
        assert _play(town, plane, Made(10, False, ()), awaited=False) == "done"
        town.people("kill")
        assert _play(town, plane, Made(10, False, ()), awaited=False) == "KillSwitchError"
    finally:
        town.people("release")
        town.board.stream = "pass"
        plane.close()


def test_a_stream_that_falls_silent(town: Town) -> None:
    """Half-open, it is believed for two and a half heartbeats; then the guard asks, and blocks when nobody answers."""
    town.board.stream = "pass"
    town.board.play(())
    plane = town.plane(push=True)
    ran: list[int] = []

    @governed("refund", "stripe", control_plane=plane)
    def refund(amount: int) -> None:
        ran.append(amount)

    try:
        refund(1)
        eventually(lambda: plane._feed.live)
        town.board.stream = "half-open"
        town.people("kill")
        eventually(lambda: not plane._feed.live, seconds=10 * MISSED)
        town.board.play((Step((), "reset", False),) * 50)
        with pytest.raises(KillSwitchError):
            refund(2)
        assert ran == [1]
    finally:
        town.people("release")
        town.board.stream = "pass"
        plane._outbox._closing.set()
        plane.close()


@pytest.mark.parametrize("which", ["expired", "wrong_host", "self_signed"])
def test_a_certificate_that_does_not_hold(tmp_path: Path, which: str) -> None:
    """Nothing is sent to whoever cannot prove to be the server, and nothing runs."""
    made = certificates(tmp_path)
    session = requests.Session()
    session.verify = made.ca
    ran: list[int] = []
    with FaultServer(getattr(made, which)) as server:
        plane = RemoteControlPlane("owkai_0123456789abcdef", server.url, session=session, timeout=5)

        @governed("refund", "stripe", control_plane=plane)
        def refund(amount: int) -> None:
            ran.append(amount)

        with pytest.raises(AscendError, match="certificate"):
            refund(1)
        plane.close()
        assert server.received == []
    assert ran == []
