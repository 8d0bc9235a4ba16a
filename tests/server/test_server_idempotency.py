"""A request that is sent again is the same request: one action, one permit, one outcome."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from recorded import trail_of
from serving import Serving, serving
from support import PROFILE
from world import Clock, eventually

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: refunds, actions: [refund], effect: require_approval, approvers: [finance], timeout: 30d}
  - {name: no-deletes, actions: ["*_delete"], effect: deny, reason: Deletes are off.}
"""

DIGEST = "ab" * 32
KINDS = {"orders_read": "approved", "refund": "pending", "orders_delete": "denied"}
RUNNERS = [f"{number:032x}" for number in range(3)]


class World:
    """A server and agents' keys; how many actions there are."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self.key = server.key("a")
        self.second_key = server.key("a")
        self.elsewhere = server.key("a", organization="elsewhere")
        self.person = server.token()
        self.sent = 0
        self.session = requests.Session()

    def fresh(self) -> str:
        """A key nobody has used."""
        self.sent += 1
        return f"request-{self.sent}"

    def post(self, path: str, body: Any = None, key: str = "", **headers: str) -> requests.Response:
        """One request."""
        sent = {"X-API-Key": key or self.key}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.server.url + path, json=body, headers=sent, timeout=30)

    def submit(self, body: dict[str, Any], key: str = "", **headers: str) -> requests.Response:
        """Submit."""
        return self.post("/api/v1/actions/submit", body, key, **headers)

    def claim(self, action: str, runner: str = RUNNERS[0], **headers: str) -> requests.Response:
        """Take the permit."""
        body = {"digest": DIGEST, "running": DIGEST, "runner": runner}
        return self.post(f"/api/v1/actions/{action}/claim", body, **headers)

    def settle(self, action: str, how: str = "complete") -> requests.Response:
        """Say what came of it."""
        return self.post(f"/api/agent-action/{action}/{how}", {"error": "e"} if how == "fail" else None)

    def status(self, action: str) -> requests.Response:
        """Ask how it stands."""
        headers = {"X-API-Key": self.key}
        return requests.get(f"{self.server.url}/api/v1/actions/{action}/status", headers=headers, timeout=30)

    def count(self, organization: str = "local") -> int:
        """How many actions there are."""
        return self.server.store.read(lambda reader: reader.count_actions(organization))

    def story(self, action: str) -> list[str]:
        """An action's audit records' events."""
        return self.server.store.read(lambda reader: [row.event for row in trail_of(reader, action)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all."""
    with serving(tmp_path_factory.mktemp("idempotency") / "a.db", POLICY) as server:
        yield World(server)


def asked(action_type: str = "orders_read", **more: Any) -> dict[str, Any]:
    """A plain submission."""
    return {"agent_id": "a", "agent_name": "A", "action_type": action_type, "resource": "r", **more}


def ours(action_type: str = "orders_read", runner: str = RUNNERS[0], **more: Any) -> dict[str, Any]:
    """A submission of ascend-guard's own client."""
    return asked(action_type, digest=DIGEST, runner=runner, **more)


def at_once(times: int, call: Callable[[int], requests.Response]) -> list[requests.Response]:
    """The answers to requests that are sent at the same moment."""
    gate = threading.Barrier(times)
    answers: dict[int, requests.Response] = {}

    def work(number: int) -> None:
        gate.wait(20)
        answers[number] = call(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [answers[number] for number in range(times)]


bodies = st.builds(
    lambda make, kind, amount: make(kind, action_details={"amount": amount}),
    st.sampled_from([asked, ours]),
    st.sampled_from(sorted(KINDS)),
    st.integers(0, 10**20),
)
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)


@given(bodies, keys, st.integers(2, 8))
def test_a_resent_submit_is_one_action(world: World, body: dict[str, Any], key: str, times: int) -> None:
    """However often the same request is sent, at once or later, it is one action, with the same decision each time."""
    key = f"{world.fresh()}-{key}"[:255]
    before = world.count()
    answers = at_once(times, lambda _: world.submit(body, Idempotency_Key=key))
    answers.append(world.submit(body, Idempotency_Key=key))
    assert {answer.status_code for answer in answers} == {200}
    said = [answer.json() for answer in answers]
    assert len({one["action_id"] for one in said}) == 1
    assert {one["status"] for one in said} == {KINDS[body["action_type"]]}
    assert world.count() == before + 1
    if "runner" in body and body["action_type"] == "orders_read":  # the process that took the permit has it
        assert all(one["claimed"] for one in said)
    assert world.story(said[0]["action_id"]).count("started") == int(body["action_type"] == "orders_read")


@given(bodies, bodies)
def test_a_key_is_for_one_request(world: World, body: dict[str, Any], other: dict[str, Any]) -> None:
    """The same key with another body is a 409 that makes no action and leaves the first request what it was."""
    key = world.fresh()
    first = world.submit(body, Idempotency_Key=key).json()["action_id"]
    before = world.count()
    again = world.submit(other, Idempotency_Key=key)
    if other == body:
        assert again.json()["action_id"] == first
    else:
        assert (again.status_code, again.json()["error_code"]) == (409, "CONFLICT")
    assert world.count() == before
    assert world.submit(body, Idempotency_Key=key).json()["action_id"] == first


@given(bodies)
def test_a_key_is_its_senders(world: World, body: dict[str, Any]) -> None:
    """The same idempotency key from another API key, or of another organization, is another request."""
    key = world.fresh()
    first = world.submit(body, Idempotency_Key=key).json()["action_id"]
    second = world.submit(body, world.second_key, Idempotency_Key=key).json()["action_id"]
    third = world.submit(body, world.elsewhere, Idempotency_Key=key).json()["action_id"]
    assert len({first, second, third}) == 3


@given(bodies, st.integers(2, 6))
def test_a_resend_of_the_published_sdk(world: World, body: dict[str, Any], times: int) -> None:
    """The published SDK sends the same correlation identifier and time again: one action; a later time is another."""
    correlation, sent_at = world.fresh(), "2026-01-01T00:00:00Z"
    before = world.count()
    headers = {"X_Correlation_ID": correlation, "X_Request_Timestamp": sent_at}
    answers = at_once(times, lambda _: world.submit(body, **headers))
    assert len({answer.json()["action_id"] for answer in answers}) == 1
    assert {answer.headers["x-correlation-id"] for answer in answers} == {correlation}
    later = world.submit(body, **headers | {"X_Request_Timestamp": "2026-01-01T00:00:01Z"}).json()
    changed = world.submit(body | {"resource": "another"}, **headers).json()
    alone = world.submit(body, X_Correlation_ID=correlation).json()
    assert len({one["action_id"] for one in (answers[0].json(), later, changed, alone)}) == 4
    assert world.count() == before + 4


def test_only_the_very_same_request_within_a_minute_is_one(tmp_path: Path) -> None:
    """Without a key, requests are one action when identifier, time and bytes agree and the first is at most a minute old."""
    clock = Clock()
    seen: Counter[str] = Counter()
    plain = json.dumps(asked()).encode()
    others = [
        plain,
        plain + b" ",
        json.dumps(asked(), sort_keys=True).encode(),
        json.dumps(asked("orders_delete")).encode(),
    ]
    sent = st.tuples(
        st.sampled_from([0.0, 1.0, 29.0, 58.0, 62.0, 3600.0]),
        st.sampled_from(["c", "c", "d", None]),
        st.sampled_from(["t", "t", "u", None]),
        st.sampled_from([plain, *others]),
        st.sampled_from(["first", "first", "second"]),
    )
    with serving(tmp_path / "a.db", POLICY, clock=clock) as server:
        url = f"{server.url}/api/v1/actions/submit"
        keys = {"first": server.key("a"), "second": server.key("a")}
        session = requests.Session()

        @settings(deadline=None)
        @given(st.lists(sent, min_size=2, max_size=8))
        def compare(requests_: list[Any]) -> None:
            clock.ahead += 90_000.0
            began: dict[Any, tuple[float, str]] = {}
            for after, correlation, at, body, who in requests_:
                clock.ahead += after
                heads = {"X-API-Key": keys[who], "X-Correlation-ID": correlation, "X-Request-Timestamp": at}
                answer = session.post(url, data=body, headers=heads, timeout=30)
                action, now = answer.json()["action_id"], clock.ahead
                earlier = began.get((correlation, at, body, who))
                same = correlation is not None and at is not None and earlier is not None
                if same and now - earlier[0] <= 59:  # type: ignore[index]
                    assert action == earlier[1]  # type: ignore[index]
                    seen["resent"] += 1
                else:
                    assert action not in {known for _, known in began.values()}
                    seen["too late"] += same
                    seen["identifier alone"] += correlation is not None and at is None and earlier is not None
                    seen["other bytes"] += any(
                        key[:2] == (correlation, at) and key[2] != body for key in began if None not in key
                    )
                    began[correlation, at, body, who] = (now, action)

        compare()
    assert all(seen[name] for name in ("resent", "too late", "identifier alone", "other bytes")), seen


def test_a_key_is_remembered_for_a_day(tmp_path: Path) -> None:
    """For a day the same request is the same action; after that its key is free again."""
    clock = Clock()
    with serving(tmp_path / "a.db", POLICY, clock=clock) as server:
        world = World(server)
        first = world.submit(asked(), Idempotency_Key="k").json()["action_id"]
        clock.ahead += 23.9 * 3600
        assert world.submit(asked(), Idempotency_Key="k").json()["action_id"] == first
        clock.ahead += 0.2 * 3600
        eventually(lambda: world.submit(asked(), Idempotency_Key="k").json()["action_id"] != first)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_keys_that_are_none(world: World, key: str) -> None:
    """An empty key or an endless one is a 400, never taken for no key at all."""
    before = world.count()
    assert world.submit(asked(), Idempotency_Key=key).status_code == 400
    assert world.count() == before


def test_another_process_does_not_get_the_permit_by_resending(world: World) -> None:
    """The same request under another process' name is another body, and the action it knows is not its to run."""
    key = world.fresh()
    first = world.submit(ours(), Idempotency_Key=key).json()
    assert first["claimed"]
    stolen = world.submit(ours(runner=RUNNERS[1]), Idempotency_Key=key)
    assert stolen.status_code == 409
    assert world.claim(first["action_id"], RUNNERS[1]).status_code == 409


def test_a_resend_after_the_outcome_gives_no_permit(world: World) -> None:
    """Once an action has its outcome the same request again says what was decided, and not to run it once more."""
    key = world.fresh()
    first = world.submit(ours(), Idempotency_Key=key).json()
    assert world.settle(first["action_id"]).ok
    again = world.submit(ours(), Idempotency_Key=key).json()
    assert (again["action_id"], again["claimed"]) == (first["action_id"], False)


@given(st.integers(2, 8), st.booleans())
def test_a_resent_claim_takes_one_permit(world: World, times: int, keyed: bool) -> None:
    """A claim that is sent again by its process has the permit; without a key one of them has it, the others a 409."""
    action = world.submit(ours("refund")).json()["action_id"]
    assert world.server.approve(action).ok
    headers = {"Idempotency_Key": world.fresh()} if keyed else {}
    answers = at_once(times, lambda _: world.claim(action, **headers))
    codes = [answer.status_code for answer in answers]
    assert codes.count(200) == (times if keyed else 1)
    assert set(codes) <= {200, 409}
    assert all(answer.json()["claimed"] for answer in answers if answer.ok)
    assert world.story(action).count("started") == 1


def test_a_resent_claim_after_the_outcome_gives_no_permit(world: World) -> None:
    """Once an action has its outcome, the very claim that took its permit takes none again."""
    action = world.submit(ours("refund")).json()["action_id"]
    assert world.server.approve(action).ok
    key = world.fresh()
    assert world.claim(action, Idempotency_Key=key).json()["claimed"]
    assert world.settle(action).ok
    assert world.claim(action, Idempotency_Key=key).status_code == 409


def test_a_claim_by_another_process_is_refused(world: World) -> None:
    """Of processes that claim at once one has the permit; with the winner's key and another name nobody else has."""
    action = world.submit(ours("refund")).json()["action_id"]
    assert world.server.approve(action).ok
    key = world.fresh()
    answers = at_once(
        3, lambda number: world.claim(action, RUNNERS[number], Idempotency_Key=f"{key}-{number}")
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    winner = [answer.status_code for answer in answers].index(200)
    for number, runner in enumerate(RUNNERS):
        again = world.claim(action, runner, Idempotency_Key=f"{key}-{winner}")
        assert again.status_code == (200 if number == winner else 409)
    assert world.story(action).count("started") == 1


def test_a_claim_for_other_arguments_is_refused(world: World) -> None:
    """An approval is good for the arguments that were submitted, by their digest."""
    action = world.submit(ours("refund")).json()["action_id"]
    assert world.server.approve(action).ok
    body = {"digest": "cd" * 32, "running": DIGEST, "runner": RUNNERS[0]}
    assert world.post(f"/api/v1/actions/{action}/claim", body).status_code == 403
    assert world.claim(action).ok


# --- callers of the plain API ----------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.sampled_from(["status", "approval", "resend"]), st.booleans(), st.booleans())
def test_an_approval_is_handed_out_once(
    world: World, times: int, how: str, detached: bool, repeatable: bool
) -> None:
    """To a caller of the plain API an approval is handed out once, however many ask at once; then it is settled once."""
    key = world.fresh()
    body = asked("refund", detached=detached, repeatable=repeatable)
    action = world.submit(body, Idempotency_Key=key).json()["action_id"]
    assert world.server.approve(action).ok

    def ask(_: int) -> requests.Response:
        if how == "resend":
            return world.submit(body, Idempotency_Key=key)
        if how == "approval":
            return requests.get(
                f"{world.server.url}/api/sdk/approval/{action}", headers={"X-API-Key": world.key}, timeout=30
            )
        return world.status(action)

    answers = at_once(times, ask)
    assert {answer.json()["status"] for answer in answers} == {"approved"}
    assert world.story(action).count("started") == 1
    settled = at_once(3, lambda number: world.settle(action, "fail" if number else "complete"))
    assert sorted(answer.status_code for answer in settled) == [200, 409, 409]
    story = world.story(action)
    assert story.count("completed") + story.count("failed") == 1


def test_a_person_who_looks_takes_no_permit(world: World) -> None:
    """A person may look at the status as often as they like: the approval is still the agent's to take."""
    action = world.submit(asked("refund")).json()["action_id"]
    assert world.server.approve(action).ok
    for path in (
        f"/api/v1/actions/{action}/status",
        f"/api/sdk/approval/{action}",
        f"/api/v1/actions/{action}",
    ):
        assert world.server.ask("GET", path, world.person).json()["status"] == "approved"
    assert "started" not in world.story(action)


def test_completed_without_ever_asking(world: World) -> None:
    """A caller that learnt of its approval some other way settles the action, once."""
    action = world.submit(asked("refund")).json()["action_id"]
    assert world.settle(action).status_code == 409
    assert world.server.approve(action).ok
    answers = at_once(4, lambda _: world.settle(action))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert world.story(action).count("started") == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.integers().map(str))
def test_an_unknown_action(world: World, name: str) -> None:
    """What is no action is a 404 wherever an action is named, whatever it is called."""
    if name.isascii() and name.isdigit() and int(name) < 10_000:
        return
    quoted = requests.utils.quote(name, safe="")
    for method, path in (
        ("GET", "/api/v1/actions/{}/status"),
        ("GET", "/api/sdk/approval/{}"),
        ("POST", "/api/agent-action/{}/complete"),
        ("POST", "/api/agent-action/{}/fail"),
    ):
        answer = world.session.request(
            method, world.server.url + path.format(quoted), headers={"X-API-Key": world.key}, timeout=30
        )
        assert answer.status_code == 404, (path, name, answer.text)


# --- against a model -------------------------------------------------------------------------------------------------


class Model:
    """What an action should be by now.

    Attributes:
        runner: who has the permit; ``api`` for callers of the plain API.
    """

    def __init__(self, action: str, body: dict[str, Any], key: str) -> None:
        self.action, self.body, self.key = action, body, key
        self.status = KINDS[body["action_type"]]
        self.mine: str = body.get("runner", "api")
        self.runner = self.mine if self.status == "approved" else None
        self.outcome: str | None = None

    def handed_out(self) -> None:
        """A caller of the plain API was told."""
        if self.mine == "api" and self.status == "approved" and self.runner is None:
            self.runner = "api"


class Actions(RuleBasedStateMachine):
    """Requests in any order, any of them sent again, compared with what a page of code says."""

    world: World
    actions = Bundle("actions")

    @initialize()
    def begin(self) -> None:
        """Nothing yet."""
        self.models: list[Model] = []

    @rule(target=actions, kind=st.sampled_from(sorted(KINDS)), make=st.sampled_from([asked, ours]))
    def submit(self, kind: str, make: Any) -> Any:
        """A new action."""
        key = self.world.fresh()
        body = make(kind) | {"session_id": key}  # another call, so that no earlier denial answers it
        answer = self.world.submit(body, Idempotency_Key=key).json()
        model = Model(answer["action_id"], body, key)
        assert (answer["status"], answer["claimed"]) == (model.status, model.runner is not None)
        self.models.append(model)
        return model

    @rule(model=actions)
    def resend(self, model: Model) -> None:
        """The same submit again."""
        answer = self.world.submit(model.body, Idempotency_Key=model.key).json()
        model.handed_out()
        assert (answer["action_id"], answer["status"]) == (model.action, model.status)
        if model.mine != "api":
            assert answer["claimed"] == (model.runner == model.mine and model.outcome is None)

    @rule(model=actions, yes=st.booleans())
    def decide(self, model: Model, yes: bool) -> None:
        """A person decides."""
        server = self.world.server
        answer = server.approve(model.action) if yes else server.deny(model.action)
        assert answer.status_code == (200 if model.status == "pending" else 409)
        if answer.ok:
            model.status = "approved" if yes else "denied"

    @rule(model=actions)
    def ask(self, model: Model) -> None:
        """The agent asks how it stands."""
        answer = self.world.status(model.action)
        model.handed_out()
        assert answer.json()["status"] == model.status

    @rule(model=actions, runner=st.sampled_from(RUNNERS))
    def claim(self, model: Model, runner: str) -> None:
        """A process takes the permit, or is refused."""
        answer = self.world.claim(model.action, runner)
        if model.status == "approved" and model.runner is None:
            if model.mine == "api":  # its digest is the server's own
                assert answer.status_code == 403
            else:
                assert answer.json()["claimed"]
                model.runner = runner
        else:
            assert answer.status_code == 409

    @rule(model=actions)
    def withdraw(self, model: Model) -> None:
        """The agent will not run it."""
        path = f"/api/v1/actions/{model.action}/withdraw"
        answer = self.world.post(path, {"reason": "not needed any more"})
        assert answer.status_code == (409 if model.runner else 200)
        if answer.ok:
            model.status = "denied"

    @rule(model=actions, how=st.sampled_from(["complete", "fail"]))
    def settle(self, model: Model, how: str) -> None:
        """The agent says what came of it."""
        answer = self.world.settle(model.action, how)
        model_before = model.runner
        model.handed_out()
        if model.runner is not None and model.outcome is None:
            assert answer.status_code == 200
            model.outcome = {"complete": "completed", "fail": "failed"}[how]
        else:
            assert answer.status_code == 409
            model.runner = model_before

    @rule(model=actions, runner=st.sampled_from(RUNNERS))
    def detach(self, model: Model, runner: str) -> None:
        """A process waits no more."""
        path = f"/api/v1/actions/{model.action}/detach"
        assert self.world.post(path, {"runner": runner}).ok

    def teardown(self) -> None:
        """Each action's story has one start and one end at the most, and none without the other's reason."""
        for model in self.models:
            row = self.world.server.store.read(
                lambda reader, model=model: reader.action("local", int(model.action))
            )
            assert row is not None
            assert (row.status, row.outcome) == (model.status, model.outcome)
            story = self.world.story(model.action)
            assert story.count("submitted") == 1
            assert story.count("started") == int(model.runner is not None)
            assert story.count("completed") + story.count("failed") == int(model.outcome is not None)
            assert story.count("approved") + story.count("denied") <= 1


def test_any_requests_in_any_order(world: World) -> None:
    """Whatever is sent in whatever order, and again, every action has one story that a model of it agrees with."""
    Actions.world = world
    run_state_machine_as_test(
        Actions,
        settings=settings(
            max_examples={"quick": 30, "ci": 90, "full": 3000}[PROFILE],
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
