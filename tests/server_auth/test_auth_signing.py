"""Keys with a signing secret: only what is signed with it is done; without one, a signature is not looked at."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import Serving, serving

from ascend_guard import AscendClient
from ascend_guard.client.guard.control_plane import RemoteControlPlane
from ascend_guard.engine.keys import KeyInfo, key_of, keys, make_key, signing_secret_of
from ascend_guard.errors import AscendError, AuthenticationError

SUBMIT = "/api/v1/actions/submit"
ACTION: dict[str, Any] = {"agent_id": "a", "agent_name": "É", "action_type": "orders_read", "resource": "r"}


class World:
    """A server and a key of each kind."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self.plain = server.key("a")
        self.key, self.secret = self.signed("a")
        self.session = requests.Session()

    def signed(self, agent: str | None, role: str = "agent") -> tuple[str, str]:
        """A new key with a signing secret, and the secret."""
        key, info = self.server.store.write(
            lambda tx: make_key(tx, "local", agent_id=agent, role=role, by="test", signed=True)
        )
        secret = signing_secret_of(self.server.store.secret, info)
        assert secret is not None
        return key, secret

    def send(
        self, method: str, path: str, body: bytes | None, key: str, **headers: str | None
    ) -> requests.Response:
        """One request of these bytes."""
        sent = {"X-API-Key": key} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.request(method, self.server.url + path, data=body, headers=sent, timeout=30)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all."""
    with serving(tmp_path_factory.mktemp("signing") / "a.db") as server:
        yield World(server)


def now(shift: float = 0.0, zone: timezone = UTC) -> str:
    """A timestamp as the published SDK writes it."""
    return (datetime.now(zone) + timedelta(seconds=shift)).isoformat()


def signature(secret: str, timestamp: str, text: bytes) -> str:
    """As the published SDK makes it."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + text, hashlib.sha256).hexdigest()


def refused(answer: requests.Response) -> None:
    """It was not signed as it should be, and is told how."""
    assert (answer.status_code, answer.json()["error_code"]) == (401, "INVALID_SIGNATURE"), answer.text
    assert "--signing-secret" in answer.json()["detail"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_what_is_signed_is_done_and_nothing_else(world: World) -> None:
    """Any body, signed as published or as it was sent, is decided; with anything else changed it is refused."""
    seen: Counter[str] = Counter()

    @settings(deadline=None)
    @given(
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), values, max_size=4),
        st.sampled_from(["published", "as sent"]),
        st.sampled_from([None, "body", "timestamp", "secret", "signature", "no signature", "no timestamp"]),
        st.booleans(),
    )
    def check(details: dict[str, Any], how: str, wrong: str | None, compact: bool) -> None:
        asked = ACTION | {"action_details": details}
        body = json.dumps(
            asked, ensure_ascii=not compact, separators=(",", ":") if compact else None
        ).encode()
        text = json.dumps(asked, sort_keys=True).encode() if how == "published" else body
        at = now()
        signed: str | None = signature(world.secret if wrong != "secret" else "x" * 40, at, text)
        if wrong == "body":
            body = json.dumps(asked | {"resource": "another"}).encode()
        elif wrong == "signature":
            signed = f"{signed[:-1]}{'0' if signed[-1] != '0' else '1'}"  # type: ignore[index]
        sent_at = {"timestamp": now(1), "no timestamp": None}.get(wrong or "", at)
        answer = world.send(
            "POST",
            SUBMIT,
            body,
            world.key,
            X_Request_Timestamp=sent_at,
            X_Signature=None if wrong == "no signature" else signed,
        )
        if wrong is None:
            assert answer.status_code == 200, answer.text
        else:
            refused(answer)
        seen[how if wrong is None else wrong] += 1

    check()
    assert len(seen) == 8, seen


@pytest.mark.parametrize("signed", [None, "", "v1=", "v1=" + "0" * 64, "é", "v2=" + "0" * 64])
def test_a_key_without_a_secret_needs_none(world: World, signed: str | None) -> None:
    """The header of a key without a signing secret is ignored, whatever it is."""
    body = json.dumps(ACTION).encode()
    headers = {} if signed is None else {"X_Signature": signed.encode().decode("latin-1")}
    assert world.send("POST", SUBMIT, body, world.plain, **headers).status_code == 200


@pytest.mark.parametrize("shift", [-400.0, -3600.0, 400.0, 86_400.0])
def test_a_recorded_request_does_not_last(world: World, shift: float) -> None:
    """A signature of another time than now is refused, and so is a time that is none."""
    body = json.dumps(ACTION).encode()
    for at in (now(shift), "yesterday", "", "1764500000", "0001-01-01T00:00:00+23:59", "é"):
        headers = {"X_Request_Timestamp": at.encode().decode("latin-1")}
        headers["X_Signature"] = signature(world.secret, at, body)
        refused(world.send("POST", SUBMIT, body, world.key, **headers))


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))]
)
def test_time_zones(world: World, zone: timezone) -> None:
    """A timestamp of any zone is the moment it says."""
    body, at = json.dumps(ACTION).encode(), now(zone=zone)
    signed = signature(world.secret, at, body)
    answer = world.send("POST", SUBMIT, body, world.key, X_Request_Timestamp=at, X_Signature=signed)
    assert answer.status_code == 200


def test_without_a_body(world: World) -> None:
    """What only looks, and what the published clients ask without a body, may go unsigned; a wrong signature may not."""
    admin, secret = world.signed(None, "admin")
    at = now()
    for method, path in (
        ("GET", "/api/sdk/kill-switch/status"),
        ("GET", "/api/v1/actions"),
        ("POST", "/api/registry/agents/a/commands/cmd_1/ack"),
        ("POST", "/api/registry/mcp-servers/files/activate"),
        ("POST", "/api/webhooks/1/test"),
    ):
        for body in (None, b"{}") if method == "POST" else (None,):
            assert world.send(method, path, body, admin).status_code in (200, 403, 404)
            refused(
                world.send(method, path, body, admin, X_Request_Timestamp=at, X_Signature="v1=" + "0" * 64)
            )
            right = signature(secret, at, body or b"")
            answer = world.send(method, path, body, admin, X_Request_Timestamp=at, X_Signature=right)
            assert answer.status_code in (200, 403, 404)
    refused(world.send("GET", "/api/v1/stream", None, admin, X_Request_Timestamp=at, X_Signature="v1=0"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/alerts/1/acknowledge"),
        ("DELETE", "/api/registry/models/m"),
        ("DELETE", "/api/v1/resource-classifications/1"),
        ("POST", "/api/registry/agents/a/suspend"),
    ],
)
def test_what_the_published_clients_never_ask(world: World, method: str, path: str) -> None:
    """What changes something, and no published client asks without a signature, is signed without a body too."""
    admin, secret = world.signed(None, "admin")
    at = now()
    refused(world.send(method, path, None, admin))
    right = signature(secret, at, b"")
    answer = world.send(method, path, None, admin, X_Request_Timestamp=at, X_Signature=right)
    assert answer.status_code in (200, 404)


@pytest.mark.parametrize("how", ["complete", "fail"])
@pytest.mark.parametrize("body", [None, b"{}", b" {} "])
def test_a_report_is_signed_also_when_it_is_empty(world: World, how: str, body: bytes | None) -> None:
    """Whoever has the key alone cannot report an outcome, with an empty body neither."""
    text, at = json.dumps(ACTION).encode(), now()
    signed = signature(world.secret, at, text)
    action = world.send("POST", SUBMIT, text, world.key, X_Request_Timestamp=at, X_Signature=signed).json()
    path = f"/api/agent-action/{action['action_id']}/{how}"
    refused(world.send("POST", path, body, world.key))
    right = signature(world.secret, at, body or b"")
    assert world.send("POST", path, body, world.key, X_Request_Timestamp=at, X_Signature=right).ok


def test_our_own_clients_sign(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client signs with its secret, and so does the guard with that of the environment; without it both are refused."""
    for secret, works in ((world.secret, True), (None, False)):
        client = AscendClient(world.key, world.server.url, agent_id="a", signing_secret=secret)
        if works:
            assert client.evaluate_action("orders_read", "db", tool_name="db").is_approved()
        else:
            with pytest.raises(AuthenticationError):
                client.evaluate_action("orders_read", "db", tool_name="db")
    for secret, works in ((world.secret, True), ("", False)):
        monkeypatch.setenv("ASCEND_SIGNING_SECRET", secret)
        plane = RemoteControlPlane(world.key, world.server.url, agent_id="a")
        try:
            assert ran(plane) is works
        finally:
            plane.close()


def ran(plane: RemoteControlPlane) -> bool:
    """Whether a governed call runs."""
    from ascend_guard import governed

    @governed("orders_read", "db", control_plane=plane)
    def read() -> bool:
        return True

    try:
        return read()
    except AscendError:
        return False


def test_a_large_body(world: World) -> None:
    """A body of two mebibytes is checked like any other, right and wrong."""
    body = json.dumps(ACTION | {"more": ["x" * 100] * 15_000}).encode()
    at = now()
    for text, status in (
        (body, 200),
        (json.dumps(json.loads(body), sort_keys=True).encode(), 200),
        (b"x", 401),
    ):
        signed = signature(world.secret, at, text)
        answer = world.send("POST", SUBMIT, body, world.key, X_Request_Timestamp=at, X_Signature=signed)
        assert answer.status_code == status


def test_where_the_secret_is(world: World) -> None:
    """Nothing in the database is the secret; another key, another server's secret, and no lookup gives the same one."""
    infos = world.server.store.read(lambda reader: [*keys(reader, "local"), key_of(reader, world.key)])
    known = [info for info in infos if isinstance(info, KeyInfo) and info.signing is not None]
    secrets = {signing_secret_of(world.server.store.secret, info) for info in known}
    assert world.secret in secrets
    assert len(secrets) == len({info.key_id for info in known})
    assert all(signing_secret_of(b"\0" * 32, info) not in secrets for info in known)
    folder = Path(str(world.server.store.path)).parent  # type: ignore[attr-defined]
    kept = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert world.key[:10].encode() in kept
    assert world.secret.encode() not in kept
    assert world.secret.removeprefix("ascs_").encode() not in kept
