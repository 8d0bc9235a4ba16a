"""What is sent again and when; which error an answer is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_transport import KEY, Clock, answer, steps
from support import SCHEDULES

from ascend_guard import errors
from ascend_guard.api.table import BY_NAME
from ascend_guard.client.http.exchange import DOCUMENTED, GUARD, Pause, Retry, Send, exchange
from ascend_guard.client.http.failures import MOST_WORDS
from ascend_guard.client.http.identity import RETRY_FOR
from ascend_guard.client.http.transport import Answer, Unsent

GET = BY_NAME["get_action"]
POST = BY_NAME["evaluate_policy"]
BODY = {"action_type": "refund", "resource": "orders"}
KEYED = {"Idempotency-Key": "k"}
OK = answer(200, {})


def ask(kind: str = "GET", *, keyed: bool = False, **options: Any) -> Any:
    headers = {"X-Correlation-ID": "asc_1", "Authorization": f"Bearer {KEY}", **(KEYED if keyed else {})}
    options = {"random": lambda: 0.0, **options}
    if kind == "GET":
        return exchange(GET, parameters={"action_id": "7"}, headers=headers, **options)
    return exchange(POST, body=BODY, headers=headers, **options)


def pauses(effects: list[Send | Pause]) -> list[float]:
    return [effect.seconds for effect in effects if isinstance(effect, Pause)]


def sends(effects: list[Send | Pause]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


@pytest.mark.parametrize("status", [429, 503])
def test_the_guard_waits_as_the_document_says(status: int) -> None:
    """Five attempts, after 1, 2, 4 and 8 seconds, for a submission."""
    effects, end = steps(ask("POST", keyed=True, retry=GUARD), *[answer(status, {})] * 9)
    assert pauses(effects) == [1, 2, 4, 8]
    assert len(sends(effects)) == 5
    assert isinstance(end, errors.AscendError)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_documented_schedule(status: int) -> None:
    """Three retries, after 0.5, 1 and 2 seconds."""
    effects, end = steps(ask(retry=DOCUMENTED), *[answer(status, {})] * 9)
    assert pauses(effects) == [0.5, 1, 2]
    assert len(sends(effects)) == 4
    assert isinstance(end, errors.AscendError)


@given(chance=st.floats(0, 1), attempt=st.integers(0, 4))
def test_jitter_adds_a_quarter_at_most(chance: float, attempt: int) -> None:
    """From the whole pause to a quarter more."""
    assert 2**attempt <= GUARD.pause(attempt, chance) <= 1.25 * 2**attempt


@given(status=st.integers(100, 599).filter(lambda code: code not in (200, 201)), keyed=st.booleans())
def test_what_may_not_happen_twice(status: int, keyed: bool) -> None:
    """A POST without a key is sent again after 429 and 503 only, whatever the policy; with one after every status of it."""
    everything = Retry(attempts=2, statuses=frozenset(range(100, 600)))
    effects, _ = steps(ask("POST", keyed=keyed, retry=everything), answer(status, {}), OK)
    assert len(sends(effects)) == (2 if keyed or status in (429, 503) else 1)


@given(
    policy=st.sampled_from([GUARD, DOCUMENTED]),
    kind=st.sampled_from(["GET", "POST"]),
    keyed=st.booleans(),
    failures=st.lists(
        st.sampled_from([Unsent("no"), errors.NetworkError("broke"), errors.TimeoutError("slow"), 503]),
        max_size=7,
    ),
)
@settings(max_examples=SCHEDULES)
def test_a_lost_request_is_sent_again_once_and_only_when_it_may(
    policy: Retry, kind: str, keyed: bool, failures: list[Any]
) -> None:
    """One resend after a failure of the network, and none where the server may have done it."""
    script = [answer(503, {}) if failure == 503 else failure for failure in failures]
    effects, end = steps(ask(kind, keyed=keyed, retry=policy), *script, OK)
    done = sends(effects)
    resent = [failure for failure in failures[: len(done) - 1] if failure != 503]
    assert len(resent) <= 1
    assert len(done) <= policy.attempts
    if kind == "POST" and not keyed:
        assert all(isinstance(failure, Unsent) for failure in resent)
    assert len({(send.method, send.path, send.body, tuple(send.headers.items())) for send in done}) == 1
    assert isinstance(end, Answer | errors.AscendError)


@pytest.mark.parametrize(("given", "seconds"), [("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("60", 60.0)])
def test_retry_after_replaces_the_pause(given: str, seconds: float) -> None:
    """Seconds as the server asks."""
    effects, end = steps(ask(), answer(429, {}, retry_after=given), OK)
    assert pauses(effects) == [seconds]
    assert end == OK


def test_retry_after_as_a_date_counts_from_the_servers_clock() -> None:
    """An HTTP date, by the answer's own Date, however wrong this machine's clock is."""
    now = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    said = {
        "retry_after": format_datetime(now + timedelta(seconds=12), True),
        "date": format_datetime(now, True),
    }
    effects, _ = steps(ask(), answer(503, {}, **said), OK)
    assert pauses(effects) == [12]


@given(
    value=st.one_of(st.text(max_size=40), st.sampled_from(["-1", "nan", "inf", "1e9", "99999999999999", ""]))
)
def test_a_retry_after_nobody_can_read_is_no_reason_to_wait(value: str) -> None:
    """Then the policy's own pause, or one that is bounded; never for ever, never an error of its own."""
    effects, end = steps(ask(), answer(429, {}, retry_after=value), OK)
    assert all(0 <= seconds <= RETRY_FOR for seconds in pauses(effects))
    assert isinstance(end, Answer | errors.RateLimitError)


def test_too_long_a_retry_after_is_said_at_once() -> None:
    """Without a deadline, more than five minutes are not waited for; the error says how long it would be."""
    effects, end = steps(ask(), answer(429, {"detail": "slow down"}, retry_after="1800"))
    assert pauses(effects) == []
    assert isinstance(end, errors.RateLimitError)
    assert end.retry_after == 1800


@given(
    deadline=st.floats(0.01, 60),
    took=st.floats(0, 20),
    after=st.one_of(st.none(), st.integers(0, 90)),
)
def test_nothing_goes_beyond_the_deadline(deadline: float, took: float, after: int | None) -> None:
    """Neither a send nor a pause, and no send is given more time than is left."""
    clock = Clock()
    end = clock.now + deadline
    headers = {} if after is None else {"retry_after": str(after)}
    flow = ask(deadline=end, clock=clock)
    effect = next(flow)
    try:
        while True:
            assert clock.now < end
            if isinstance(effect, Pause):
                assert clock.now + effect.seconds <= end
                clock.pass_by(effect.seconds)
                effect = flow.send(None)
            else:
                assert effect.timeout == end - clock.now
                clock.pass_by(min(took, effect.timeout))
                effect = flow.send(answer(429, {}, **headers))
    except errors.RateLimitError:
        pass


def test_no_time_left_is_a_time_out() -> None:
    """Nothing is sent after the deadline."""
    clock = Clock()
    effects, end = steps(ask(deadline=clock.now, clock=clock))
    assert effects == []
    assert isinstance(end, errors.TimeoutError)


def test_one_attempt_never_has_more_time_than_it_is_allowed() -> None:
    """The less of the deadline and the time-out."""
    clock = Clock()
    effects, _ = steps(ask(deadline=clock.now + 300, timeout=30.0, clock=clock))
    assert sends(effects)[0].timeout == 30.0


KINDS = {
    400: errors.ValidationError,
    401: errors.AuthenticationError,
    402: errors.KillSwitchError,
    403: errors.AuthorizationDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.ValidationError,
    429: errors.RateLimitError,
}


@given(status=st.integers(100, 599).filter(lambda code: code not in (200, 201)), body=st.binary(max_size=60))
@example(status=202, body=b"{}")
@example(status=204, body=b"")
@example(status=302, body=b"{}")
def test_every_other_status_is_its_error(status: int, body: bytes) -> None:
    """The documented ones are theirs, all others the server's fault; the message names status and correlation id."""
    _, end = steps(ask(retry=Retry(attempts=1)), answer(status, body))
    assert type(end) is KINDS.get(status, errors.ServerError)
    assert str(status) in str(end)
    assert "asc_1" in str(end)


def test_a_redirect_names_the_remedy() -> None:
    """It is not followed: that would carry the key away."""
    _, end = steps(ask(), answer(302, b"", location="https://elsewhere.example"))
    assert isinstance(end, errors.ServerError)
    assert "ASCEND_API_URL" in str(end)
    assert "elsewhere" not in str(end)


def test_people_only_is_said_as_such() -> None:
    """A 401 of an approving endpoint does not send anybody to look for a mistyped key."""
    flow = exchange(BY_NAME["approve_action"], parameters={"action_id": "7"}, body={})
    _, end = steps(flow, answer(401, {"detail": "API keys may not approve"}))
    assert isinstance(end, errors.AuthenticationError)
    assert "token=" in str(end)
    assert "ASCEND_API_KEY" not in str(end)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "no such agent"}, "no such agent"),
        ({"detail": {"error": "MCP server governance violation", "detail": "not registered"}}, "violation: not registered"),
        ({"detail": [{"loc": ["body", "agent_id"], "msg": "field required"}]}, "body.agent_id: field required"),
        ({"message": "said otherwise"}, "said otherwise"),
    ],
)  # fmt: skip
def test_the_servers_own_words_are_passed_on(body: Any, words: str) -> None:
    """In every documented shape."""
    _, end = steps(ask(), answer(403, body))
    assert words in str(end)
    assert isinstance(end, errors.AscendError)
    assert end.action_id == "7"


@given(detail=st.text(max_size=3000), identifier=st.text(max_size=300))
def test_a_message_cannot_be_painted_over(detail: str, identifier: str) -> None:
    """Whatever the server writes: one line, of bounded length, without control characters."""
    body = {"detail": {"error": detail, "correlation_id": identifier}}
    _, end = steps(ask(), answer(403, body))
    assert str(end).isprintable()
    assert len(str(end)) < 2 * MOST_WORDS + 500


def test_a_server_that_repeats_the_key_does_not_make_us_repeat_it() -> None:
    """The key is taken out of what the server says."""
    _, end = steps(ask(), answer(401, {"detail": f"unknown key {KEY}", "correlation_id": KEY}))
    assert KEY not in str(end)
    assert KEY not in repr(end)


@pytest.mark.parametrize("before", [0, MOST_WORDS - 5, 4 * MOST_WORDS - 5])
@pytest.mark.parametrize("filler", [" ", "x "])
def test_no_part_of_the_key_is_repeated(before: int, filler: str) -> None:
    """Wherever the message is cut."""
    token = "6f1d2c3b4a5968778695a4b3c2d1e0f"  # nothing about its shape says that it is one
    flow = exchange(
        GET,
        parameters={"action_id": "7"},
        headers={"Authorization": f"Bearer {token}"},
        retry=Retry(attempts=1),
    )
    _, end = steps(flow, answer(403, {"detail": filler * (before // len(filler)) + token}))
    assert token[:4] not in str(end)


def test_effects_show_no_headers() -> None:
    """A key in a request's headers is in no repr."""
    assert KEY not in repr(Send("GET", "/", headers={"X-API-Key": KEY}))


@pytest.mark.parametrize(
    "body",
    [
        {"action_type": "", "resource": "x"},
        {"action_type": "refund"},
        {"action_type": "refund", "resource": "x", "context": {"when": object()}},
        {"action_type": "refund", "resource": "x", "context": {"n": [float("nan")]}},
        {"action_type": "refund", "resource": "x", "context": {"n": float("inf")}},
        {"action_type": "refund", "resource": "\ud800"},
    ],
)
def test_what_does_not_fit_is_not_sent(body: Any) -> None:
    """A body is checked before anything is sent."""
    effects, end = steps(exchange(POST, body=body))
    assert effects == []
    assert isinstance(end, errors.ValidationError)


def test_a_cyclic_body_is_not_sent() -> None:
    """Nor one without an end."""
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle
    effects, end = steps(exchange(POST, body={**BODY, "context": cycle}))
    assert effects == []
    assert isinstance(end, errors.ValidationError)


@pytest.mark.parametrize("value", ["", None, True, 1.5, b"7"])
def test_a_parameter_that_is_none_leads_nowhere_else(value: Any) -> None:
    """An empty identifier would be another endpoint's path."""
    effects, end = steps(exchange(GET, parameters={"action_id": value}))
    assert effects == []
    assert isinstance(end, errors.ValidationError)


@given(st.text(min_size=1, max_size=30))
def test_no_identifier_leaves_its_segment(identifier: str) -> None:
    """Slashes, dots, question marks and percent signs are quoted."""
    effects, _ = steps(exchange(GET, parameters={"action_id": identifier}))
    path = sends(effects)[0].path
    assert path.startswith("/api/v1/actions/")
    assert set(path.removeprefix("/api/v1/actions/")).isdisjoint("/?#")
    assert path.removeprefix("/api/v1/actions/") not in (".", "..")


def test_a_query_is_plain() -> None:
    """None is left out, and booleans are JSON's."""
    effects, _ = steps(exchange(GET, parameters={"action_id": 7}, query={"a": None, "b": True, "c": "x y&z"}))
    assert sends(effects)[0].path == "/api/v1/actions/7?b=true&c=x+y%26z"


def test_a_body_is_sent_as_json() -> None:
    """With its content type."""
    effects, _ = steps(ask("POST"))
    assert json.loads(sends(effects)[0].body or b"") == BODY
    assert sends(effects)[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("repeated", [None, "", "asc_2", "ASC_1", "asc_1, asc_2"])
def test_an_answer_to_another_request_is_not_used(status: int, repeated: str | None) -> None:
    """Where the server repeats correlation ids, another one, or none, is an error that names the proxy; and it is final."""
    headers = {} if repeated is None else {"x-correlation-id": repeated}
    other = Answer(status, headers, b"{}")
    effects, end = steps(ask(echoed=True), other, other)
    assert len(sends(effects)) == 1
    assert isinstance(end, errors.ServerError)
    assert "X-Correlation-ID" in str(end)
    assert steps(ask(), other)[1] is other  # a platform of the documented API alone need not repeat it
    own = Answer(status, {"x-correlation-id": "asc_1"}, b"{}")
    assert steps(ask(echoed=True), own)[1] is own
