"""A submission: sent again with one key as the documents say, waited for as long as the server asks, and one request."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documented_calls import ACTION, DECIDING, OTHERS, good, is_kill_switch, is_submission
from documented_server import DocumentedServer
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_transport import KEY, answer, aplayed, played
from serving import Serving, eventually, serving
from support import SCHEDULES

from ascend_guard import AscendClient, AsyncAscendClient
from ascend_guard.client.api import actions as operations
from ascend_guard.client.api import asking
from ascend_guard.client.guard.feed import Feed
from ascend_guard.client.http.exchange import Send
from ascend_guard.errors import AscendError, KillSwitchError, NetworkError, RateLimitError, ServerError

AGAIN = (429, 500, 502, 503, 504)
SUBMITTING = {name: call for name, call in DECIDING.items() if name.startswith(("submit", "evaluate"))} | {
    "call(submit_action)": lambda api: asking.call(
        api,
        "submit_action",
        body={"agent_id": "a", "agent_name": "A", "action_type": "refund", "resource": "r"},
    )
}


def submissions(sends: list[Send]) -> list[Send]:
    """Those that submit."""
    return [send for send in sends if is_submission(send)]


def test_every_documented_status_is_sent_again_with_one_key() -> None:
    """Whatever mixture of them comes: up to three more, all with the first one's key, body and path, then the answer."""
    seen: Counter[int] = Counter()

    @given(
        name=st.sampled_from(sorted(SUBMITTING)),
        statuses=st.lists(st.sampled_from(AGAIN), max_size=6),
        coroutine=st.booleans(),
    )
    @settings(max_examples=SCHEDULES)
    def check(name: str, statuses: list[int], coroutine: bool) -> None:
        off = [] if name.startswith("call") else [(0.0, good())]
        events = [*off, *((0.0, answer(status, {})) for status in statuses), (0.0, good())]
        outcome = (aplayed if coroutine else played)(SUBMITTING[name], events)
        sent = submissions(outcome.transport.sends)
        assert len(sent) == min(len(statuses) + 1, 4)
        assert len({(send.headers["Idempotency-Key"], send.body, send.path) for send in sent}) == 1
        assert (outcome.error is None) == (len(statuses) < 4)
        seen.update(statuses[: len(sent) - 1])

    check()
    assert set(seen) == set(AGAIN)


@given(
    name=st.sampled_from(sorted(SUBMITTING)),
    status=st.integers(201, 599).filter(lambda status: status not in (*AGAIN, 200)),
)
def test_no_other_status_is_sent_again(name: str, status: int) -> None:
    """It is an answer, or something that sending again does not remedy."""
    off = [] if name.startswith("call") else [(0.0, good())]
    outcome = played(SUBMITTING[name], [*off, (0.0, answer(status, {})), (0.0, good())])
    assert len(submissions(outcome.transport.sends)) == 1


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_what_may_not_happen_twice_is_not_sent_again(name: str, status: int) -> None:
    """After an answer that does not say whether it was done, a POST without a key is left as it is."""
    outcome = played(OTHERS[name], [(0.0, answer(status, {}))] * 9)
    for send in outcome.transport.sends:
        if send.method == "POST" and "Idempotency-Key" not in send.headers:
            assert outcome.transport.sends == [send]
            assert type(outcome.error) is ServerError


@pytest.mark.parametrize("seconds", [1, 59, 60, 61, 62, 63, 120, 250])
@pytest.mark.parametrize("name", ["submit_action", "evaluate_mcp_action"])
def test_retry_after_is_waited_for(name: str, seconds: int) -> None:
    """The documented windows are of a minute: what the server asks for is within what a caller waits."""
    busy = answer(429, {}, retry_after=str(seconds))
    outcome = played(DECIDING[name], [(0.0, good()), (0.0, busy), (0.0, good())])
    assert outcome.result.is_approved()
    assert outcome.transport.times[-1] - outcome.transport.times[-2] == seconds


@given(after=st.integers(0, 400), timeout=st.integers(0, 400), took=st.floats(0, 20))
def test_the_callers_deadline_decides(after: int, timeout: int, took: float) -> None:
    """``Retry-After`` is waited for exactly when it ends before the deadline; else the error says how long it would be."""
    busy = answer(429, {}, retry_after=str(after))
    ends = 1000.0 + timeout

    def call(api: Any) -> Any:
        return operations.evaluate_action(api, "refund", "r", timeout=timeout)

    outcome = played(call, [(0.0, good()), (took, busy), (0.0, good())])
    if 1000.0 + took + after < ends:
        assert outcome.result.is_approved()
        assert outcome.transport.times[-1] <= ends
    else:
        assert isinstance(outcome.error, RateLimitError)
        assert outcome.error.retry_after == after
        assert outcome.transport.clock.now == 1000.0 + took


@given(after=st.integers(0, 400), retry_for=st.integers(0, 400), name=st.sampled_from(sorted(OTHERS)))
def test_so_it_does_for_every_operation(after: int, retry_for: int, name: str) -> None:
    """``retry_for`` is the deadline of what has none of its own."""
    busy = answer(429, {}, retry_after=str(after))
    outcome = played(OTHERS[name], [(0.0, busy), (0.0, good())], retry_for=float(retry_for))
    if len(outcome.transport.sends) > 1:
        assert outcome.transport.times[1] == 1000.0 + after
        assert after < retry_for
    elif name != "test_connection":
        assert isinstance(outcome.error, RateLimitError)
        assert after >= retry_for


def test_the_deadline_is_for_all_pauses_together() -> None:
    """Three pauses of two minutes are more than a caller waits who did not say so."""
    busy = answer(429, {}, retry_after="120")
    outcome = played(DECIDING["submit_action"], [(0.0, good()), *[(0.0, busy)] * 9])
    assert isinstance(outcome.error, RateLimitError)
    assert outcome.transport.clock.now == 1240.0


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), True, "60"])
def test_a_client_that_cannot_wait_so_long_is_refused(value: Any) -> None:
    """``retry_for`` is a number of seconds."""
    with pytest.raises(AscendError, match="retry_for"):
        AscendClient(KEY, retry_for=value)


def test_a_long_pause_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """One line says what is sent again, when, and why; a short one is not worth it."""
    with caplog.at_level(logging.WARNING, logger="ascend_guard.client"):
        played(DECIDING["submit_action"], [(0.0, good()), (0.0, answer(503, {})), (0.0, good())])
        assert caplog.records == []
        busy = answer(429, {"detail": "too many"}, retry_after="63")
        played(DECIDING["submit_action"], [(0.0, good()), (0.0, busy), (0.0, good())])
    [record] = caplog.records
    assert re.search("submit_action is sent again in 63 s: .*too many", record.getMessage())
    assert KEY not in record.getMessage()


# --- one request for one submission -----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    """Ours, with a stream."""
    with serving(tmp_path / "a.db") as server:
        yield server


def counts(server: Serving) -> Counter[str]:
    """How many requests there were, by endpoint."""
    text = server.server.services.meter.exposition().decode()  # what is served may be a second old
    found: Counter[str] = Counter()
    for endpoint, number in re.findall(
        r'ascend_requests_total{endpoint="(\w+)",status="\d+"} ([\d.]+)', text
    ):
        found[endpoint] += int(float(number))
    return found


def listening(server: Serving, number: int = 1) -> bool:
    """Whether this many streams are open."""
    return server.server.services.meter.streams == number


def feeds() -> list[threading.Thread]:
    """Threads that listen to a stream."""
    return [thread for thread in threading.enumerate() if thread.name == "ascend-guard-feed"]


def is_live(client: AscendClient | AsyncAscendClient) -> bool:
    """Whether the client knows the kill switch without asking."""
    return client._identity.pushed("my-agent") is not None


def is_stopped(client: AscendClient) -> bool:
    """Whether the client knows that it is stopped, without asking."""
    state = client._identity.pushed("my-agent")
    return state is not None and state.blocked


def test_one_request_for_one_submission(server: Serving) -> None:
    """While the stream is live nothing else is asked, for any of the agents; the switch still stops at once."""
    admin = server.key(None, "admin")
    with AscendClient(admin, server.url, agent_id="my-agent") as client:
        assert client.evaluate_action("file_read", "a file").is_approved()
        eventually(lambda: is_live(client))
        before = counts(server)
        for _ in range(20):
            assert client.submit_action(ACTION).is_pending()
            assert client.evaluate_action("file_read", "a file").is_approved()
        assert counts(server) - before == {"submit_action": 40}
        assert client.trigger_kill_switch("local", "nobody goes on now")
        eventually(lambda: is_stopped(client))
        before = counts(server)
        with pytest.raises(KillSwitchError, match="nobody goes on now"):
            client.evaluate_action("file_read", "a file")
        assert counts(server) == before
        client.release_kill_switch("local", "they may go on now")
        eventually(lambda: not is_stopped(client))
        assert client.evaluate_action("file_read", "a file").is_approved()
    eventually(lambda: listening(server, 0))


async def test_coroutines_too(server: Serving) -> None:
    """The asynchronous client has the same stream, and no thread waits for it."""
    async with AsyncAscendClient(server.key(), server.url, agent_id="my-agent") as client:
        assert (await client.evaluate_action("file_read", "a file")).is_approved()
        while not is_live(client):
            await asyncio.sleep(0.01)
        before = counts(server)
        await asyncio.gather(*(client.evaluate_action("file_read", "a file") for _ in range(20)))
        assert counts(server) - before == {"submit_action": 20}


def test_a_stream_that_falls_silent_is_not_believed(tmp_path: Path) -> None:
    """When the server's streams end, the switch is asked for by request again, until a stream is live."""
    with (
        serving(tmp_path / "a.db") as server,
        AscendClient(server.key(), server.url, agent_id="my-agent") as client,
    ):
        client.evaluate_action("file_read", "a file")
        eventually(lambda: is_live(client))
        client._following.close()
        assert not is_live(client)
        before = counts(server)
        assert client.evaluate_action("file_read", "a file").is_approved()
        assert counts(server) - before == {"submit_action": 1, "get_kill_switch": 1}


def test_a_client_that_is_dropped_listens_no_more(server: Serving) -> None:
    """Neither its thread nor its connection stays behind, whether or not anybody closed it."""

    def used_and_dropped() -> None:
        client = AscendClient(server.key(), server.url, agent_id="my-agent")
        client.evaluate_action("file_read", "a file")
        eventually(lambda: is_live(client))

    used_and_dropped()
    gc.collect()
    eventually(lambda: listening(server, 0))
    eventually(lambda: not feeds())


def test_a_server_without_a_stream_is_asked_each_time() -> None:
    """The documented platform: once what it can do, and no more of that; two requests for each submission."""
    with DocumentedServer() as server, AscendClient(KEY, server.url) as client:
        client.submit_action(ACTION)
        eventually(lambda: any(one.path == "/api/deployment-info" for one in server.requests))
        eventually(lambda: not feeds())
        for _ in range(5):
            client.submit_action(ACTION)
        paths = Counter(one.path.partition("?")[0] for one in server.requests)
    assert paths == {
        "/api/deployment-info": 1,
        "/api/sdk/kill-switch/status": 6,
        "/api/v1/actions/submit": 6,
    }


def test_a_client_that_submits_nothing_does_not_listen(server: Serving) -> None:
    """Nor one that was refused: a wrong key is not tried again and again."""
    with AscendClient(server.key(), server.url) as client, AscendClient(KEY, server.url) as stranger:
        client.list_actions()
        with pytest.raises(AscendError):
            stranger.submit_action(ACTION)
        assert not feeds()


class Refusing:
    """A stream that a server answers with this status; 0 is no answer."""

    def __init__(self, status: int) -> None:
        self.status = status

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Hurried(threading.Event):
    """Waits for nothing, and notes how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        return self.is_set()


@pytest.mark.parametrize(
    ("status", "most"), [(401, 90.0), (403, 90.0), (429, 90.0), (500, 3.0), (503, 3.0), (0, 3.0)]
)
def test_a_stream_that_is_refused_is_not_asked_for_all_the_time(status: int, most: float) -> None:
    """Each attempt counts as a request: after a 4xx the pauses grow to a minute, in steps in which a silence is noticed."""
    hurried, pauses = Hurried(), list[float]()

    def opened(last_id: str | None, silence: float) -> Refusing:
        pauses.append(sum(hurried.waited))
        hurried.waited.clear()
        if len(pauses) == 40:
            feed.close()
        if not status:
            raise NetworkError("nobody there")
        return Refusing(status)

    feed = Feed(opened)
    feed._wake = hurried
    feed.start()
    eventually(lambda: len(pauses) == 40 and not feeds())
    assert most / 4 < max(pauses) <= most
    assert all(waited <= 2.0 for waited in hurried.waited)


def test_another_attempt_at_a_real_server() -> None:
    """Over HTTP: 502, then 504, then the answer; three requests with one key."""
    script = [502, 504]

    def reply(request: Any) -> Any:
        if request.method == "POST" and script:
            return script.pop(0), {}
        return None

    with DocumentedServer(override=reply) as server, AscendClient(KEY, server.url) as client:
        assert client.submit_action(ACTION).is_approved()
        posts = [one for one in server.requests if one.method == "POST"]
    assert len(posts) == 3
    assert (
        len({(one.headers["idempotency-key"], one.headers["x-correlation-id"], one.body) for one in posts})
        == 1
    )
    assert is_kill_switch(Send("GET", server.requests[0].path))
