"""The transport: whatever a server, a proxy or a header does, a call ends in time, with an answer or one of our errors."""

from __future__ import annotations

import ast
import http.client
import io
import logging
import os
import queue
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from fault_server import (
    PATIENCE,
    Certificates,
    Exchange,
    Fault,
    FaultServer,
    answer,
    certificates,
    chunked,
    close_after_head,
    closing,
    drip,
    echo,
    endless_headers,
    endless_interim,
    events,
    garbage,
    gzipped,
    hang_up,
    head,
    http10,
    huge,
    never_reads,
    raw,
    redirect,
    reset,
    reset_unread,
    silent,
    surplus,
    truncated,
    tunnel,
    whole,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from support import SCHEDULES
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing
from world import eventually

from ascend_guard.client.http import connection
from ascend_guard.client.http.connection import Connection, SecureConnection
from ascend_guard.client.http.reading import Body, Framing, read_head
from ascend_guard.client.http.transport import Answer, Stream, Transport, Unsent
from ascend_guard.errors import (
    AscendError,
    ConfigurationError,
    NetworkError,
    ServerError,
    TimeoutError,
    ValidationError,
)

LIMIT = 100_000
SECRET = "owkai_admin_0123456789"

REFUSED_BY_BOTH = {
    "no status line": b"garbage\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "other protocol": b"HTTP/2 200 OK\r\n\r\n",
    "a long status line": b"HTTP/1.1 200 " + b"x" * 65_536 + b"\r\n\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 65_536 + b"\r\n\r\n",
    "100 headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100 + b"\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    "CR before the end": b"HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n",
    "a name beyond ASCII": b"HTTP/1.1 200 OK\r\n\xe4: b\r\n\r\n",
}
STRICTER = {
    "old protocol": b"HTTP/0.9 200 OK\r\n\r\n",
    "later protocol": b"HTTP/1.10 200 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "leading space": b" HTTP/1.1 200 OK\r\n\r\n",
    "a signed status": b"HTTP/1.1 +200 OK\r\n\r\n",
    "an odd status": b"HTTP/1.1 2_00 OK\r\n\r\n",
    "bare CR in the reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nA: b\n\n",
    "bare LF after a header": b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
    "bare LF at the end": b"HTTP/1.1 200 OK\r\nA: b\r\n\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nA: b\rTransfer-Encoding: chunked\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "a name that is no token": b"HTTP/1.1 200 OK\r\nA(b): c\r\n\r\n",
    "a mailbox's line": b"HTTP/1.1 200 OK\r\nFrom nobody\r\nA: b\r\n\r\n",
}
"""Heads that the email package makes something of, and RFC 9112 allows nobody to send."""

ANSWERED = [
    *(answer(status) for status in (200, 201, 402, 404, 429, 500, 503)),
    *(answer(204, b""), answer(body=b"x" * LIMIT), redirect("http://169.254.169.254/"), closing(), http10()),
    *(chunked(b"abc", b"def"), chunked(b"x" * LIMIT), surplus(), raw(head(100) + whole(), keep=True)),
    raw(head(200, {"X": "multipart/mixed", "Content-Length": "0"}), keep=True),
]
BROKEN = [
    *(
        garbage(),
        garbage(b"\r\n"),
        hang_up(),
        close_after_head(),
        truncated(),
        truncated(40),
        endless_headers(),
    ),
    *(truncated(1, chunks=True), truncated(64, chunks=True), reset(), reset(9), reset(30), reset_unread()),
    raw(b"HTTP/1.1 200 OK\r\nContent-Len", name="cut header"),
    raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", name="cut headers"),
    raw(b"HTTP/1.1 200 OK\r\nno header at all\r\n\r\n", name="no header"),
    raw(b"HTTP/2.0 200 OK\r\n\r\n", name="other version"),
    raw(b"HTTP/1.1 20 OK\r\n\r\n", name="other status"),
    raw(head(103, {"Content-Length": "0"}), name="interim"),
    raw(head(101, {"Upgrade": "websocket"}), name="upgrade"),
    raw(head(200, {"Content-Length": "-1"}), name="negative length"),
    raw(head(200, {"Content-Length": "1_0"}) + b"x" * 10, name="odd length"),
    raw(head(200, {"Content-Length": "2", "content-length": "3"}) + b"xxx", name="two lengths"),
    raw(head(200, {"Content-Length": "2", "Transfer-Encoding": "chunked"}) + b"0\r\n\r\n", name="two ends"),
    raw(head(200, {"Transfer-Encoding": "chunked"}) + b"-1\r\n" + b"x" * 64, name="negative chunk"),
    raw(head(200, {"Transfer-Encoding": "chunked"}) + b"zz\r\n" + b"x" * 64, name="odd chunk"),
    raw(head(200, {"X-Long": "x" * 70_000}), name="long header"),
    raw(head(200, {"Content-Length": "2", "content-length": "2"}) + b"xx", name="a length twice"),
    *(raw(data, name=name) for name, data in {**REFUSED_BY_BOTH, **STRICTER}.items()),
]
REFUSED = [
    *(gzipped(), huge(), huge(declared=False), answer(body=b"x" * (LIMIT + 1)), chunked(b"x" * (LIMIT + 1))),
    *(http10(b"x" * (LIMIT + 1)), raw(head(200, {"Transfer-Encoding": "gzip, chunked"}))),
    raw(head(200, {"Content-Length": "9" * 5000}), name="a length of 5000 digits"),
]
WAITING = [
    *(silent(), silent(10), silent(60), never_reads(), drip("status"), drip("headers"), drip("body")),
    *(drip("chunks"), drip("body", 0.0), drip("headers", 0.001)),
]


def expected(fault: Fault) -> type[Answer] | type[AscendError]:
    for faults, kind in ((ANSWERED, Answer), (BROKEN, NetworkError), (REFUSED, ServerError)):
        if fault in faults:
            return kind
    return TimeoutError


def outcome(call: Callable[[], object]) -> object:
    """What a call came to: no other exception than ours may leave."""
    try:
        return call()
    except AscendError as error:
        return error


@pytest.fixture(scope="module")
def shared() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server
    assert not [thread for thread in threading.enumerate() if thread.name == "fault-server"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy or bundle of the machine's own."""
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "requests_ca_bundle",
        "curl_ca_bundle",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(certified: Certificates) -> Iterator[FaultServer]:
    with FaultServer(certified.good) as server:
        yield server


def trusting(certified: Certificates) -> requests.Session:
    session = requests.Session()
    session.verify = certified.ca
    return session


@given(
    faults=st.lists(st.sampled_from([*ANSWERED, *BROKEN, *REFUSED, *WAITING]), min_size=1, max_size=6),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    size=st.sampled_from([None, 0, 1, 1000, 70_000, 1_000_000]),
    timeout=st.sampled_from([0.03, 0.06]),
)
def test_every_call_of_a_schedule_ends_as_its_own_fault_says(
    shared: FaultServer, faults: list[Fault], method: str, size: int | None, timeout: float
) -> None:
    """In time, with an answer or one of our errors, untouched by what happened to the calls before it."""
    transport = Transport(shared.url, limit=LIMIT)
    body = None if size is None else os.urandom(size)
    for fault in faults:
        shared.plan(fault)
        seconds = timeout if fault in WAITING else PATIENCE
        result = outcome(partial(transport.send, method, "/x", body=body, timeout=seconds))
        assert type(result) is expected(fault), fault
        if isinstance(result, AscendError):
            assert shared.url.removeprefix("http://") in result.message
        else:
            assert isinstance(result, Answer)
            assert result.status != 418
        if not fault.early and not (fault in WAITING and size):
            # On a busy machine the short time of the calls that wait may be over before they are connected.
            unsent = isinstance(result, TimeoutError) and result.message.endswith("Nothing was sent.")
            if unsent:
                shared.wait_closed()
            else:
                shared.wait_received(1)
            received = [(seen.method, seen.body) for seen in shared.received]
            assert received == ([] if unsent else [(method, body or b"")])
        if not isinstance(result, Answer) or fault.name in ("closing", "http10", "surplus"):
            shared.plan()
            shared.wait_closed()
    transport.close()
    shared.wait_closed()


@pytest.mark.parametrize("fault", WAITING, ids=repr)
def test_no_drip_holds_a_call_past_its_deadline_over_tls(
    certified: Certificates, secure: FaultServer, fault: Fault
) -> None:
    """The same deadline over TLS, and for a body too big to be sent at once."""
    transport = Transport(secure.url, session=trusting(certified))
    secure.plan(fault)
    result = outcome(lambda: transport.send("POST", "/", body=bytes(8 << 20), timeout=0.2))
    assert type(result) is TimeoutError
    transport.close()


def test_a_server_that_never_shakes_hands_cannot_hold_a_call(server: FaultServer) -> None:
    """The TLS handshake is within the deadline."""
    transport = Transport(server.url.replace("http", "https"))
    server.plan(never_reads())
    assert type(outcome(lambda: transport.send("GET", "/", timeout=0.1))) is TimeoutError


def test_a_resolver_that_hangs_cannot_hold_a_call(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking up the host is within the deadline. An answer that comes later leads to no connection."""
    free, look = threading.Event(), socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> list[Any]:
        free.wait(PATIENCE)
        return look(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert type(outcome(lambda: Transport(server.url).send("GET", "/", timeout=0.05))) is TimeoutError
    connecting = [thread for thread in threading.enumerate() if thread.name == "ascend-guard-connect"]
    assert connecting
    free.set()
    for thread in connecting:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert server.connections == 0


def test_an_interrupted_call_leaves_no_connection(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a call connects ends it at once; the connection that is made afterwards is closed again."""
    free, look, main = threading.Event(), socket.getaddrinfo, threading.get_ident()

    def slow(*args: Any, **options: Any) -> list[Any]:
        monkeypatch.setattr(socket, "getaddrinfo", look)
        signal.pthread_kill(main, signal.SIGINT)
        free.wait(PATIENCE)
        return look(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Transport(server.url).send("GET", "/", timeout=PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    connecting = [thread for thread in threading.enumerate() if thread.name == "ascend-guard-connect"]
    assert connecting
    free.set()
    for thread in connecting:
        thread.join(PATIENCE)
    eventually(lambda: server.connections == 1)  # it was closed perhaps before the server accepted it
    server.wait_closed()
    assert server.received == []


def test_interim_answers_without_end_are_bounded(server: FaultServer) -> None:
    """By the deadline or by their number, whichever comes first."""
    server.plan(endless_interim())
    result = outcome(lambda: Transport(server.url).send("GET", "/", timeout=1))
    assert type(result) in (TimeoutError, ServerError)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_left_sends_nothing(server: FaultServer, seconds: float) -> None:
    """A budget that is used up is a time-out, also on a connection that is open already."""
    transport = Transport(server.url)
    transport.send("GET", "/")
    server.plan()
    assert type(outcome(lambda: transport.send("GET", "/", timeout=seconds))) is TimeoutError
    assert server.received == []


@pytest.mark.parametrize("seconds", [1e9, 1e300, float("inf")])
def test_enormous_timeouts_are_days(server: FaultServer, seconds: float) -> None:
    """No overflow in what the operating system counts."""
    assert Transport(server.url).send("GET", "/", timeout=seconds).status == 200


def read_before(data: bytes) -> tuple[http.client.HTTPResponse, dict[str, str]] | None:
    """What http.client, and urllib3's look at its work, make of an answer; None where they refuse it."""

    class Given:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    response = http.client.HTTPResponse(Given())  # type: ignore[arg-type]
    try:
        response.begin()
        assert_header_parsing(response.msg)
    except (http.client.HTTPException, HeaderParsingError, ConnectionError):
        return None
    message = response.msg
    return response, {name.lower(): ", ".join(message.get_all(name, ())) for name in message}


def read_now(data: bytes) -> tuple[int, int, dict[str, str], bytes] | None:
    """What our reader makes of a head, and what it leaves; None where it refuses it."""
    lines = io.BytesIO(data)
    try:
        return *read_head(lines), lines.read()
    except http.client.HTTPException:
        return None


NAMES = st.one_of(
    st.sampled_from(["Content-Type", "content-length", "X", "x", "From", "Set-Cookie"]),
    st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True),
)
VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20)
REASONS = VALUES.map(lambda text: f" {text}").filter(
    lambda text: re.search(r"\S", text) or not re.search(r"[\x1c-\x1f]", text)
)
"""http.client takes a reason of nothing but these for a part of the status; ours goes by the first space."""


@settings(max_examples=3 * SCHEDULES)
@given(
    minor=st.integers(0, 9),
    status=st.integers(101, 999),
    reason=st.one_of(st.just(""), REASONS),
    fields=st.lists(st.tuples(NAMES, st.sampled_from(["", " ", "\t ", "  "]), VALUES), max_size=99),
    body=st.binary(max_size=20),
)
def test_a_right_head_is_read_as_http_client_reads_it(
    minor: int, status: int, reason: str, fields: list[tuple[str, str, str]], body: bytes
) -> None:
    """Every head that RFC 9112 allows is accepted, with the same meaning, and not a byte of the body is taken."""
    lines = [f"HTTP/1.{minor} {status}{reason}", *(f"{name}:{gap}{value}" for name, gap, value in fields)]
    data = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
    before = read_before(data)
    assert before is not None
    assert before[0].version == (11 if minor else 10)
    assert read_now(data + body) == (minor, before[0].status, before[1], body)


BITS = [
    *(
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 500 ",
        b"HTTP/1.1",
        b"A: b",
        b"a:c",
        b"Content-Length: 5",
        b"X",
        b"From x",
    ),
    *(b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\xe4", b"\x0b", b"\x85", b"("),
]


@settings(max_examples=10 * SCHEDULES)
@given(
    st.lists(st.sampled_from(BITS), max_size=12).map(b"".join),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n"]),
)
def test_no_head_is_read_that_http_client_refuses_or_reads_otherwise(rest: bytes, start: bytes) -> None:
    """Whatever comes: what we accept was accepted before, and means the same."""
    data = start + rest + b"\r\n\r\n"
    now = read_now(data)
    if now is not None:
        minor, status, fields, left = now
        before = read_before(data[: len(data) - len(left)])
        assert before is not None
        assert (before[0].status, before[0].version, before[1]) == (status, 11 if minor else 10, fields)


@pytest.mark.parametrize("data", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH)
def test_broken_heads_are_refused_as_before(data: bytes) -> None:
    """By http.client or urllib3's look at its work, and by us."""
    assert (read_before(data), read_now(data)) == (None, None)


@pytest.mark.parametrize("data", STRICTER.values(), ids=STRICTER)
def test_where_we_are_stricter_than_http_client(data: bytes) -> None:
    """On purpose: a head that two readers may read in two ways is no answer."""
    assert read_before(data) is not None
    assert read_now(data) is None


def test_a_head_is_as_large_as_http_client_allows() -> None:
    """99 headers, and 64 KiB to a line with its end, are read; one more is not."""
    for count, size in ((99, 65_536), (100, 10), (1, 65_537)):
        data = b"HTTP/1.1 200 OK\r\n" + (b"A: ".ljust(size - 2, b"x") + b"\r\n") * count + b"\r\n"
        assert (read_now(data) is None) == (read_before(data) is None) == ((count, size) != (99, 65_536))


@pytest.mark.parametrize("end", [b"x", b"\0\r\n", b"\rx\r\n"])
@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nA:", b"HTTP/1.1 200 OK\r\n"])
def test_no_line_is_slow_to_refuse(start: bytes, end: bytes) -> None:
    """The longest lines cost no more than their length: with a pattern that tries twice this would run for minutes."""
    for filling in (b" ", b"\t", b" \t", b"A", b":", b"\xe4") * 20:
        assert read_now(start + (filling * 65_000)[:65_000] + end) is None


def body_of(data: bytes, sizes: list[int] | None = None) -> tuple[bytes, bytes] | None:
    """A chunked body as our reader reads it, in pieces of these sizes, and what it leaves; None where it refuses it."""
    lines = cast("io.BufferedReader", io.BufferedReader(io.BytesIO(data)))
    body = Body(lines, Framing(None, chunked=True, closing=False), LIMIT)
    try:
        parts = [body.read1(size) for size in sizes or ()]
        return b"".join([*parts, body.read()]), lines.read()
    except http.client.HTTPException:
        return None


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    extension=st.sampled_from([b"", b";a=b", b" ", b"\t;a"]),
    trailers=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]),
    rest=st.binary(max_size=20),
    sizes=st.lists(st.integers(1, 400), max_size=4),
)
def test_a_chunked_body_is_read_whole_and_no_further(
    pieces: list[bytes], extension: bytes, trailers: bytes, rest: bytes, sizes: list[int]
) -> None:
    """In whatever pieces it is asked for; what comes after it is left."""
    chunks = [b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces]
    data = b"".join([*chunks, b"0\r\n", trailers, b"\r\n"])
    assert body_of(data + rest, sizes) == (b"".join(pieces), rest)
    for end in range(len(data) - len(trailers) - 2):
        assert body_of(data[:end]) is None


CHUNK_BITS = [
    *(
        b"2\r\nab\r\n",
        b"0\r\n\r\n",
        b"2",
        b"ab",
        b"0x2",
        b"-1",
        b"+2",
        b"1_0",
        b"g",
        b";",
        b";x",
        b" ",
        b"\t",
        b"\x0b",
    ),
    *(b"\r\n", b"\r\n", b"\n", b"\r", b"0", b"00", b"A:b"),
]


@settings(max_examples=5 * SCHEDULES)
@given(st.lists(st.sampled_from(CHUNK_BITS), max_size=8).map(b"".join))
def test_no_chunks_are_read_that_http_client_refuses_or_reads_otherwise(data: bytes) -> None:
    """Whatever comes: what we accept is what http.client reads."""
    now = body_of(data)
    if now is not None:
        before = read_before(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
        assert before is not None
        assert before[0].read() == now[0]


@pytest.mark.parametrize(
    "data", [b"0x2\r\nab", b"+2\r\nab", b"2\nab", b"2\r\nabX\r", b"2\r\nab\n", b" 2\r\nab", b"0_2\r\nab"]
)
def test_where_chunks_are_read_more_strictly_than_by_http_client(data: bytes) -> None:
    """A length is hexadecimal digits, and each line ends with CRLF."""
    assert body_of(data + b"\r\n0\r\n\r\n") is None


FRAMING = [
    *(
        b"Content-Length: 2",
        b"Content-Length: 3",
        b"content-length:2",
        b"Content-Length: 2 ",
        b"Content-Length:",
    ),
    *(b"Content-Length: +2", b"Content-Length: 0x2", b"Content-Length: 2, 2", b"Content-Length: \xb2"),
    *(b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: identity"),
    *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked ", b"Transfer-Encoding: xchunked"),
    *(b"Content-Encoding: identity", b"Content-Encoding: gzip", b"Content-Encoding:"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade, Close"),
]


def framed_before(data: bytes, limit: int) -> bytes | None:
    """The body, by http.client's reading and the rules that were checked after it; None where that refused."""
    before = read_before(data)
    if before is None:
        return None
    response, fields = before
    lengths = set(response.msg.get_all("content-length", ())) or {"0"}
    refused = (
        fields.get("content-encoding", "").lower() not in ("", "identity")
        or fields.get("transfer-encoding", "").lower() not in ("", "chunked")
        or ("transfer-encoding" in fields and "content-length" in fields)
        or response.status < 200
        or len(lengths) > 1
        or not all(re.fullmatch("[0-9]+", length) for length in lengths)
    )
    try:
        body = None if refused else response.read()
    except http.client.HTTPException:
        return None
    return body if body is not None and len(body) <= limit else None


@given(
    start=st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.0 404 ", b"HTTP/1.1 204 None", b"HTTP/1.1 304", b"HTTP/1.1 199 X"]
    ),
    lines=st.lists(st.sampled_from(FRAMING), max_size=3),
    body=st.sampled_from([b"", b"ab", b"abc", b"2\r\nab\r\n0\r\n\r\n", b"2\r\nab", b"0\r\n\r\nab"]),
)
def test_an_answers_end_is_where_http_client_sees_it(
    shared: FaultServer, start: bytes, lines: list[bytes], body: bytes
) -> None:
    """The same body, or a refusal; we refuse more only where a header that says where it ends comes twice."""
    data = b"\r\n".join([start, *lines, b"", body])
    before = framed_before(data, LIMIT)
    transport = Transport(shared.url, limit=LIMIT)
    shared.plan(raw(data))
    result = outcome(lambda: transport.send("GET", "/", timeout=PATIENCE))
    names = [line.partition(b":")[0].lower() for line in lines]
    twice = {name for name in names if names.count(name) > 1 and name != b"connection"}
    if isinstance(result, Answer):
        assert result.body == before
        assert not twice - {b"content-encoding"}
    else:
        assert isinstance(result, (NetworkError, ServerError))
        assert before is None or twice
    transport.close()


def test_no_private_part_of_a_library_is_used() -> None:
    """urllib3 and http.client may change what begins with an underscore: nothing of it is overridden, set or read."""
    given = {name for kind in HTTPSConnection.__mro__ for name in vars(kind)} | set(
        vars(HTTPSConnection("a"))
    )
    own = {name for kind in (Connection, SecureConnection) for name in vars(kind)}
    own |= set(vars(SecureConnection("a"))) - set(vars(HTTPSConnection("a")))
    assert {"connect", "request", "getresponse"} <= given & own
    assert {name for name in given & own if re.match("_(?!_)", name)} == set()
    trees = {path: ast.parse(path.read_text()) for path in Path(connection.__file__).parent.glob("*.py")}
    read = [
        (path.name, ast.unparse(node))
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr)
    ]
    assert read
    assert [found for found in read if not found[1].startswith(("self._", "cls._"))] == []
    named = {text.split(".")[1] for name, text in read if name == "connection.py"}
    assert named & given == set()


def test_two_calls_share_a_connection(server: FaultServer) -> None:
    """What was answered whole is kept alive, whatever the status."""
    transport = Transport(server.url)
    server.plan(answer(500), chunked(b"a"), answer(404), answer(204, b""))
    for _ in range(5):
        transport.send("POST", "/", body=b"{}")
    assert len({seen.connection for seen in server.received}) == 1


@pytest.mark.parametrize(
    ("start", "connection", "kept"),
    [
        *(
            (b"1.1", b"", True),
            (b"1.1", b"Connection: X\r\n", True),
            (b"1.1", b"Connection: Close\r\n", False),
        ),
        *((b"1.0", b"", False), (b"1.0", b"Connection: Keep-Alive\r\n", True)),
        (b"1.1", b"Connection: keep-alive\r\nConnection: close\r\n", False),
    ],
)
def test_a_connection_is_kept_as_the_answer_says(
    server: FaultServer, start: bytes, connection: bytes, kept: bool
) -> None:
    """HTTP/1.1 keeps it unless told otherwise, HTTP/1.0 only when told; to close it wins."""
    transport = Transport(server.url)
    server.plan(raw(b"HTTP/%b 200 OK\r\n%bContent-Length: 0\r\n\r\n" % (start, connection), keep=True))
    transport.send("GET", "/")
    transport.send("GET", "/")
    first, second = (seen.connection for seen in server.received)
    assert (first == second) == kept


@pytest.mark.parametrize("fault", [*BROKEN, *REFUSED, surplus(), silent(60)], ids=repr)
def test_nothing_is_reused_after_a_fault(server: FaultServer, fault: Fault) -> None:
    """The next call has a connection of its own."""
    transport = Transport(server.url, limit=LIMIT)
    transport.send("GET", "/")
    before = server.connections
    server.plan(fault)
    outcome(lambda: transport.send("GET", "/", timeout=0.1 if fault.name.startswith("silent") else PATIENCE))
    server.plan(answer(201))
    assert transport.send("GET", "/").status == 201
    assert (before, server.received[-1].connection) == (before, before + 1)


def test_a_connection_closed_meanwhile_is_no_failure(server: FaultServer) -> None:
    """A kept connection that the server has closed is replaced before anything is sent on it."""
    transport = Transport(server.url)
    for _ in range(10):
        server.plan(closing())
        transport.send("POST", "/", body=b"{}")
        server.wait_closed()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_answers(server: FaultServer, status: int) -> None:
    """Nobody else gets the request, and its keys."""
    with FaultServer() as elsewhere:
        server.plan(redirect(elsewhere.url, status))
        result = Transport(server.url, headers={"X-API-Key": SECRET}).send("POST", "/", body=b"{}")
        assert (result.status, result.headers["location"]) == (status, elsewhere.url)
        assert (elsewhere.received, elsewhere.connections) == ([], 0)


def test_no_cookie_is_kept(server: FaultServer) -> None:
    """What one answer sets is not sent with the next request."""
    transport = Transport(server.url)
    server.plan(answer(headers={"Set-Cookie": "a=b"}))
    assert transport.send("GET", "/").headers["set-cookie"] == "a=b"
    transport.send("GET", "/")
    assert "cookie" not in server.received[1].headers


def test_what_certainly_was_not_sent_says_so(server: FaultServer) -> None:
    """Refused and unknown hosts are Unsent; what broke later is not."""
    for url in (server.refusing, "https://host.invalid"):
        result = outcome(partial(Transport(url).send, "POST", "/"))
        assert isinstance(result, Unsent)
        assert "ASCEND_API_URL" in result.message
    server.plan(hang_up())
    assert type(outcome(lambda: Transport(server.url).send("POST", "/"))) is NetworkError


def test_localhost_is_found_at_any_of_its_addresses(server: FaultServer) -> None:
    """One address that refuses is not the end."""
    assert Transport(f"http://localhost:{server.port}").send("GET", "/").status == 200


def test_threads_share_a_transport(server: FaultServer) -> None:
    """Every thread gets the answer to its own request."""
    transport = Transport(server.url, pool=4)
    server.plan(*[echo()] * 320)
    wrong: list[object] = []

    def work(name: int) -> None:
        for number in range(20):
            body = b"%d.%d" % (name, number)
            result = outcome(partial(transport.send, "POST", "/", body=body))
            if not isinstance(result, Answer) or result.body != body:
                wrong.append(result)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    transport.close()
    server.wait_closed()


def test_a_forked_child_has_connections_of_its_own(server: FaultServer) -> None:
    """Parent and child go on, each on its own connection."""
    transport = Transport(server.url)
    transport.send("GET", "/parent")
    child = os.fork()
    if child == 0:
        fine = transport.send("GET", "/child").status == 200 and transport.send("GET", "/child").status == 200
        transport.close()
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    transport.send("GET", "/parent")
    connections = {
        path: {seen.connection for seen in server.received if seen.path == path}
        for path in ("/parent", "/child")
    }
    assert {path: len(found) for path, found in connections.items()} == {"/parent": 1, "/child": 1}
    assert connections["/parent"] != connections["/child"]


def test_after_close_nothing_is_sent(server: FaultServer) -> None:
    """Closing twice is no error; using it afterwards is."""
    transport = Transport(server.url)
    transport.send("GET", "/")
    transport.close()
    transport.close()
    server.wait_closed()
    for call in (partial(transport.send, "GET"), partial(transport.open, silence=1)):
        assert type(outcome(partial(call, "/"))) is ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "ascend.example.com",
            "ftp://a.example",
            "http://a.example",
            "http://127.0.0.1.a.example",
            "//a.example",
        ),
        *(
            "http://0.0.0.0",
            "http://localhost.a.example",
            "http://[::2]",
            "https://u:hunter2@a.example",
            "https://",
        ),
        *(
            "https://a.example?x=1",
            "https://a.example/?",
            "https://a.example#x",
            "https://a.example:x",
            "file:///x",
        ),
        *(
            "https://a.example:99999",
            "https://a b.example",
            "https://a.example/../x",
            "https://a.example\r\nX: y",
        ),
        *(
            "https://[::1",
            "https://a.example:",
            "https://a.example\\@b.example",
            "http://2130706433",
            "https:a",
        ),
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    """With the remedy, and without the password that was in it."""
    with pytest.raises(ConfigurationError, match="ASCEND_API_URL") as caught:
        Transport(url)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        *("https://a.example", "https://a.example:8443/", "https://a.example/x/y//", "HTTPS://A.example"),
        *("http://127.0.0.1", "http://127.9.9.9:80/", "http://[::1]:8000", "https://[2001:db8::1]"),
    ],
)
def test_base_urls_that_are_taken(url: str) -> None:
    """Any https, http on this machine, slashes at the end and paths in front."""
    Transport(url).close()


def test_a_path_in_front_is_kept(server: FaultServer) -> None:
    """Before every call's path, with its query."""
    Transport(f"{server.url}/tenant/a//").send("GET", "/actions?limit=5&q=a%20b")
    assert [seen.path for seen in server.received] == ["/tenant/a/actions?limit=5&q=a%20b"]


@given(path=st.text(st.sampled_from("/.?#@:\\%2eE \r\n\t\x00é[]a"), max_size=12))
@example("//evil.example/")
@example("/a/%2E%2e/b")
@example("/..")
@example("http://evil.example/")
def test_a_path_never_leads_elsewhere(shared: FaultServer, path: str) -> None:
    """It arrives here, below the prefix, or is refused."""
    shared.plan()
    result = outcome(lambda: Transport(f"{shared.url}/p").send("GET", path))
    if isinstance(result, ValidationError):
        assert shared.received == []
    else:
        seen = shared.received[0].path.lower().replace("%2e", ".")
        assert seen.startswith("/p/")
        assert not {".", ".."} & set(seen.partition("?")[0].split("/"))


@given(value=st.text(max_size=20))
@example("a\r\nX-Admin: 1")
@example("a\nb")
@example("\x1b[2J")
@example("\x85")
@example("ÿ")
def test_a_header_arrives_as_it_is_or_is_refused(shared: FaultServer, value: str) -> None:
    """Text from anybody cannot make another header; the refusal does not repeat it."""
    shared.plan()
    result = outcome(lambda: Transport(shared.url).send("GET", "/", headers={"X-Correlation-ID": value}))
    if isinstance(result, ValidationError):
        assert not value.isascii() or not value.isprintable()
        assert shared.received == []
    else:
        assert shared.received[0].headers["x-correlation-id"] == value.strip(" ").strip("\xa0")
        assert "x-admin" not in shared.received[0].headers


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\r\n", "é", "Host", "content-length", "Transfer-Encoding"]
)
def test_header_names_that_are_refused(server: FaultServer, name: str) -> None:
    """Names that are none, and those that frame the request."""
    with pytest.raises(ValidationError):
        Transport(server.url, headers={name: "1"})
    assert (
        type(outcome(lambda: Transport(server.url).send("GET", "/", headers={name: "1"}))) is ValidationError
    )


@pytest.mark.parametrize("method", ["", "GET /x", "GE\r\nT", "é"])
def test_methods_that_are_refused(server: FaultServer, method: str) -> None:
    """A method is a word."""
    assert type(outcome(lambda: Transport(server.url).send(method, "/"))) is ValidationError


def test_what_the_session_says_is_done(server: FaultServer) -> None:
    """Its headers and its auth are sent; ours win over its headers, and no encoding is asked for."""
    session = requests.Session()
    session.headers.update({"X-Tenant": "a", "X-API-Key": "old", "Connection": "close"})
    session.auth = ("user", "word")
    transport = Transport(
        server.url, session=session, headers={"X-API-Key": SECRET, "Authorization": "Bearer b"}
    )
    transport.send("GET", "/", headers={"x-tenant": "b"})
    seen = server.received[0].headers
    assert (seen["x-api-key"], seen["x-tenant"], seen["authorization"]) == (SECRET, "b", "Basic dXNlcjp3b3Jk")
    assert seen["accept-encoding"] == "identity"
    assert "connection" not in seen
    session.auth = lambda prepared: prepared.headers.update({"X-Own": "1"}) or prepared
    Transport(server.url, session=session).send("GET", "/")
    assert server.received[1].headers["x-own"] == "1"


def no_token(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    raise KeyError("token")


def test_a_session_that_cannot_be_used_says_why(server: FaultServer, tmp_path: Path) -> None:
    """Whatever its own code raises, and files that are not there."""
    broken, nowhere = requests.Session(), requests.Session()
    broken.auth = no_token
    nowhere.verify = str(tmp_path / "none.pem")
    with pytest.raises(ConfigurationError):
        Transport("https://a.example", session=nowhere)
    with pytest.raises(ConfigurationError, match=r"auth failed \(KeyError\)"):
        Transport(server.url, session=broken).send("GET", "/")
    assert server.received == []


def test_a_sessions_auth_is_asked_for_each_request(server: FaultServer) -> None:
    """A token that is renewed is sent, on every kind of request; it sees what it may have to sign."""
    session = requests.Session()
    seen: list[tuple[str | None, str | None, object, str | None]] = []

    def auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        seen.append((prepared.method, prepared.url, prepared.body, prepared.headers.get("X-B")))
        prepared.headers["X-Token"] = f"token-{len(seen)}"
        return prepared

    session.auth = auth
    transport = Transport(server.url, session=session)
    assert seen == []
    transport.send("GET", "/a", headers={"X-B": "b"})
    transport.send("POST", "/b?c=d", body=b"{}")
    session.auth = ("user", "word")  # another one from now on
    transport.send("GET", "/c")
    assert seen == [("GET", f"{server.url}/a", None, "b"), ("POST", f"{server.url}/b?c=d", b"{}", None)]
    sent = [(one.headers.get("x-token"), one.headers.get("authorization")) for one in server.received]
    assert sent == [("token-1", None), ("token-2", None), (None, "Basic dXNlcjp3b3Jk")]
    assert [one.headers.get("content-length") for one in server.received] == [None, "2", None]


@pytest.mark.parametrize("what", ["url", "body", "method"])
def test_an_auth_that_sends_another_request_is_refused(server: FaultServer, what: str) -> None:
    """It may set headers, and nothing else: what was meant is what is sent."""
    session = requests.Session()

    def auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        setattr(prepared, what, {"url": f"{server.url}/x", "body": b"[]", "method": "PUT"}[what])
        return prepared

    session.auth = auth
    with pytest.raises(ConfigurationError, match="headers only"):
        Transport(server.url, session=session).send("POST", "/", body=b"{}")
    assert server.received == []


@pytest.mark.parametrize("header", [("X-A", "a\r\nb"), ("X\n", "1")])
def test_a_header_of_an_auth_is_checked(server: FaultServer, header: tuple[str, str]) -> None:
    """As any other."""
    session = requests.Session()
    session.auth = lambda prepared: prepared.headers.update([header]) or prepared
    with pytest.raises(ValidationError):
        Transport(server.url, session=session).send("GET", "/")
    assert server.received == []


@pytest.mark.parametrize("body", [None, b"", b"{}", b"x" * 600])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_a_request_says_where_it_goes_and_how_long_it_is(
    server: FaultServer, method: str, body: bytes | None
) -> None:
    """One Host, and one length, unless there is no body and nobody expects one."""
    transport = Transport(f"http://localhost:{server.port}", headers={"X-A": "\xe4", "User-Agent": "me"})
    transport.send(method, "/a?b=%20", body=body, headers={"X-B": ""})
    seen = server.received[0]
    length = None if body is None and method in ("GET", "DELETE") else str(len(body or b""))
    assert (seen.method, seen.path, seen.body) == (method, "/a?b=%20", body or b"")
    assert seen.headers.get("content-length") == length
    assert {**seen.headers, "content-length": "-"} == {
        "host": f"localhost:{server.port}",
        "accept-encoding": "identity",
        "content-length": "-",
        "user-agent": "me",
        "x-a": "\xe4",
        "x-b": "",
    }


def test_a_proxys_headers_cannot_break_the_head(server: FaultServer) -> None:
    """What the session's adapter adds is looked at too; nothing is sent."""

    class Odd(HTTPAdapter):
        def proxy_headers(self, proxy: str) -> dict[str, str]:
            return {"Proxy-Authorization": "a\r\nX-Other: b"}

    session = requests.Session()
    session.mount("http://", Odd())
    session.proxies = {"http": server.url}
    assert isinstance(
        outcome(lambda: Transport("http://127.0.0.1:9", session=session).send("GET", "/")), Unsent
    )
    assert server.received == []


def test_netrc_is_left_alone(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the environment never replace ours, nor are they sent."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    Transport(server.url, headers={"Authorization": "Bearer b"}).send("GET", "/")
    Transport(server.url, session=requests.Session()).send("GET", "/")
    assert [seen.headers.get("authorization") for seen in server.received] == ["Bearer b", None]


def test_a_ca_of_ones_own(
    certified: Certificates, secure: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through session.verify or REQUESTS_CA_BUNDLE, and not without; connections are kept."""
    transport = Transport(secure.url, session=trusting(certified))
    assert [transport.send("POST", "/", body=b"{}").status for _ in range(3)] == [200] * 3
    assert len({seen.connection for seen in secure.received}) == 1
    assert type(outcome(lambda: Transport(secure.url).send("GET", "/"))) is Unsent
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certified.ca)
    assert Transport(f"https://localhost:{secure.port}").send("GET", "/").status == 200


@pytest.mark.parametrize("kind", ["expired", "wrong_host", "self_signed"])
def test_bad_certificates_get_nothing(certified: Certificates, kind: str) -> None:
    """The connection ends in the handshake, and the message says that it is the certificate."""
    with FaultServer(getattr(certified, kind)) as server:
        transport = Transport(server.url, session=trusting(certified))
        result = outcome(lambda: transport.send("POST", "/", body=SECRET.encode()))
        assert isinstance(result, Unsent)
        assert "certificate" in result.message
        assert server.received == []


def test_verification_is_not_switched_off_for_others(secure: FaultServer) -> None:
    """verify=False, or hosts that are not compared, are refused but for this machine."""

    class Careless(HTTPAdapter):
        def init_poolmanager(self, *args: object, **options: object) -> None:
            super().init_poolmanager(*args, **options, assert_hostname=False)  # type: ignore[arg-type]

    session, careless = requests.Session(), requests.Session()
    session.verify = False
    careless.mount("https://", Careless())
    for each in (session, careless):
        with pytest.raises(ConfigurationError, match="certificate"):
            Transport("https://a.example", session=each)
    with pytest.warns(match="Unverified"):
        assert Transport(secure.url, session=session).send("GET", "/").status == 200


def test_https_goes_through_a_proxy_unseen(
    certified: Certificates, secure: FaultServer, server: FaultServer
) -> None:
    """The proxy of the session sees where to, and no key."""
    session = trusting(certified)
    session.proxies = {"https": server.url.replace("//", "//user:word@")}
    server.plan(tunnel())
    transport = Transport(secure.url, session=session, headers={"X-API-Key": SECRET})
    assert [transport.send("GET", "/x").status for _ in range(2)] == [200, 200]
    connect = server.received[0]
    assert (len(server.received), connect.method, connect.path) == (1, "CONNECT", f"127.0.0.1:{secure.port}")
    assert (connect.headers["proxy-authorization"], SECRET in str(connect)) == ("Basic dXNlcjp3b3Jk", False)
    assert [(seen.path, seen.headers["x-api-key"]) for seen in secure.received] == [("/x", SECRET)] * 2
    transport.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(answer(407), Unsent), (hang_up(), Unsent), (garbage(), Unsent), (reset(), Unsent)]
    + [
        (fault, TimeoutError)
        for fault in (silent(), silent(20), drip("status"), drip("headers"), never_reads())
    ],
    ids=repr,
)
def test_a_proxy_that_fails(
    certified: Certificates, secure: FaultServer, server: FaultServer, fault: Fault, kind: type[AscendError]
) -> None:
    """Is named without its password; the deadline holds there too, and nothing reached the server."""
    session = trusting(certified)
    session.proxies = {"https": server.url.replace("//", "//user:hunter2@")}
    server.plan(fault)
    transport = Transport(secure.url, session=session)
    result = outcome(lambda: transport.send("GET", "/", timeout=0.15 if kind is TimeoutError else PATIENCE))
    assert type(result) is kind
    assert isinstance(result, AscendError)
    assert "hunter2" not in result.message
    if kind is Unsent:
        assert f"the proxy 127.0.0.1:{server.port}" in result.message
    assert secure.received == []
    if fault.name != "never_reads":  # whose end of the connection waits for the next plan
        server.wait_closed()


def test_the_environments_proxy_is_asked(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, when the transport is made; NO_PROXY is heeded."""
    with FaultServer() as target:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        transport = Transport(f"{target.url}/p")
        monkeypatch.delenv("HTTP_PROXY")
        transport.send("GET", "/x?y=1")
        assert [seen.path for seen in server.received] == [f"{target.url}/p/x?y=1"]
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        Transport(target.url).send("GET", "/")
        assert [seen.path for seen in target.received] == ["/"]


def test_clear_text_stays_on_this_machine(server: FaultServer) -> None:
    """A proxy elsewhere is not asked for http://127.0.0.1, and one that is spoken to over TLS is refused."""
    session = requests.Session()
    session.proxies = {"http": "http://proxy.invalid:3128", "https": "https://proxy.invalid:3128"}
    assert Transport(server.url, session=session).send("GET", "/").status == 200
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        Transport("https://a.example", session=session)


def test_debug_logs_name_the_call_and_no_secret(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, path, status and time; no header, no body, and nothing that the server wrote."""
    caplog.set_level(logging.DEBUG, "ascend_guard.client")
    headers = {"X-API-Key": SECRET, "Authorization": f"Bearer {SECRET}", "X-Signature": SECRET}
    transport = Transport(server.url, headers=headers)
    server.plan(raw(head(503, {"Content-Length": "0"}, reason="\x1b[31mred"), keep=True), garbage())
    for _ in range(2):
        outcome(
            lambda: transport.send(
                "POST", "/actions?x=1", body=SECRET.encode(), headers={"X-Signature": SECRET}
            )
        )
    ours = [record.getMessage() for record in caplog.records if record.name == "ascend_guard.client"]
    assert ours[0].startswith("POST /actions?x=1: 503 in ")
    assert ours[1].startswith("POST /actions?x=1: NetworkError in ")
    assert SECRET not in caplog.text
    assert "\x1b" not in "".join(ours)


@pytest.mark.parametrize("fault", [*BROKEN, *REFUSED], ids=repr)
def test_errors_repeat_nothing_that_was_sent_or_read(server: FaultServer, fault: Fault) -> None:
    """Neither in their words nor in what they were raised from."""
    server.plan(fault)
    transport = Transport(server.url, headers={"X-API-Key": SECRET}, limit=LIMIT)
    result = outcome(lambda: transport.send("POST", "/", body=SECRET.encode()))
    assert isinstance(result, AscendError)
    assert SECRET not in result.message
    assert result.message.isprintable()
    assert result.__cause__ is None
    assert result.__suppress_context__


def test_a_stream_gives_chunks_as_they_come(server: FaultServer) -> None:
    """Before the answer is complete; its end is the iteration's."""
    transport = Transport(server.url)
    server.plan(events(b"data: 1\n\n", then="silent"), events(b"a", b"b", then="end"))
    stream = transport.open("/events", silence=PATIENCE, headers={"Last-Event-ID": "7"})
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert next(iter(stream)) == b"data: 1\n\n"
    stream.close()
    stream.close()
    assert list(stream) == []
    assert b"".join(transport.open("/events", silence=float("inf"))) == b"ab"
    assert server.received[0].headers["last-event-id"] == "7"
    server.wait_closed()


def test_a_streams_connection_is_nobody_elses(server: FaultServer) -> None:
    """Closing a stream that has ended cannot end another call."""
    transport = Transport(server.url)
    server.plan(chunked(b"a"))
    stream = transport.open("/events", silence=PATIENCE)
    assert list(stream) == [b"a"]
    transport.send("GET", "/")
    stream.close()
    transport.send("GET", "/")
    first, second, third = (seen.connection for seen in server.received)
    assert first != second == third


@pytest.mark.parametrize("then", ["silent", "reset", "cut"])
def test_a_stream_that_breaks_says_so(server: FaultServer, then: str) -> None:
    """Silence, a reset and an end in the middle are network errors, after all that came before."""
    server.plan(events(b"data: 1\n\n", then=then))
    stream = Transport(server.url).open("/events", silence=0.1)
    got = []
    with pytest.raises(
        NetworkError, match="sent nothing for" if then == "silent" else "ended the stream early"
    ):
        got += list(stream)
    assert list(stream) == []
    server.wait_closed()


@pytest.mark.parametrize("fault", [*BROKEN, REFUSED[0], WAITING[0], WAITING[5]], ids=repr)
def test_a_stream_that_does_not_begin(server: FaultServer, fault: Fault) -> None:
    """Fails in its first chunks, or as any other call does."""
    server.plan(fault)
    transport = Transport(server.url, timeout=0.2 if fault in WAITING else PATIENCE)

    assert type(outcome(lambda: list(transport.open("/", silence=0.2)))) is expected(fault)


def read_all(stream: Stream, came: queue.SimpleQueue[object]) -> None:
    """Every chunk, then None or the error that ended it."""
    try:
        for chunk in stream:
            came.put(chunk)
        came.put(None)
    except AscendError as error:
        came.put(error)


@pytest.mark.parametrize("tls", [False, True])
def test_closing_a_stream_wakes_its_reader(certified: Certificates, tls: bool) -> None:
    """From another thread, while it waits; the reader's iteration just ends."""
    with FaultServer(certified.good if tls else None) as server:
        server.plan(*[events(b"data: 1\n\n", then="silent")] * 5)
        transport = Transport(server.url, session=trusting(certified))
        for _ in range(5):
            stream = transport.open("/events", silence=PATIENCE)
            came: queue.SimpleQueue[object] = queue.SimpleQueue()
            reader = threading.Thread(target=read_all, args=(stream, came))
            reader.start()
            assert came.get(timeout=PATIENCE) == b"data: 1\n\n"
            stream.close()
            assert came.get(timeout=PATIENCE / 2) is None
            reader.join()
        server.wait_closed()


def test_a_stream_is_its_own_process(server: FaultServer) -> None:
    """A child may neither read nor end its parent's."""
    over = threading.Event()

    def act(exchange: Exchange) -> bool:
        exchange.send(head(200, {"Content-Length": "2"}) + b"a")
        over.wait(PATIENCE)
        exchange.send(b"b")
        return False

    server.plan(Fault("two halves", act))
    stream = Transport(server.url).open("/events", silence=PATIENCE)
    child = os.fork()
    if child == 0:
        refused = isinstance(outcome(lambda: list(stream)), NetworkError)
        stream.close()
        os._exit(0 if refused else 1)
    assert os.waitpid(child, 0)[1] == 0
    over.set()
    assert b"".join(stream) == b"ab"
