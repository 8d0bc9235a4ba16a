"""Two replicas are one control plane: what is done at one holds at the other."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer
from recorded import every_action, every_record
from replica_world import Api, Replica, World, pair, until

from ascend_guard import AscendError, AuthorizationDeniedError, KillSwitchError, governed
from ascend_guard.client.guard.control_plane import RemoteControlPlane
from ascend_guard.engine.audit import verify, verify_export

SUBMIT = "/api/v1/actions/submit"
READ = {"agent_id": "reader", "agent_name": "reader", "action_type": "file_read", "resource": "a file"}
LONG = 100.0
"""Seconds between two questions of an agent that is told instead."""


class Caller:
    """An agent in this process whose one tool is ``refund``.

    Args:
        url: whom it asks.
        key: with this key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._plane = RemoteControlPlane(key, url, agent_id="billing", poll_interval=LONG)
        self._threads = ThreadPoolExecutor(8)
        self.ran: list[int] = []

        @governed("refund", timeout=50, control_plane=self._plane)
        def refund(amount: int) -> int:
            self.ran.append(amount)
            return amount

        self.refund = refund

    def begin(self, amount: int) -> Future[int]:
        """Make a call in another thread."""
        return self._threads.submit(self.refund, amount)

    def close(self) -> None:
        """End it."""
        self._plane.close()
        self._threads.shutdown()


@contextmanager
def caller(world: World, url: str) -> Iterator[Caller]:
    """An agent that ends with the block."""
    with closing(Caller(url, world.key("billing"))) as agent:
        yield agent


def pending(api: Api) -> Any:
    """The one action that waits."""
    return until(lambda: api.get("/api/v1/actions", status="pending").json()["actions"], "an action waits")[0]


def test_two_replicas_may_be_the_first_ones(empty_world: World) -> None:
    """Started at the same moment on an empty database, one makes the tables, and both serve."""
    with pair(empty_world) as (replicas, _):
        key = empty_world.key("reader")
        answers = [Api(replica.url, key).post(SUBMIT, READ) for replica in replicas * 3]
    assert [answer.json()["status"] for answer in answers] == ["approved"] * 6
    with empty_world.store() as store:
        report = store.snapshot(lambda reader: verify(reader, empty_world.secret))
        events = Counter(row.event for row in store.read(lambda reader: every_record(reader, "local")))
    assert report.problems == []
    assert report.records >= 7
    assert events == {"api_key.created": 1, "submitted": 6, "started": 6}


def test_a_replica_with_another_secret_is_refused(world: World) -> None:
    """It ends with status 1 and says what is wrong, and the others go on."""
    with pair(world) as (replicas, balanced):
        stranger = Replica(world, "stranger")
        process = stranger.launch(ASCEND_SECRET_KEY="ab" * 32)
        assert process.wait(30) == 1
        said = " ".join(stranger.log.split())
        assert "secret key" in said
        assert "Traceback" not in said
        assert "ab" * 32 not in said
        assert all(Api(replica.url, "").get("/ready").status_code == 200 for replica in replicas)
        assert Api(balanced.url, world.key("reader")).post(SUBMIT, READ).json()["status"] == "approved"


def test_a_decision_at_one_resumes_a_call_that_waits_at_the_other(world: World) -> None:
    """Pushed, not polled: the agent would ask again after its patience only."""
    with pair(world) as ((one, other), _), caller(world, other.url) as agent:
        ann = Api(one.url, world.token("ann@example.com"))
        for amount, verb in ((900, "approve"), (901, "deny"), (902, "approve")):
            call = agent.begin(amount)
            waiting = pending(ann)
            decided = time.monotonic()
            assert ann.post(f"/api/actions/{waiting['id']}/{verb}", {"comments": "x"}).status_code == 200
            if verb == "approve":
                assert call.result(40) == amount
            else:
                with pytest.raises(AuthorizationDeniedError):
                    call.result(40)
            print(f"{verb}: {1000 * (time.monotonic() - decided):.0f} ms until the call ended")
        assert agent.ran == [900, 902]


def test_two_who_click_at_once_decide_once(world: World) -> None:
    """Through two replicas, at the same moment, one is told that it decided and the other that it was decided."""
    with pair(world) as (replicas, _), caller(world, replicas[1].url) as agent:
        hands = [
            Api(replica.url, world.token(f"{number}@example.com")) for number, replica in enumerate(replicas)
        ]
        with ThreadPoolExecutor(2) as threads:
            for amount in range(900, 910):
                call = agent.begin(amount)
                path = f"/api/actions/{pending(hands[0])['id']}/approve"
                answers = list(threads.map(lambda hand, path=path: hand.post(path, {}), hands))
                assert sorted(answer.status_code for answer in answers) == [200, 409]
                assert call.result(40) == amount


def test_a_kill_switch_pulled_at_one_ends_waits_at_the_other(world: World) -> None:
    """Waiting calls end, new ones are refused, and after the release at either they go on."""
    with pair(world) as ((one, other), _), caller(world, other.url) as agent:
        admin = Api(one.url, world.key())
        ann = Api(one.url, world.token("ann@example.com"))
        for round_ in range(3):
            call = agent.begin(900 + round_)
            pending(ann)
            stop = {"reason": "enough is enough", "agent_id": "billing"}
            assert admin.post("/api/billing/kill-switch/local/trigger", stop).status_code == 200
            with pytest.raises(KillSwitchError):
                agent.refund(5)
            with pytest.raises(KillSwitchError):
                call.result(40)
            assert agent.ran == [5] * round_
            assert admin.post("/api/billing/kill-switch/local/release", stop).status_code == 200

            def goes_on() -> bool:
                try:
                    return bool(agent.refund(5))
                except KillSwitchError:
                    return False

            until(goes_on, "calls go on after the release")
            [left] = ann.get("/api/v1/actions", status="pending").json()["actions"]
            assert ann.post(f"/api/actions/{left['id']}/deny", {}).status_code == 200


def test_a_key_revoked_is_refused_by_all(world: World) -> None:
    """Each replica had remembered it."""
    with pair(world) as (replicas, _):
        made = world.said("keys", "create", "--agent", "reader")
        apis = [Api(replica.url, made["api_key"]) for replica in replicas]
        for api in apis:
            assert api.post(SUBMIT, READ).json()["status"] == "approved"
        world.said("keys", "revoke", made["key_id"])
        revoked = time.monotonic()
        until(lambda: all(api.post(SUBMIT, READ).status_code == 401 for api in apis), "both refuse it")
        print(f"refused by both {1000 * (time.monotonic() - revoked):.0f} ms after the command had ended")
        assert [api.post(SUBMIT, READ).status_code for api in apis * 5] == [401] * 10


def test_readiness_follows_the_database(own_server: PostgresServer, tmp_path: Path) -> None:
    """While PostgreSQL is down a replica lives and is not ready; afterwards it is, by itself."""
    with own_server.database() as url:
        world = World(tmp_path, url)
        with pair(world) as (replicas, _):
            apis = [Api(replica.url, "") for replica in replicas]
            assert [api.get("/ready").status_code for api in apis] == [200, 200]
            for mode in ("fast", "immediate"):
                own_server.stop(mode)
                try:
                    for api in apis * 2:
                        assert api.get("/ready").status_code == 503
                        assert api.get("/health").status_code == 200
                finally:
                    own_server.start()
                started = time.monotonic()
                until(lambda: all(api.get("/ready").status_code == 200 for api in apis), "ready again")
                print(f"{mode}: ready {1000 * (time.monotonic() - started):.0f} ms after PostgreSQL")
            assert all(replica.process and replica.process.poll() is None for replica in replicas)


def test_without_its_database_a_replica_ends_and_does_not_start(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """It obeys whoever tells it to end, and says what is missing when it is started."""
    with own_server.database() as url:
        world = World(tmp_path, url)
        with pair(world) as (replicas, _):
            own_server.stop()
            try:
                print(f"ended in {replicas[0].send(signal.SIGTERM):.2f} s without a database")
                assert "Traceback" not in replicas[0].log
                written = len(replicas[0].log)
                assert replicas[0].launch().wait(60) == 1
                assert "cannot be reached" in " ".join(replicas[0].log[written:].split())
            finally:
                own_server.start()
            replicas[0].start()
            assert Api(replicas[0].url, "").get("/ready").status_code == 200


def test_a_limit_is_of_all_replicas(world: World) -> None:
    """What one counted is not to be had at the other: in a minute an organization has its tier once."""
    key = world.key("reader", organization="acme")
    with pair(world) as (replicas, _):
        apis = [Api(replica.url, key) for replica in replicas]
        answers = [api.get("/api/sdk/kill-switch/status").status_code for _ in range(45) for api in apis]
        assert set(answers) == {200, 429}
        assert 48 <= answers.count(200) <= 60  # what a lease holds back is returned in the slots that follow


def test_a_replica_told_to_end_finishes_what_it_was_asked(world: World) -> None:
    """With streams open and calls under way it ends in good order; what it answered is there, and calls go on elsewhere."""
    with pair(world) as (replicas, balanced), caller(world, balanced.url) as agent:
        ann = Api(replicas[1].url, world.token("ann@example.com"))
        waiting = agent.begin(900)
        action = pending(ann)
        ended = threading.Event()
        done: list[int] = []
        refused: list[AscendError] = []

        def work() -> None:
            for amount in range(1, 400):
                try:
                    done.append(agent.refund(amount))
                except AscendError as error:
                    refused.append(error)
                if ended.is_set():
                    return

        worker = threading.Thread(target=work)
        worker.start()
        until(lambda: len(done) > 3, "calls run")
        print(f"ended in {replicas[0].send(signal.SIGTERM):.2f} s")
        ended.set()
        worker.join()
        assert "Traceback" not in replicas[0].log
        assert ann.post(f"/api/actions/{action['id']}/approve", {}).status_code == 200
        assert waiting.result(40) == 900
        assert refused == []
        assert agent.ran == [*done, 900]
        agent.close()
        with world.store() as store:
            rows = store.read(lambda reader: every_action(reader))
        assert [row.outcome for row in rows] == ["completed"] * (len(done) + 1)


def test_the_command_line_works_beside_running_replicas(world: World, tmp_path: Path) -> None:
    """Keys, tokens, approvals, the kill switch and the audit trail, on the same database, at once."""
    with pair(world) as ((one, other), _):
        key = world.said("keys", "create", "--agent", "billing")["api_key"]
        assert [row["agent_id"] for row in world.said("keys", "list")["keys"]] == ["billing"]
        token = world.said("token", "--user", "ann@example.com", "--role", "approver", "--group", "finance")
        assert Api(other.url, token["token"]).get("/api/v1/actions").status_code == 200

        with closing(Caller(one.url, key)) as agent:
            call = agent.begin(900)
            pending(Api(other.url, token["token"]))
            [waiting] = world.said("approvals", "list")["actions"]
            world.said(
                "approvals", "approve", str(waiting["action_id"]), "--yes", "-m", "from the command line"
            )
            assert call.result(40) == 900

            world.said("kill-switch", "on", "--reason", "enough")
            with pytest.raises(KillSwitchError):
                agent.refund(5)
            assert Api(other.url, key).get("/api/sdk/kill-switch/status").json()["blocked"] is True
            world.said("kill-switch", "off", "--yes")
            assert Api(other.url, key).get("/api/sdk/kill-switch/status").json()["blocked"] is False

        assert world.said("audit", "verify")["ok"] is True
        exported = tmp_path / "trail.jsonl"
        world.said("audit", "export", str(exported))
        report = verify_export(exported.read_bytes().splitlines(keepends=True))
        assert report.problems == []
        offline = subprocess.run(
            [*world.command("--version").args[:1], "audit", "verify", str(exported)], capture_output=True
        )
        assert offline.returncode == 0
