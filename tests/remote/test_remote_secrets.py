"""What is secret stays here: nothing redacted is sent, and no key is in what people read."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from fault_server import Received
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from remote_world import Gate
from serving import Serving, serving

from ascend_guard import AscendError, RemoteControlPlane, governed

WORDS = ["password", "api_key", "token", "authorization", "client_secret", "aws_secret_access_key"]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Serving, Gate, RemoteControlPlane, str]]:
    with serving(tmp_path_factory.mktemp("secrets") / "a.db") as server:
        gate = Gate(server.url, lambda request: False)
        key = server.key("my-agent")
        plane = RemoteControlPlane(key, gate.url, agent_id="my-agent", push=False, poll_interval=0.01)
        yield server, gate, plane, key
        plane.close()
        gate.close()


def _sent(requests: list[Received]) -> str:
    return "\n".join(f"{each.method} {each.path} {each.headers} {each.body!r}" for each in requests)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    word=st.sampled_from(WORDS),
    secret=st.text("abcdefghjkmnpqrstuvwxyz23456789", min_size=14, max_size=30).map(lambda text: "S3" + text),
    depth=st.integers(0, 3),
    end=st.sampled_from(["return", "raise", "deny", "timeout", "detached"]),
    awaited=st.booleans(),
)
def test_nothing_redacted_is_sent(
    served: tuple[Serving, Gate, RemoteControlPlane, str],
    word: str,
    secret: str,
    depth: int,
    end: str,
    awaited: bool,
) -> None:
    """Whatever becomes of a call, its secret arguments are in no request: not in the submission, not in the outcome."""
    _, gate, plane, _ = served
    before = len(gate.received)
    seen: list[Any] = []
    value: Any = secret
    for _ in range(depth):
        value = {word: [value]}
    action = {"deny": "orders_delete"}.get(end, "refund")
    amount = 900 if end in ("timeout", "detached") else 5

    def body(details: Any) -> None:
        seen.append(details)
        if end == "raise":
            raise ValueError(f"it did not like {secret}")

    def tool(amount: int, password: Any) -> None:
        body(password)

    async def atool(amount: int, password: Any) -> None:
        body(password)

    gate_of = governed(
        action, "stripe", control_plane=plane, timeout=0, on_pending="raise" if end == "detached" else "wait"
    )
    failed = {"return": None, "raise": ValueError}.get(end, AscendError)
    with nullcontext() if failed is None else pytest.raises(failed) as caught:
        if awaited:
            asyncio.run(gate_of(atool)(amount, password=value))
        else:
            gate_of(tool)(amount, password=value)
    if failed is AscendError:
        assert caught is not None
        assert secret not in str(caught.value)
    if end in ("return", "raise"):
        assert seen == [value]
    plane._outbox.close()  # everything is sent
    plane._outbox._closing.clear()
    requests = gate.received[before:]
    assert requests
    assert secret not in _sent(requests)


def test_keys_are_in_no_words(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Not in a repr, a log line, an error or its traceback, whether the server is there, wrong or gone."""
    caplog.set_level(logging.DEBUG)
    words: list[str] = []
    with serving(tmp_path / "a.db") as server:
        key = server.key("my-agent")
        wrong = key[:-6] + "zzzzzz"
        planes = [
            RemoteControlPlane(key, server.url, agent_id="my-agent"),
            RemoteControlPlane(wrong, server.url, agent_id="my-agent"),
            RemoteControlPlane(key, "http://127.0.0.1:9", agent_id="my-agent"),
        ]
        for plane in planes:
            fields = {name: value for name, value in vars(plane).items() if name != "digest_key"}
            words += [
                repr(plane),
                str(plane),
                repr(fields),
                repr(vars(plane._feed)),
                repr(vars(plane._outbox)),
            ]

            @governed("refund", "stripe", control_plane=plane)
            def refund(amount: int) -> None:
                pass

            try:
                refund(5)
            except AscendError as error:
                words += traceback.format_exception(error)
                words.append(repr(error.__dict__))
        for plane in planes:
            plane.close()
    words += [record.getMessage() + str(record.exc_text) for record in caplog.records]
    said = "\n".join(words)
    for secret in (key, wrong, key.partition("_")[2], planes[0].digest_key.hex(), repr(planes[0].digest_key)):
        assert secret not in said
