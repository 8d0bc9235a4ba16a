"""Whatever is sent, the server answers it as documented, or not at all; and goes on answering everybody else."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from organization_of_things import POLICY_OF_THINGS
from recorded import trail_of
from serving import Serving, serving
from world import Clock

from ascend_guard.api.endpoint import Access
from ascend_guard.api.table import ENDPOINTS
from ascend_guard.server.requests.asgi import LARGEST_BODY

SUBMIT = "/api/v1/actions/submit"


class World:
    """A server, who asks, and raw connections to it."""

    def __init__(self, server: Serving, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.key = server.key("a")
        self.admin = server.key(None, "admin")
        self.person = server.token()
        self.session = requests.Session()
        self.address = ("127.0.0.1", int(server.url.rpartition(":")[2]))

    def send(
        self, method: str, path: str, body: bytes | None = None, credential: str = "", **headers: str
    ) -> requests.Response:
        """One request with any body."""
        sent = {"Authorization": f"Bearer {credential or self.key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.request(method, self.server.url + path, data=body, headers=sent, timeout=30)

    def submit(self, **body: Any) -> requests.Response:
        """An action of agent a's."""
        asked = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", "resource": "r", **body}
        return self.send("POST", SUBMIT, json.dumps(asked).encode())

    def raw(self, *lines: bytes, body: bytes = b"", then: bytes = b"") -> bytes:
        """What is answered to these very bytes, until the server closes the connection or a whole answer is there."""
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body + then)
            return answer(connection)

    def alive(self) -> bool:
        """Whether it still answers others."""
        return requests.get(self.server.url + "/ready", timeout=20).ok


def answer(connection: socket.socket) -> bytes:
    """One whole answer of HTTP/1, or what there is when the server closes."""
    got = b""
    while True:
        head, end, rest = got.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if end and length and len(rest) >= int(length[1]):
            return got
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return got
        if not more:
            return got
        got += more


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all requests."""
    clock = Clock()
    with serving(tmp_path_factory.mktemp("requests") / "a.db", POLICY_OF_THINGS, clock=clock) as server:
        yield World(server, clock)


def documented(response: requests.Response) -> dict[str, Any]:
    """The body of a refusal, which is as every error's."""
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"detail", "error_code", "status_code"}
    assert body["status_code"] == response.status_code
    assert re.fullmatch("[A-Z_]+", body["error_code"])
    assert body["detail"]
    return body


# --- bodies ----------------------------------------------------------------------------------------------------------

WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]


def path_of(path: str) -> str:
    """A path in which every parameter is 1."""
    return re.sub(r"{\w+}", "1", path)


def credential_for(endpoint: Any, world: World) -> str:
    """One that an endpoint admits."""
    if endpoint.access in (Access.PERSON, Access.PERSON_ADMIN):
        return world.server.token(role="admin")
    return world.admin


@given(st.sampled_from(WITH_BODY), st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_a_body_that_is_no_json_is_refused(world: World, endpoint: Any, body: bytes) -> None:
    """Bytes that are no JSON object get a documented 4xx from every endpoint that reads a body."""
    try:
        if isinstance(json.loads(body), dict) or not body:
            return
    except ValueError:
        if not body:
            return
    response = world.send(endpoint.method, path_of(endpoint.path), body, credential_for(endpoint, world))
    assert documented(response)["status_code"] in (400, 403, 404, 422)


@given(
    st.sampled_from(WITH_BODY),
    st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"'x'", b'"\\ud800"', b'"\\udfff\\ud800"']),
    st.sampled_from(["agent_id", "reason", "parameters", "arguments", "comments", "whatever"]),
)
def test_values_that_json_does_not_have_are_refused(
    world: World, endpoint: Any, value: bytes, field: str
) -> None:
    """NaN, infinities, quotes of another kind and halves of characters make a body malformed, known field or not."""
    body = b'{"%b": %b}' % (field.encode(), value)
    response = world.send(endpoint.method, path_of(endpoint.path), body, credential_for(endpoint, world))
    assert documented(response)["status_code"] in (400, 422)


deep = st.sampled_from([10, 64, 100, 500, 900, 990, 1_000, 5_000, 100_000, 340_000])


@given(
    deep,
    st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]),
    st.sampled_from(["action_details", "parameters", "context", "risk_indicators", "unknown"]),
    st.booleans(),
)
def test_deep_bodies_are_refused(
    world: World, depth: int, brackets: tuple[bytes, bytes], field: str, digested: bool
) -> None:
    """However deep a body goes, it is decided or refused; arguments of a hundred levels and more are refused."""
    inner = brackets[0] * depth + b"1" + brackets[1] * depth
    body = b'{"agent_id":"a","agent_name":"A","action_type":"orders_read","resource":"r","%b":{"x":%b}%b}' % (
        field.encode(),
        inner,
        b',"digest":"' + b"ab" * 32 + b'"' if digested else b"",
    )
    response = world.send("POST", SUBMIT, body)
    if response.status_code != 200:
        documented(response)
    if depth >= 100 and field != "unknown":  # what is unknown is skipped
        assert response.status_code in (400, 422)


@given(deep, st.sampled_from(["error", "result", "action_id"]), st.sampled_from(["complete", "fail"]))
def test_deep_outcomes_are_recorded_or_refused(world: World, depth: int, field: str, how: str) -> None:
    """An outcome however deep is recorded or refused, and one that was refused can be reported again."""
    action = world.submit().json()["action_id"]
    body = b'{"%b": %b}' % (field.encode(), b"[" * depth + b"]" * depth)
    response = world.send("POST", f"/api/agent-action/{action}/{how}", body)
    if response.status_code != 200:
        documented(response)
        assert world.send("POST", f"/api/agent-action/{action}/{how}").ok


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(max_size=12), plain, max_size=4),
    st.sampled_from(["action_details", "parameters", "context", "risk_indicators"]),
    st.booleans(),
    st.booleans(),
)
def test_any_json_can_be_submitted_and_looked_at(
    world: World, given_: dict[str, Any], field: str, digested: bool, keyed: bool
) -> None:
    """Arguments of any JSON, integers of any size and NUL among them, are decided and read back, or refused: no 5xx."""
    body = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", "resource": "r", field: given_}
    if digested:
        body["digest"] = "ab" * 32
    headers = {"X_Correlation_ID": "c", "X_Request_Timestamp": "t"} if keyed else {}
    response = world.send("POST", SUBMIT, json.dumps(body).encode(), **headers)
    if response.status_code != 200:
        documented(response)
        return
    action = response.json()["action_id"]
    assert world.send("GET", f"/api/v1/actions/{action}").status_code == 200
    assert world.send("GET", f"/api/v1/actions/{action}/status").json()["status"] == "approved"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.data())
def test_any_text_in_any_field_of_an_action(world: World, text: str, data: st.DataObject) -> None:
    """Any text, NUL and control characters among it, in any field of a submission is taken or refused, never a 5xx."""
    field = data.draw(
        st.sampled_from(
            [
                *("agent_name", "action_type", "description", "tool_name", "resource", "resource_id"),
                *("session_id", "orchestration_session_id", "mcp_server_name", "model_id", "agent_id"),
            ]
        )
    )
    response = world.submit(**{field: text})
    if response.status_code != 200:
        documented(response)


@pytest.mark.parametrize("digested", [False, True])
@pytest.mark.parametrize("field", ["resource", "description", "resource_id", "nothing else"])
def test_a_secret_in_any_field_is_not_kept(world: World, field: str, digested: bool) -> None:
    """A credential in the words of an action or of its outcome, or under a secret's name, is in no answer and no record."""
    secret = "ghp_" + "Zz9" * 12
    text = f"push with {secret} to the repository"
    body: dict[str, Any] = {
        "description": "push",
        "context": {"password": text},
        "action_details": {"token": text},
    }
    if field != "nothing else":
        body[field] = text
    if digested:
        body["digest"] = "ab" * 32
    action = world.submit(**body).json()["action_id"]
    outcome = json.dumps({"error": text, "detail": text, "result": {"token": text}}).encode()
    assert world.send("POST", f"/api/agent-action/{action}/fail", outcome).ok
    shown = world.send("GET", f"/api/v1/actions/{action}")
    kept = world.server.store.read(lambda reader: [row.body for row in trail_of(reader, action)])
    assert len(kept) == 3
    for told in (shown.content, *kept):
        assert secret.encode() not in told


@pytest.mark.parametrize("size", [1, 255, 256, 100_000])
def test_a_session_in_the_context_is_bounded(world: World, size: int) -> None:
    """What the context calls its session names one as long as a session's name may be, and is only context otherwise."""
    action = world.submit(context={"session_id": "s" * size}).json()["action_id"]
    shown = world.send("GET", f"/api/v1/actions/{action}").json()
    assert shown["session_id"] == ("s" * size if size <= 255 else None)


@given(st.integers(2**63, 2**200) | st.integers(-(2**200), 0), st.sampled_from(["parent_action_id"]))
def test_numbers_out_of_range_are_refused(world: World, number: int, field: str) -> None:
    """An identifier that no action can have is a 422, not a failure."""
    assert documented(world.submit(**{field: number}))["status_code"] == 422


def test_both_shapes_of_a_submission(world: World) -> None:
    """The documented shape (description and tool_name) and the published SDK's (resource) are the same action."""
    shapes = [
        {"description": "Read orders", "tool_name": "db", "parameters": {"n": 7}},
        {"resource": "Read orders", "tool_name": "db", "action_details": {"n": 7}},
        {"description": "Read orders", "resource": "Read orders", "tool_name": "db", "parameters": {"n": 7}},
    ]
    seen = []
    for shape in shapes:
        body = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", **shape}
        decided = world.send("POST", SUBMIT, json.dumps(body).encode())
        assert decided.status_code == 200, decided.text
        detail = world.send("GET", f"/api/v1/actions/{decided.json()['action_id']}").json()
        seen.append({name: detail[name] for name in ("resource", "tool_name", "action_details", "status")})
    kept = {"resource": "Read orders", "tool_name": "db", "action_details": {"n": 7}, "status": "approved"}
    assert seen == [kept] * 3


@pytest.mark.parametrize("field", ["agent_id", "agent_name", "action_type", "resource"])
def test_a_missing_field_is_named(world: World, field: str) -> None:
    """What is missing is a 400 that says what."""
    body = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", "resource": "r"}
    del body[field]
    refused = documented(world.send("POST", SUBMIT, json.dumps(body).encode()))
    assert (refused["status_code"], refused["error_code"]) == (400, "MISSING_REQUIRED_FIELD")
    assert field in refused["detail"]


@pytest.mark.parametrize("value", [[], "x", 1, True, [["a", 1]]])
@pytest.mark.parametrize("field", ["parameters", "action_details", "context", "risk_indicators"])
def test_objects_are_objects(world: World, field: str, value: Any) -> None:
    """Arguments and contexts that are no JSON objects are a 422 that names the field."""
    refused = documented(world.submit(**{field: value}))
    assert refused["status_code"] == 422
    assert field in refused["detail"]


def test_bodies_that_are_too_large(world: World) -> None:
    """Two mebibytes are read and no more: neither by what is declared nor by what is sent piece by piece."""
    fits = b'{"x":"' + b"a" * (LARGEST_BODY - 8) + b'"}'
    assert documented(world.send("POST", SUBMIT, fits))["error_code"] == "MISSING_REQUIRED_FIELD"
    large = world.send("POST", SUBMIT, fits + b" ")
    assert documented(large)["status_code"] == 413

    def pieces() -> Iterator[bytes]:
        yield b'{"x":"'
        for _ in range(40):
            yield b"a" * 65536

    chunked = requests.post(
        world.server.url + SUBMIT,
        data=pieces(),
        headers={"Authorization": f"Bearer {world.key}"},
        timeout=30,
    )
    assert documented(chunked)["status_code"] == 413
    declared = world.raw(
        b"POST /api/v1/actions/submit HTTP/1.1",
        b"Host: x",
        b"Content-Length: 99999999999",
        b"Authorization: Bearer " + world.key.encode(),
        body=b"{",
    )
    assert declared.startswith(b"HTTP/1.1 413 ")
    assert world.alive()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "GZIP", "zstd"])
def test_compressed_bodies_are_not_read(world: World, encoding: str) -> None:
    """Nothing is unpacked, so a small body never becomes a large one."""
    bomb = gzip.compress(b"\0" * (8 << 20))
    response = world.send("POST", SUBMIT, bomb, Content_Encoding=encoding)
    assert documented(response)["status_code"] == 415


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "", "a/b;;"]
)
def test_a_body_is_json_whatever_it_calls_itself(world: World, kind: str) -> None:
    """The published clients do not all name the type: JSON is read as JSON, and what is none is refused."""
    body = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", "resource": "r"}
    assert world.send("POST", SUBMIT, json.dumps(body).encode(), Content_Type=kind).ok
    form = world.send("POST", SUBMIT, b"agent_id=a&resource=r", Content_Type=kind)
    assert documented(form)["error_code"] == "INVALID_JSON"


# --- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/actions", "/api/v1/stream"])
@pytest.mark.parametrize("header", ["Authorization", "X-API-Key", "Idempotency-Key", "authorization"])
def test_a_header_that_decides_is_sent_once(world: World, header: str, path: str) -> None:
    """Two values where one decides are a 400: no two readers may take a different one."""
    value = "x" if header == "Idempotency-Key" else world.key
    if header.lower() == "authorization":
        value = f"Bearer {value}"
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        f"{header}: {value}",
        f"{header.upper()}: {value}",
        "X-API-Key: " + world.key if header == "Idempotency-Key" else "X-Other: y",
        "Connection: close",
    ]
    got = world.raw(*(line.encode() for line in lines))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error_code"] == "INVALID_HEADER"


@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=200))
def test_a_correlation_identifier_breaks_nothing(world: World, text: str) -> None:
    """Any X-Correlation-ID is given back as it is, or replaced by one that cannot break a header or a log's line."""
    sent = text.replace("\r", "").replace("\n", "").replace("\0", "").strip().encode("latin-1")
    got = world.raw(
        *(b"GET /health HTTP/1.1", b"Host: x", b"Connection: close", b"X-Correlation-ID: " + sent)
    )
    if got.startswith(b"HTTP/1.1 400 Bad"):  # no HTTP at all: control characters
        return
    assert got.startswith(b"HTTP/1.1 200 ")
    back = re.findall(rb"(?i)\r\nx-correlation-id: ([^\r\n]*)", got)
    assert len(back) == 1
    assert back[0] == sent or re.fullmatch(rb"action_\d{8}_[0-9a-f]{16}", back[0])
    assert re.fullmatch(rb"[A-Za-z0-9._:/+=-]{1,128}", back[0])


@pytest.mark.parametrize(
    "injected",
    [b"a\r\nSet-Cookie: x=1", b"a\nSet-Cookie: x=1", b"a\rSet-Cookie: x=1", b"a%0d%0aSet-Cookie:x"],
)
def test_no_header_is_injected(world: World, injected: bytes) -> None:
    """What is sent in a header never becomes a header of the answer."""
    got = world.raw(
        *(b"GET /health HTTP/1.1", b"Host: x", b"Connection: close", b"X-Correlation-ID: " + injected)
    )
    assert b"set-cookie" not in got.lower().partition(b"\r\n\r\n")[0]


@given(
    st.sampled_from(
        ["authorization", "x-api-key", "idempotency-key", "x-request-timestamp", "last-event-id"]
    ),
    st.binary(max_size=300).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127)),
)
def test_any_value_of_any_header(world: World, name: str, value: bytes) -> None:
    """Whatever a header holds, the answer is documented: credentials that are none are 401s."""
    world.clock.ahead += 2.0
    lines = [b"GET /api/v1/actions HTTP/1.1", b"Host: x", b"Connection: close", name.encode() + b": " + value]
    if name not in ("authorization", "x-api-key"):
        lines.append(b"X-API-Key: " + world.key.encode())
    got = world.raw(*lines)
    status = int(got.split(b" ", 2)[1])
    assert status in (200, 401)
    if status == 401:
        assert json.loads(got.partition(b"\r\n\r\n")[2])["error_code"] == "INVALID_API_KEY"


@pytest.mark.parametrize("length", [b"1" * 5000, b"-1", b"1e3", b"0x10", b"+3", b"1,1", b"", b"\xb2"])
def test_odd_lengths(world: World, length: bytes) -> None:
    """A Content-Length that is no number is refused before anybody counts on it."""
    got = world.raw(
        *(b"POST /api/v1/actions/submit HTTP/1.1", b"Host: x", b"Connection: close"),
        *(b"X-API-Key: " + world.key.encode(), b"Content-Length: " + length),
        body=b"{}",
    )
    assert not got or 400 <= int(got.split(b" ", 2)[1]) < 500, got
    assert world.alive()


def test_old_http_is_answered(world: World) -> None:
    """HTTP/1.0 without a Host gets an answer and an end."""
    with socket.create_connection(world.address, timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        got = b""
        while part := connection.recv(65536):
            got += part
    assert b" 200 " in got.split(b"\r\n")[0]
    assert got.endswith(b"}")


# --- paths, methods, queries -----------------------------------------------------------------------------------------


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT"]
BY_PATH: dict[str, set[str]] = {
    path_of(path): set() for endpoint in ENDPOINTS for path in (endpoint.path, *endpoint.aliases)
}
for _endpoint in ENDPOINTS:
    for _path in (_endpoint.path, *_endpoint.aliases):
        _pattern = re.compile(re.sub(r"{\w+}", "[^/]+", _path))
        for _other, _methods in BY_PATH.items():
            if _pattern.fullmatch(_other):
                _methods.add(_endpoint.method)


@pytest.mark.parametrize("path", sorted(BY_PATH))
def test_other_methods_are_refused_and_the_right_ones_named(world: World, path: str) -> None:
    """A method that a path does not have is a 405 in the documented body, and Allow names every one it has."""
    for method in METHODS:
        if method in BY_PATH[path] or (method == "HEAD" and "GET" in BY_PATH[path]):
            continue
        response = world.send(method, path)
        assert response.status_code == 405, method
        allowed = {name.strip() for name in response.headers["allow"].split(",")}
        assert allowed - {"HEAD"} >= BY_PATH[path]
        assert method not in allowed
        if method != "HEAD":
            assert documented(response)["error_code"] == "METHOD_NOT_ALLOWED"


segments = st.sampled_from(
    [
        *("..", ".", "%2e%2e", "%2F", "%00", "%0a", "%0d%0a", "%", "%zz", "%c0%af", ";a=b", "%5c"),
        *(
            "",
            "\\",
            "*",
            "{action_id}",
            "\xc3\xa9",
            "api",
            "v1",
            "actions",
            "submit",
            "1",
            "approve",
            "health",
        ),
    ]
)


@given(st.lists(segments, max_size=7), st.sampled_from(["GET", "POST", "DELETE"]))
def test_any_path_is_answered(world: World, parts: list[str], method: str) -> None:
    """Whatever a path is made of, its answer is documented, and dots, slashes and zeros lead nowhere else."""
    world.clock.ahead += 2.0
    path = "/" + "/".join(parts)
    got = world.raw(
        f"{method} {path} HTTP/1.1".encode("latin-1"),
        *(b"Host: x", b"Connection: close", b"Content-Length: 0", b"X-API-Key: " + world.key.encode()),
    )
    status = int(got.split(b" ", 2)[1])
    assert status < 500
    if status >= 400 and b"application/json" in got:
        assert set(json.loads(got.partition(b"\r\n\r\n")[2])) == {"detail", "error_code", "status_code"}
    elif status < 400:
        assert path in ("/health", "/api/v1/actions", "/api/v1/actions/1"), path


@pytest.mark.parametrize(
    "trick",
    [
        *("/metrics%0A", "/health%0a", "/health/", "//health", "/./health", "/x/../health"),
        *("/x/%2e%2e/health", "/HEALTH", "/health%00", "/health;x", "/health%20", "/health%0D"),
        "/api/v1/actions/1%2fstatus%0a",
    ],
)
def test_a_path_is_one_spelling(world: World, trick: str) -> None:
    """No second spelling of a path reaches an endpoint, so that a proxy's rules for it hold."""
    got = world.raw(
        f"GET {trick} HTTP/1.1".encode(),
        *(b"Host: x", b"Connection: close", b"X-API-Key: " + world.key.encode()),
    )
    assert got.startswith(b"HTTP/1.1 404 "), got
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error_code"] == "NOT_FOUND"


query_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.sampled_from([endpoint for endpoint in ENDPOINTS if endpoint.query is not None]),
    st.lists(
        st.tuples(
            st.sampled_from(["limit", "offset", "cursor", "status", "agent_id", "type", "acknowledged", "x"]),
            st.sampled_from(["", "-1", "1e9", "9" * 30, "9" * 5000, "NaN", "null", "true", "[]", "1.5"])
            | query_text,
        ),
        max_size=60,
    ),
)
def test_any_query_is_answered(world: World, endpoint: Any, query: list[tuple[str, str]]) -> None:
    """Numbers of any size, sixty fields, nonsense: a page or a documented refusal."""
    response = world.session.get(
        world.server.url + re.sub("{.*?}", "1", endpoint.path),
        params=query,
        headers={"X-API-Key": world.admin},
        timeout=30,
    )
    if response.status_code != 200:
        documented(response)


@pytest.mark.parametrize(
    "query", ["&" * 5000, "a=1&" * 5000, "%ff%fe=%80", "limit", "=", "limit=1;offset=2", "?" * 9]
)
def test_odd_queries(world: World, query: str) -> None:
    """Queries that are no queries are refused or ignored."""
    response = world.send("GET", f"/api/v1/actions?{query}")
    if response.status_code != 200:
        documented(response)


@pytest.mark.parametrize("agent", ["True", "False", "null", "None", "1", "0.0", " a ", "a+b&c=d", "é", "☃"])
def test_a_query_names_an_agent_as_it_is(world: World, agent: str) -> None:
    """An agent of any name that is stopped is shown as stopped: no spelling is taken for a truth value or a number."""
    stop = {"reason": "a fire drill", "agent_id": agent}
    path = "/api/billing/kill-switch/local"
    assert world.server.ask("POST", f"{path}/trigger", world.admin, stop).ok
    state = requests.get(
        world.server.url + "/api/sdk/kill-switch/status",
        params={"agent_id": agent},
        headers={"X-API-Key": world.admin},
        timeout=20,
    ).json()
    assert state["blocked"] is True
    assert world.server.ask("POST", f"{path}/release", world.admin, stop).ok


# --- others are not held up ------------------------------------------------------------------------------------------


def test_slow_clients_hold_up_nobody(world: World) -> None:
    """Two hundred connections that never finish a request, at any place of it, leave the others as they were."""
    head = b"POST /api/v1/actions/submit HTTP/1.1\r\nHost: x\r\nX-API-Key: " + world.key.encode() + b"\r\n"
    beginnings = [
        b"",
        b"POST /api/v1/act",
        head,
        head + b"Content-Length: 1000\r\n\r\n{",
        head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]
    connections = [socket.create_connection(world.address, timeout=20) for _ in range(200)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(beginnings[number % len(beginnings)])
        answered: list[int] = []
        askers = [
            threading.Thread(target=lambda: answered.append(world.submit().status_code)) for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(30)
        assert answered == [200] * 4
    finally:
        for connection in connections:
            connection.close()
    assert world.alive()


@given(st.integers(0, 120))
def test_a_client_that_leaves_half_way_leaves_nothing(world: World, sent: int) -> None:
    """A request that was cut off anywhere before its end is no action."""
    body = b'{"agent_id":"a","agent_name":"A","action_type":"orders_read","resource":"cut off"}'
    with socket.create_connection(world.address, timeout=20) as connection:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Length: %d\r\n\r\n"
        whole = head % (SUBMIT.encode(), world.key.encode(), len(body)) + body
        connection.sendall(whole[: min(sent * 3, len(whole) - 1)])
    newest = world.send("GET", "/api/v1/actions?limit=1").json()["actions"]
    assert not newest or newest[0]["resource"] != "cut off"


def test_a_stream_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """While the database is out of reach, whoever asks for the stream is told so as by every other endpoint."""
    with serving(tmp_path / "a.db", POLICY_OF_THINGS) as server:
        person = server.token()
        server.store.close()
        for path in ("/api/v1/stream", "/api/v1/actions", "/ready"):
            refused = server.ask("GET", path, person)
            assert (refused.status_code, refused.json()["error_code"]) == (503, "STORE_UNAVAILABLE")
            assert refused.headers["retry-after"]


@pytest.mark.parametrize(
    "framing",
    [
        [b"Transfer-Encoding: chunked", b"Content-Length: 3"],
        [b"Content-Length: 3", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding : chunked"],
        [b"Content-Length: 2", b"Content-Length: 3"],
        [b" Content-Length: 2"],
    ],
    ids=str,
)
def test_a_request_has_one_end(world: World, framing: list[bytes]) -> None:
    """A request whose end two readers could see in different places is refused, and what follows it is not read."""
    hidden = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(world.address, timeout=20) as connection:
        head = [b"POST /api/v1/actions/submit HTTP/1.1", b"Host: x", b"X-API-Key: " + world.key.encode()]
        connection.sendall(b"\r\n".join([*head, *framing]) + b"\r\n\r\n" + b"0\r\n\r\n" + hidden)
        got = b""
        try:
            while part := connection.recv(65536):
                got += part
        except ConnectionResetError:
            pass
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.count(b"HTTP/1.1") == 1


def test_requests_in_one_connection_are_answered_in_order(world: World) -> None:
    """Twenty requests sent in one go get their own answers, each with its own correlation identifier, in order."""
    with socket.create_connection(world.address, timeout=20) as connection:
        for number in range(20):
            closing = b"Connection: close\r\n" if number == 19 else b""
            path = b"/health" if number % 2 else b"/nowhere"
            connection.sendall(
                b"GET %b HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: n%d\r\n%b\r\n" % (path, number, closing)
            )
        got = b""
        while part := connection.recv(65536):
            got += part
    assert [int(code) for code in re.findall(rb"HTTP/1.1 (\d+)", got)] == [404, 200] * 10
    assert re.findall(rb"x-correlation-id: n(\d+)", got) == [str(n).encode() for n in range(1, 20, 2)]


@pytest.mark.parametrize("path", ["/health", "/api/v1/actions", "/api/v1/actions/999999", "/nowhere"])
def test_head_is_get_without_a_body(world: World, path: str) -> None:
    """HEAD is answered with the status and the type of GET, and nothing else."""
    looked, asked = world.send("HEAD", path), world.send("GET", path)
    assert (looked.status_code, looked.headers["content-type"]) == (
        asked.status_code,
        asked.headers["content-type"],
    )
    assert looked.content == b""


def test_no_answer_is_cached_or_guessed_at(world: World) -> None:
    """Answers of endpoints, refusals too, say that nobody may keep them or take them for another type."""
    for path in ("/health", "/api/v1/actions", "/api/v1/actions/999999"):
        headers = world.send("GET", path).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert "server" not in headers


def test_a_websocket_is_refused(world: World) -> None:
    """There is no WebSocket here, and asking for one gets a refusal."""
    got = world.raw(
        *(b"GET /api/v1/stream HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: websocket"),
        *(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        b"X-API-Key: " + world.key.encode(),
    )
    assert 400 <= int(got.split(b" ", 2)[1]) < 500


def test_a_head_without_end(tmp_path: Path) -> None:
    """A request's line and headers together have a limit; what is over it is refused, and others are served."""
    with serving(tmp_path / "a.db") as server:
        address = server.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=20) as connection:
            answered = b""
            try:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
                for number in range(2_000):
                    connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1_000))
                answered = connection.recv(65536)
            except OSError:
                pass  # reset while sending: refused as well
        assert not answered or b" 400 " in answered.split(b"\r\n")[0]
        assert requests.get(f"{server.url}/health", timeout=20).ok
