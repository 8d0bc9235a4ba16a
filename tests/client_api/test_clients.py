"""Both clients against a real server: how they are made, what they show of themselves, and how they end."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import pickle
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from documented_calls import ACTION
from documented_server import DocumentedServer, Reply, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ascend_guard import errors
from ascend_guard.client.api.clients import AscendClient, AsyncAscendClient
from ascend_guard.client.http.identity import DEFAULT_URL

KEY = "ask_0123456789abcdef"
SECRET = "signing-s3cret-of-ours"
CLIENTS = [AscendClient, AsyncAscendClient]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ASCEND_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[DocumentedServer]:
    with DocumentedServer() as running:
        yield running


# --- how they are made -------------------------------------------------------------------------------------------------


@given(
    key=st.text(max_size=40)
    | st.integers()
    | st.binary(max_size=20)
    | st.just(KEY[:15])
    | st.just(KEY + "\n")
    | st.just(KEY + " x")
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", CLIENTS)
def test_a_key_is_formed_like_one(kind: Any, key: Any) -> None:
    """Or it is refused when the client is made, without being shown; the remedy is named."""
    with pytest.raises(errors.AuthenticationError) as caught:
        kind(api_key=key)
    assert "ASCEND_API_KEY" in str(caught.value)
    assert "ask_" in str(caught.value)
    if len(str(key)) > 4 and str(key) not in "There is no API key":
        assert str(key) not in str(caught.value)


@pytest.mark.parametrize("key", ["ask_0123456789ab", "owkai_0123456789"])
def test_both_kinds_of_key_are_taken(key: str) -> None:
    """From sixteen characters on."""
    assert len(key) == 16
    AscendClient(key).close()


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the environment before defaults."""
    monkeypatch.setenv("ASCEND_API_KEY", "owkai_of_the_environment")
    assert AscendClient()._identity.api_url == DEFAULT_URL == "https://pilot.owkai.app"
    monkeypatch.setenv("ASCEND_API_URL", "http://localhost:1")
    monkeypatch.setenv("ASCEND_AGENT_ID", "env-agent")
    monkeypatch.setenv("ASCEND_AGENT_NAME", "Env Agent")
    monkeypatch.setenv("ASCEND_DEBUG", "True")
    told = AscendClient()._identity
    assert (told.api_url, told.agent_id, told.agent_name, told.debug) == (
        "http://localhost:1",
        "env-agent",
        "Env Agent",
        True,
    )
    given = AscendClient(KEY, "http://localhost:2", agent_id="x", agent_name="X", debug=False)._identity
    assert (given.api_key, given.api_url, given.agent_id, given.agent_name, given.debug) == (
        KEY,
        "http://localhost:2",
        "x",
        "X",
        False,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"api_url": "http://elsewhere.example"},
        {"api_url": ""},
        {"api_url": 7},
        {"timeout": 0},
        {"timeout": "30"},
        {"timeout": float("nan")},
        {"agent_id": ""},
        {"environment": "two\r\nlines"},
        {"signing_secret": b"x"},
    ],
)
@pytest.mark.parametrize("kind", CLIENTS)
def test_what_cannot_be_used_is_refused_at_once(kind: Any, options: dict[str, Any]) -> None:
    """When the client is made, not when an action waits for it."""
    with pytest.raises(errors.ConfigurationError):
        kind(KEY, **options)


def test_a_misspelt_debug_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither true nor false."""
    monkeypatch.setenv("ASCEND_DEBUG", "ture")
    with pytest.raises(errors.ConfigurationError, match="ASCEND_DEBUG"):
        AscendClient(KEY)


@pytest.mark.parametrize("kind", CLIENTS)
def test_no_repr_shows_a_secret(kind: Any) -> None:
    """Neither the client's nor that of anything in it."""
    client = kind(KEY, "http://localhost", signing_secret=SECRET)
    shown = repr(client) + repr(vars(client)) + repr(client._identity.__rich_repr__())
    assert KEY not in shown
    assert KEY[4:12] not in shown
    assert SECRET not in shown
    assert "http://localhost" in shown


def test_signatures_are_those_of_the_documents() -> None:
    """Bound methods show the parameters people pass, and nothing of the machinery."""
    client = AscendClient(KEY)
    assert list(inspect.signature(client.wait_for_decision).parameters) == [
        "action_id",
        "timeout_ms",
        "poll_interval",
    ]
    assert list(inspect.signature(client.submit_action).parameters) == ["action", "idempotency_key"]
    assert inspect.iscoroutinefunction(AsyncAscendClient(KEY).submit_action)


# --- what they do ------------------------------------------------------------------------------------------------------


def test_a_blocking_client(server: DocumentedServer) -> None:
    """Asks, is told, and closes twice without an error."""
    with AscendClient(KEY, server.url, environment="staging", signing_secret=SECRET) as client:
        assert client.submit_action(ACTION).is_approved()
        assert client.test_connection().connected
    client.close()
    last = next(one for one in server.requests if one.method == "POST")
    assert last.headers["x-environment"] == "staging"
    assert last.headers["x-signature"].startswith("v1=")
    with pytest.raises(errors.ConfigurationError, match="closed"):
        client.submit_action(ACTION)
    assert client.test_connection().connected is False


async def test_an_asynchronous_client(server: DocumentedServer) -> None:
    """The same, awaited."""
    async with AsyncAscendClient(KEY, server.url) as client:
        assert (await client.submit_action(ACTION)).is_approved()
        assert (await client.test_connection()).connected
    await client.close()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        await client.submit_action(ACTION)
    assert (await client.test_connection()).connected is False


def test_a_client_outlives_event_loops(server: DocumentedServer) -> None:
    """One may be used by one loop after another."""
    client = AsyncAscendClient(KEY, server.url)
    for _ in range(2):
        assert asyncio.run(client.get_action_status("12345")).is_approved()
    asyncio.run(client.close())


def test_a_servers_session_settings_are_used(server: DocumentedServer) -> None:
    """Headers of a session that was passed go along."""
    session = requests.Session()
    session.headers["X-Team"] = "payments"
    with AscendClient(KEY, server.url, session=session) as client:
        client.get_action_status("12345")
    assert server.requests[-1].headers["x-team"] == "payments"
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"


def test_threads_share_a_client(server: DocumentedServer) -> None:
    """Every call has its own correlation id and key."""
    results: list[bool] = []
    with AscendClient(KEY, server.url) as client:
        threads = [
            threading.Thread(target=lambda: results.append(client.submit_action(ACTION).is_approved()))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 12
    keys = [one.headers["idempotency-key"] for one in server.requests if one.method == "POST"]
    assert len(set(keys)) == 12


async def test_waiting_holds_no_thread(server: DocumentedServer) -> None:
    """Many more wait for a decision than there are threads, and others are served meanwhile."""
    server.override = lambda one: (
        (200, {"id": int(one.path.split("/")[4]), "status": "pending"})
        if re.fullmatch(r"/api/v1/actions/\d+/status", one.path)
        else None
    )
    async with AsyncAscendClient(KEY, server.url) as client:
        waiting = [
            asyncio.ensure_future(client.wait_for_decision(str(n), poll_interval=60)) for n in range(1, 81)
        ]
        while sum(one.path.endswith("/status") for one in server.requests) < 80:
            await asyncio.sleep(0.01)
        assert (await client.submit_action(ACTION)).is_approved()
        for one in waiting:
            one.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}, ends


async def test_a_cancelled_call_ends_at_once(server: DocumentedServer) -> None:
    """Also while its request is under way; the client is of use afterwards."""
    arrived, go_on = threading.Event(), threading.Event()

    def hold(one: Request) -> Reply | None:
        if one.method == "POST":
            arrived.set()
            go_on.wait(20)
        return None

    server.override = hold
    async with AsyncAscendClient(KEY, server.url) as client:
        call = asyncio.ensure_future(client.submit_action(ACTION))
        while not arrived.is_set():
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.get_action_status("12345")).is_approved()
        go_on.set()


def test_a_forked_child_has_threads_of_its_own(server: DocumentedServer) -> None:
    """An asynchronous client made before a fork works after it."""
    client = AsyncAscendClient(KEY, server.url)
    assert asyncio.run(client.get_action_status("12345")).is_approved()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if asyncio.run(client.get_action_status("12345")).is_approved() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(client.close())


# --- pages -------------------------------------------------------------------------------------------------------------


def paged(total: int, *, arriving: bool = False, endless: bool = False) -> Any:
    """A server with many actions; with ``arriving``, another comes before every page."""
    newest = total

    def reply(one: Request) -> Reply | None:
        nonlocal newest
        path, _, query = one.path.partition("?")
        if path != "/api/v1/actions":
            return None
        asked = dict(pair.split("=") for pair in query.split("&"))
        limit, offset = int(asked["limit"]), 0 if endless else int(asked["offset"])
        numbers = list(range(newest, 0, -1))[offset : offset + limit]
        newest += arriving
        more = endless or offset + limit < newest
        actions = [{"id": number, "status": "denied"} for number in numbers]
        return 200, {"actions": actions, "total": newest, "limit": limit, "offset": offset, "has_more": more}

    return reply


@pytest.mark.parametrize("total", [0, 1, 10, 11, 25])
@pytest.mark.parametrize("arriving", [False, True])
def test_iterating_gives_every_action_once(server: DocumentedServer, total: int, arriving: bool) -> None:
    """Over all pages, also while new ones arrive."""
    server.override = paged(total, arriving=arriving)
    with AscendClient(KEY, server.url) as client:
        found = [int(action.action_id) for action in client.iterate_actions(limit=10)]
    assert found == list(range(total, 0, -1))


async def test_iterating_asynchronously(server: DocumentedServer) -> None:
    """The same."""
    server.override = paged(25)
    async with AsyncAscendClient(KEY, server.url) as client:
        found = [int(action.action_id) async for action in client.iterate_actions(limit=10, status="denied")]
    assert found == list(range(25, 0, -1))
    assert all("status=denied" in one.path for one in server.requests)


def test_a_server_that_repeats_a_page_does_not_keep_us(server: DocumentedServer) -> None:
    """The iteration ends when a page brings nothing new."""
    server.override = paged(10, endless=True)
    with AscendClient(KEY, server.url) as client:
        assert len(list(client.iterate_actions(limit=10))) == 10
    assert len(server.requests) == 2


# --- what is logged ----------------------------------------------------------------------------------------------------


def test_debug_shows_requests_and_answers_without_secrets(
    server: DocumentedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Methods, paths, bodies and statuses; no key, token, signature or password."""
    caplog.set_level(logging.DEBUG, logger="ascend_guard.client")
    server.override = lambda one: (
        (401, {"detail": f"bad key {KEY}"}) if one.path.endswith("/approve") else None
    )
    with AscendClient(KEY, server.url, debug=True, signing_secret=SECRET, agent_id="a-1") as client:
        client.evaluate_action("refund", "orders/17", {"amount": 900, "card_password": "hunter2-of-mine"})
        with pytest.raises(errors.AuthenticationError):
            client.approve_action("7", token="person.token.abcdef")
    text = caplog.text
    for shown in ("POST /api/v1/actions/submit", "orders/17", "900", "<- 200", "<- 401", "Idempotency-Key"):
        assert shown in text
    signature = next(one.headers["x-signature"] for one in server.requests if "x-signature" in one.headers)
    for hidden in (KEY, KEY[4:], SECRET, "person.token.abcdef", "hunter2-of-mine", signature):
        assert hidden not in text


def test_nothing_is_said_unasked(server: DocumentedServer, caplog: pytest.LogCaptureFixture) -> None:
    """Without debug no body is logged, and no handler is ever added."""
    caplog.set_level(logging.DEBUG)
    with AscendClient(KEY, server.url) as client:
        client.submit_action(ACTION)
    assert "orders/17" not in caplog.text
    assert logging.getLogger("ascend_guard.client").handlers == []


# --- errors ------------------------------------------------------------------------------------------------------------


def test_a_refused_connection_blocks() -> None:
    """Nobody there: it is said as what it is, and nothing is submitted."""
    with DocumentedServer() as gone:
        url = gone.url
    with AscendClient(KEY, url, timeout=2) as client:
        with pytest.raises(errors.NetworkError):
            client.submit_action(ACTION)
        with pytest.raises(errors.NetworkError):
            client.get_action_status("7")


def test_errors_travel_between_processes(server: DocumentedServer) -> None:
    """With their message and fields, as for a pool of workers."""
    server.override = lambda one: (404, {"detail": "no such action"})
    with AscendClient(KEY, server.url) as client, pytest.raises(errors.NotFoundError) as caught:
        client.get_action("7")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.action_id, again.reason) == (str(caught.value), "7", "no such action")


def test_an_address_with_a_path_too_many_is_told(server: DocumentedServer) -> None:
    """What is not there is the endpoint, not a thing with an identifier: the message says which setting to look at."""
    server.override = lambda one: (404, {"detail": "There is no such endpoint. See /openapi.json."})
    with AscendClient(KEY, server.url + "/api") as client:
        with pytest.raises(
            errors.NotFoundError, match="Check that ASCEND_API_URL is an Ascend server's address"
        ):
            client.list_actions()
        with pytest.raises(errors.NotFoundError, match="Check the identifier") as caught:
            client.get_action("7")
    assert "ASCEND_API_URL" not in str(caught.value)


def test_the_documents_import_errors_from_exceptions() -> None:
    """The same classes under both names, and all of them."""
    from ascend_guard import exceptions

    assert exceptions.__all__ == errors.__all__
    assert all(getattr(exceptions, name) is getattr(errors, name) for name in errors.__all__)


def test_a_resent_submission_is_the_same_action(server: DocumentedServer) -> None:
    """The second attempt, after 503, has the first one's key, body and correlation id."""
    tries: list[Request] = []

    def busy_once(one: Request) -> Reply | None:
        if one.method != "POST":
            return None
        tries.append(one)
        return (503, {"detail": "busy"}) if len(tries) == 1 else None

    server.override = busy_once
    with AscendClient(KEY, server.url) as client:
        assert client.submit_action(ACTION, idempotency_key="order-17").is_approved()
    first, second = tries
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "order-17"
    assert json.loads(first.body) == json.loads(second.body)
    assert first.headers["x-correlation-id"] == second.headers["x-correlation-id"]
