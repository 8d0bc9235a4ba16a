"""What the operations promise under every fault: no approval that was not given, nothing done twice, and an end."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from typing import Any

import pytest
from documented_calls import (
    ACTION,
    CALLS,
    DECIDING,
    OTHERS,
    good,
    is_decision,
    is_kill_switch,
    is_submission,
    sent,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scripted_transport import KEY, Event, Outcome, answer, aplayed, played
from support import SCHEDULES
from test_answers import APPROVING, BODIES, approves

from ascend_guard.api.table import BY_NAME
from ascend_guard.client.api import actions as operations
from ascend_guard.client.api import system as operations_system
from ascend_guard.client.api.clients import AscendClient, AsyncAscendClient
from ascend_guard.client.http.exchange import Send
from ascend_guard.client.http.transport import Answer, Unsent
from ascend_guard.errors import (
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    KillSwitchError,
    NetworkError,
    RateLimitError,
    ServerError,
    TimeoutError,
    ValidationError,
)
from ascend_guard.model import ActionResult, KillSwitchState

STATUSES = st.sampled_from(
    [200, 200, 201, 202, 204, 301, 400, 401, 402, 403, 404, 409, 418, 422, 429, 500, 503, 504]
)
BROKEN = st.one_of(
    st.sampled_from([b"", b"null", b"[]", b"<html>", b'{"id": 7, "status": "appro', b"[" * 5000]),
    st.binary(max_size=12),
)
SWITCHES = st.dictionaries(
    st.sampled_from(["blocked", "active", "is_active"]), st.sampled_from([True, False, None, "no"])
)
ABOUT_7 = st.builds(
    lambda good, more: {**good, **more},
    st.fixed_dictionaries(
        {"id": st.sampled_from([7, 7, 7, 8]), "status": st.sampled_from(sorted(APPROVING))}
    ),
    st.dictionaries(
        st.sampled_from(
            ["decision", "success", "execution_allowed", "requires_approval", "action_id", "risk_score"]
        ),
        st.sampled_from([True, False, None, "approved", "denied", "7", "8", 101]),
        max_size=2,
    ),
)
ANSWERS = st.builds(
    lambda status, body, after: answer(status, body, **({} if after is None else {"retry_after": after})),
    STATUSES,
    BROKEN | BODIES | ABOUT_7 | ABOUT_7 | SWITCHES,
    st.sampled_from([None, None, "0", "3", "900", "soon"]),
)
FAILURES = st.sampled_from(
    [Unsent("no"), NetworkError("broke"), TimeoutError("slow"), ServerError("too large"), OSError("?")]
)
WELL = st.sampled_from(["approved", "denied", "pending", "executed"]).map(good)
EVENTS: st.SearchStrategy[list[Event]] = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.25, 4.0, 40.0]), st.one_of(WELL, WELL, ANSWERS, FAILURES)),
    max_size=14,
)


def decisions(outcome: Outcome) -> list[tuple[Send, Answer | Exception]]:
    """Requests that may have been decided, with what came back."""
    pairs = zip(outcome.transport.sends, outcome.transport.answers, strict=True)
    return [(send, came) for send, came in pairs if is_decision(send)]


def said_off(came: Answer | Exception) -> bool:
    """Whether an answer says plainly that the kill switch is off, read again without the code under test."""
    if not isinstance(came, Answer) or came.status != 200:
        return False
    try:
        body = json.loads(came.body)
    except (ValueError, RecursionError):
        return False
    flags = (
        [body[name] for name in ("blocked", "active", "is_active") if name in body]
        if isinstance(body, dict)
        else []
    )
    return bool(flags) and all(flag is False for flag in flags)


@given(name=st.sampled_from(sorted(DECIDING)), events=EVENTS)
@settings(max_examples=SCHEDULES * 4)
def test_nothing_is_approved_that_was_not(name: str, events: list[Event]) -> None:
    """An approval only from the last answer, if that was whole, 200, and approved this very action."""
    outcome = played(DECIDING[name], events)
    if not isinstance(outcome.result, ActionResult) or not outcome.result.is_approved():
        return
    send, came = decisions(outcome)[-1]
    assert isinstance(came, Answer)
    assert came.status == 200
    body = json.loads(came.body)
    assert approves(body)
    if not is_submission(send):
        assert "7" in (str(body.get("action_id")), str(body.get("id")))


@pytest.mark.parametrize("name", sorted(DECIDING))
@pytest.mark.parametrize("status", [201, 202, 203, 206, 302, 404, 500])
def test_only_200_decides(name: str, status: int) -> None:
    """The same words under any other status approve nothing."""
    off = [] if name in ("wait_for_decision", "get_action_status", "get_action") else [(0.0, good())]
    odd = answer(status, {"id": 7, "status": "approved", "risk_score": 12})
    outcome = played(DECIDING[name], [*off, (0.0, odd)])
    assert isinstance(outcome.error, AscendError)


@pytest.mark.parametrize("name", ["wait_for_decision", "get_action_status", "get_action"])
def test_another_actions_approval_is_not_this_ones(name: str) -> None:
    """Whatever number it is about, it must be the one asked for."""
    other = answer(200, {"id": 8, "action_id": "8", "status": "approved"})
    outcome = played(DECIDING[name], [(0.0, other), (0.0, good())])
    assert type(outcome.error) is ServerError


@pytest.mark.parametrize("status", [201, 202, 206, 302, 404])
def test_only_200_says_that_the_kill_switch_is_off(status: int) -> None:
    """REST API document: anything else counts as on."""
    off = answer(status, {"blocked": False, "reason": None})
    outcome = played(DECIDING["submit_action"], [(0.0, off), (0.0, good())])
    assert type(outcome.error) is KillSwitchError
    assert len(outcome.transport.sends) == 1


@given(name=st.sampled_from(sorted(DECIDING)), events=EVENTS)
@settings(max_examples=SCHEDULES * 4)
def test_one_submission_is_one_action(name: str, events: list[Event]) -> None:
    """Five sends at most, all the same: one key, one body; only after the kill switch was said to be off."""
    outcome = played(DECIDING[name], events)
    submissions = [send for send in outcome.transport.sends if is_submission(send)]
    assert len(submissions) <= 5
    assert len({(send.headers["Idempotency-Key"], send.body, send.path) for send in submissions}) <= 1
    lost = [
        came
        for send, came in decisions(outcome)
        if is_submission(send) and isinstance(came, NetworkError | TimeoutError)
    ]
    assert len(lost) <= 2
    assert len(outcome.transport.sends) <= 80
    if submissions:
        before = outcome.transport.answers[: outcome.transport.sends.index(submissions[0])]
        assert said_off(before[-1])


@given(name=st.sampled_from(sorted(DECIDING)), events=EVENTS)
@settings(max_examples=SCHEDULES * 2)
def test_every_failure_is_of_the_tree(name: str, events: list[Event]) -> None:
    """Or what a broken transport raised, passed on as it is; there is always an end."""
    outcome = played(DECIDING[name], events)
    assert isinstance(outcome.result, ActionResult) != isinstance(outcome.error, AscendError | OSError)
    assert KEY not in str(outcome.error)


@pytest.mark.parametrize("name", sorted(CALLS))
@given(events=EVENTS, chance=st.integers())
@settings(max_examples=max(10, SCHEDULES // 15), deadline=None)
def test_both_clients_do_the_same(name: str, events: list[Event], chance: int) -> None:
    """The same script: the same result or error, the same requests at the same moments, whichever driver performs it."""
    random.seed(chance)
    blocking = played(CALLS[name], events)
    random.seed(chance)
    awaited = aplayed(CALLS[name], events)
    mine, theirs = blocking.comparable(), awaited.comparable()
    assert _alike(mine[2]) == _alike(theirs[2])
    assert mine[:2] == theirs[:2]
    assert mine[3] == pytest.approx(theirs[3])


def _alike(sends: list[Any]) -> list[Any]:
    """To the precision of a clock that adds."""
    return [
        (method, path, body, headers, None if timeout is None else round(timeout, 6))
        for method, path, body, headers, timeout in sends
    ]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_operation_works(name: str) -> None:
    """Against a server without any fault, each ends well, and with the headers of the documents."""
    outcome = played(CALLS[name], [(0.0, good())] * 9, signing_secret="s3cret")
    assert outcome.error is None
    assert outcome.result is not None
    for send in outcome.transport.sends:
        assert send.headers["X-Correlation-ID"]
        assert send.headers["X-Request-Timestamp"]
        assert send.headers["Content-Type"] == "application/json"
        assert ("X-Signature" in send.headers) is bool(send.body)
        if name in ("approve_action", "deny_action", "clear_denial"):
            assert send.headers["Authorization"] == "Bearer a.person.s"
            assert "X-API-Key" not in send.headers
        else:
            assert send.headers["Authorization"] == f"Bearer {KEY}"
            assert send.headers["X-API-Key"] == KEY
    marks = [send.headers["X-Correlation-ID"] for send in outcome.transport.sends]
    assert len(set(marks)) == len(marks)


def test_every_operation_is_on_both_clients() -> None:
    """And every one of them is in the tests above."""
    listed = {name.partition(",")[0] for name in CALLS}
    for client in (AscendClient, AsyncAscendClient):
        public = {name for name in dir(client) if not name.startswith("_")}
        assert public == listed | {"iterate_actions", "close"}
        assert all(getattr(client, name).__doc__ for name in public)


@pytest.mark.parametrize("name", sorted(OTHERS))
@given(events=EVENTS)
@settings(max_examples=max(10, SCHEDULES // 15))
def test_the_others_end_and_raise_only_the_tree(name: str, events: list[Event]) -> None:
    """Four requests at most for each, and never an approval."""
    outcome = played(OTHERS[name], events)
    assert outcome.error is None or isinstance(outcome.error, AscendError | OSError)
    assert not isinstance(outcome.result, ActionResult)
    assert len(outcome.transport.sends) <= 4


@given(events=EVENTS)
@settings(max_examples=SCHEDULES)
def test_a_connection_test_never_raises(events: list[Event]) -> None:
    """Whatever happens is in its answer."""
    outcome = played(OTHERS["test_connection"], events)
    assert outcome.error is None
    status = outcome.result
    assert status.connected is (status.error is None)
    assert (status.latency_ms is not None) is status.connected


BLOCKING = (AuthorizationDeniedError, AuthenticationError, NetworkError, TimeoutError, RateLimitError)
"""Said as what they are where the SDK document catches them; everything else that is not a plain answer is the switch."""


@pytest.mark.parametrize("name", ["submit_action", "evaluate_action", "evaluate_mcp_action"])
@given(what=st.one_of(ANSWERS, FAILURES))
@settings(max_examples=SCHEDULES)
def test_an_unknown_kill_switch_counts_as_on(name: str, what: Any) -> None:
    """Unless it is plainly off, nothing is submitted; only too many requests are a reason to ask again."""
    assume(not said_off(what))
    outcome = played(DECIDING[name], [(0.0, what), (0.0, what), (0.0, good())])
    assert isinstance(outcome.error, BLOCKING)
    asked_again = isinstance(what, Answer) and what.status == 429
    if not asked_again:
        assert not any(is_submission(send) for send in outcome.transport.sends)
    sends = outcome.transport.sends
    assert all(is_kill_switch(send) for send in sends[:3])


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (402, KillSwitchError),
        (403, AuthorizationDeniedError),
        (500, KillSwitchError),
    ],
)
def test_a_refused_question_about_the_kill_switch_says_what_to_repair(
    status: int, kind: type[Exception]
) -> None:
    """As for a governed call: such an error keeps its type, every other is the switch; nothing is submitted."""
    outcome = played(DECIDING["submit_action"], [(0.0, answer(status, {})), (0.0, good())])
    assert type(outcome.error) is kind
    assert f"HTTP {status}" in str(outcome.error)
    assert len(outcome.transport.sends) == 1


def test_a_kill_switch_that_is_asked_too_often_is_asked_again() -> None:
    """After as long as the server says, as often as a submission is sent; then nothing was submitted."""
    busy = answer(429, {}, retry_after="63")
    outcome = played(DECIDING["submit_action"], [(0.0, busy), (0.0, good()), (0.0, good())])
    assert outcome.result.is_approved()
    assert outcome.transport.times == [1000.0, 1063.0, 1063.0]
    outcome = played(DECIDING["submit_action"], [(0.0, busy)] * 9)
    assert type(outcome.error) is RateLimitError
    assert [is_kill_switch(send) for send in outcome.transport.sends] == [True] * 4


def test_the_kill_switch_has_five_seconds() -> None:
    """And one more attempt within them, when the connection was lost."""
    outcome = played(DECIDING["submit_action"], [(4.0, NetworkError("stale")), (40.0, TimeoutError("slow"))])
    assert type(outcome.error) is TimeoutError
    first, second = outcome.transport.sends
    assert first.timeout == 5.0
    assert second.timeout is not None
    assert second.timeout <= 1.0


@pytest.mark.parametrize("call", ["evaluate_action", "wait_for_decision"])
@pytest.mark.parametrize("decision", ["pending", "approved"])
@pytest.mark.parametrize(
    "state", [answer(200, {"blocked": True, "reason": "stop it"}), answer(500, {}), TimeoutError("?")]
)
def test_a_kill_while_waiting_wins(call: str, decision: str, state: Any) -> None:
    """It is looked at whenever the action is: it ends the wait, and an approval does not count any more."""
    submitted = [(0.0, good("pending"))] * (2 if call == "evaluate_action" else 0)
    first_look = [(0.0, good("pending"))] * 2
    outcome = played(
        DECIDING[call], [*submitted, *first_look, (0.0, good(decision)), (0.0, state), (0.0, state)]
    )
    assert isinstance(outcome.error, BLOCKING)


@pytest.mark.parametrize(
    ("timeout_ms", "interval", "polls"), [(20_000, 5.0, 4), (3_000, 5.0, 1), (0, 1.0, 0), (900, 0.25, 4)]
)
def test_waiting_ends_in_time(timeout_ms: float, interval: float, polls: int) -> None:
    """Looks at the interval, none at or after the deadline, and a ``TimeoutError`` exactly then."""
    outcome = played(
        lambda api: operations.wait_for_decision(api, "7", timeout_ms, interval),
        [(0.0, good("pending"))] * 99,
    )
    assert type(outcome.error) is TimeoutError
    assert outcome.error.action_id == "7"
    assert sum(is_decision(send) for send in outcome.transport.sends) == polls
    assert outcome.transport.clock.now == pytest.approx(1000 + timeout_ms / 1000)


@pytest.mark.parametrize("took", [20.0, 60.0])
def test_a_look_that_takes_all_the_time_ends_as_a_time_out(took: float) -> None:
    """Not as a kill switch that had no time to answer."""
    outcome = played(DECIDING["wait_for_decision"], [(took, good("pending")), (0.0, good())])
    assert type(outcome.error) is TimeoutError
    assert len(outcome.transport.sends) == 1


@given(
    seconds=st.floats(0, 50),
    interval=st.floats(0.01, 20),
    took=st.lists(st.floats(0, 60), max_size=8),
)
def test_no_look_overlaps_the_deadline(seconds: float, interval: float, took: list[float]) -> None:
    """Each is given only the time that is left."""
    outcome = played(
        lambda api: operations.wait_for_decision(api, "7", seconds * 1000, interval),
        [(one, good("pending")) for one in took] + [(0.0, good("denied"))] * 9999,
    )
    end = 1000 + seconds
    for begun, send in zip(outcome.transport.times, outcome.transport.sends, strict=True):
        assert send.timeout is not None
        assert begun + send.timeout <= end + 1e-6
    assert outcome.transport.clock.now <= end + 1e-6
    assert outcome.result is None or outcome.result.is_denied()


@pytest.mark.parametrize("depth", [-1, 6, 1.5, True, "1"])
def test_a_depth_out_of_range_is_refused_here(depth: Any) -> None:
    """Before any request, as the SDK document says."""
    outcome = played(lambda api: operations.evaluate_action(api, "a", "r", orchestration_depth=depth), [])
    assert type(outcome.error) is ValidationError
    assert outcome.transport.sends == []


@pytest.mark.parametrize(
    "call",
    [
        lambda api: operations.submit_action(api, {"agent_id": "a"}),
        lambda api: operations.submit_action(api, ACTION, idempotency_key="two\r\nlines"),
        lambda api: operations.submit_action(api, ACTION, idempotency_key=""),
        lambda api: operations.evaluate_action(api, "", "r"),
        lambda api: operations.evaluate_action(api, "a", None),
        lambda api: operations.evaluate_action(api, "a", "r", {"x": object()}),
        lambda api: operations.evaluate_action(api, "a", "r", {"x": float("nan")}),
        lambda api: operations.evaluate_action(api, "a", "r", [1]),
        lambda api: operations.evaluate_action(api, "a", "r", timeout=float("nan")),
        lambda api: operations.evaluate_mcp_action(api, "", "n", "v", "r"),
        lambda api: operations.wait_for_decision(api, "7", poll_interval=0),
        lambda api: operations.wait_for_decision(api, "7", timeout_ms=-1),
        lambda api: operations.wait_for_decision(api, "", 1000),
        lambda api: operations_system.approve_action(api, "7", token=""),
        lambda api: operations_system.approve_action(api, "7", token="two words"),
        lambda api: operations_system.trigger_kill_switch(api, 1, "too short"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_here(call: Any) -> None:
    """Before any request."""
    outcome = played(call, [(0.0, good())] * 9)
    assert type(outcome.error) is ValidationError
    assert outcome.transport.sends == []


def test_a_submission_serves_both_kinds_of_server() -> None:
    """What the REST API document requires, and what the published client sends."""
    outcome = played(DECIDING["submit_action"], [(0.0, good())] * 2)
    body = sent(outcome.transport.sends[-1])
    assert body["description"] == body["resource"] == "orders/17"
    assert body["tool_name"] == "payments"
    assert body["action_details"] == {"amount": 900}
    assert None not in body.values()


def test_a_governance_refusal_is_a_denial() -> None:
    """An unregistered MCP server: 403, in the server's words."""
    refused = answer(
        403, {"detail": {"error": "MCP server governance violation", "detail": "not registered"}}
    )
    outcome = played(DECIDING["submit_action"], [(0.0, good()), (0.0, refused)])
    assert type(outcome.error) is AuthorizationDeniedError
    assert "not registered" in str(outcome.error)


def test_the_signature_is_the_published_one() -> None:
    """HMAC-SHA256 over timestamp and body with sorted keys."""
    outcome = played(DECIDING["submit_action"], [(0.0, good())] * 2, signing_secret="s3cret")
    send = outcome.transport.sends[-1]
    text = f"{send.headers['X-Request-Timestamp']}.{json.dumps(sent(send), sort_keys=True)}"
    expected = hmac.new(b"s3cret", text.encode(), hashlib.sha256).hexdigest()
    assert send.headers["X-Signature"] == f"v1={expected}"


def test_the_kill_switch_is_asked_for_the_actions_agent() -> None:
    """An agent's own switch counts, not only the organization's."""
    outcome = played(DECIDING["submit_action"], [(0.0, good())] * 2)
    first = outcome.transport.sends[0]
    assert is_kill_switch(first)
    assert first.path.endswith("?agent_id=a-1")


def test_every_status_word_reaches_the_caller() -> None:
    """Also of a submission that is decided at once."""
    for word in sorted(APPROVING):
        outcome = played(DECIDING["submit_action"], [(0.0, good()), (0.0, good(word))])
        assert outcome.result.is_approved()


def test_the_kill_switchs_state_is_told() -> None:
    """As an object, not as words."""
    assert played(OTHERS["kill_switch_status"], [(0.0, good())]).result == KillSwitchState(False)


def test_every_endpoint_asked_for_exists() -> None:
    """By its row of the table: the same method, and its path with every parameter filled."""
    for name, call in CALLS.items():
        for send in played(call, [(0.0, good("pending")), (0.0, good("pending"))]).transport.sends:
            path = send.path.partition("?")[0]
            assert any(
                row.method == send.method and _fits(row.path, path) for row in BY_NAME.values()
            ), (name, send)  # fmt: skip


def _fits(pattern: str, path: str) -> bool:
    mine, theirs = pattern.split("/"), path.split("/")
    return len(mine) == len(theirs) and all(
        a == b or (a.startswith("{") and b) for a, b in zip(mine, theirs, strict=True)
    )
