"""An HTTP server that misbehaves as it is told: real sockets on 127.0.0.1, one fault for each request.

    with FaultServer() as server:
        server.plan(answer(body={"ok": True}), reset(), drip("body", 0.02))   # the next three requests
        ...                                                                   # send them to server.url
        assert [seen.path for seen in server.received] == [...]

``plan`` replaces what is left of the last plan and forgets what was received; the port stays, so a plan per generated
schedule costs nothing. Requests beyond the plan get ``answer()``. A fault is ``Fault(name, act)``, and ``act(exchange)``
says whether the connection is kept: write your own where none fits. ``server.refusing`` is a URL where nobody listens.

``FaultServer(certificates(directory).good)`` speaks TLS; ``certificates`` also makes expired, wrong-host and self-signed
ones. ``tunnel()`` makes the server a proxy for a CONNECT, and any fault answers a proxied plain request.

Every wait of the server ends when its client goes away, when there is a new plan, or when the server is closed.
A request whose client gave up may still be on its way in: ``plan()`` and ``wait_closed()`` before the next plan keep it
apart.
"""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import json
import select
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = 30.0
"""Seconds after which a test that waits for the server has failed."""


@dataclass(frozen=True)
class Received:
    """One request as it came: header names in lower case; ``connection`` counts from 1."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Exchange:
    """What a fault has in hand: the socket, and the request, which is None where it was not read."""

    sock: socket.socket
    request: Received | None
    stopping: threading.Event

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def silence(self) -> None:
        """Until the client has gone, or there is a new plan."""
        while not self.gone(0.05):
            pass

    def gone(self, seconds: float) -> bool:
        """Whether the client left, or there is a new plan, within so many seconds."""
        readable, _, _ = select.select([self.sock], [], [], seconds)
        return bool(readable) or self.stopping.is_set()

    def reset(self) -> None:
        """RST instead of FIN, at once."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass(frozen=True)
class Fault:
    """What happens to one request. ``early`` faults strike before the body, or anything, is read."""

    name: str
    act: Callable[[Exchange], bool]
    early: bool = False

    def __repr__(self) -> str:
        return self.name


Headers = Mapping[str, str]


def payload(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def head(
    status: int = 200, headers: Headers | None = None, version: str = "1.1", reason: str = "Word"
) -> bytes:
    """A status line and headers, with the empty line at their end."""
    lines = [f"HTTP/{version} {status} {reason}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(
    status: int = 200, body: object = b"{}", headers: Headers | None = None, version: str = "1.1"
) -> bytes:
    """A right answer, as bytes."""
    data = payload(body)
    given = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
    return head(status, given, version) + data


def raw(data: bytes, *, keep: bool = False, name: str = "raw") -> Fault:
    """Exactly these bytes; then the end, unless the connection is kept."""

    def act(exchange: Exchange) -> bool:
        exchange.send(data)
        return keep

    return Fault(name, act)


def answer(status: int = 200, body: object = b"{}", headers: Headers | None = None) -> Fault:
    """A right answer on a connection that is kept; other than bytes becomes JSON."""
    return raw(whole(status, body, headers), keep=True, name=f"answer({status})")


def echo() -> Fault:
    """The request's own body."""

    def act(exchange: Exchange) -> bool:
        assert exchange.request is not None
        exchange.send(whole(body=exchange.request.body))
        return True

    return Fault("echo", act)


def chunked(*pieces: bytes) -> Fault:
    """A right answer, in chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return raw(head(200, {"Transfer-Encoding": "chunked"}) + framed + b"0\r\n\r\n", keep=True, name="chunked")


def http10(body: object = b"{}") -> Fault:
    """HTTP/1.0: the body ends with the connection."""
    return raw(head(200, {}, "1.0") + payload(body), name="http10")


def closing(body: object = b"{}") -> Fault:
    """A right answer that promises to keep the connection, which is then closed."""
    return raw(whole(body=body, headers={"Connection": "keep-alive"}), name="closing")


def surplus(extra: bytes = whole(418)) -> Fault:
    """A right answer, with another one behind it that nobody asked for."""
    return raw(whole() + extra, keep=True, name="surplus")


def redirect(to: str, status: int = 307) -> Fault:
    """To another address."""
    return answer(status, b"", {"Location": to})


def gzipped(body: object = b"{}") -> Fault:
    """Compressed, asked or not."""
    return answer(200, gzip.compress(payload(body)), {"Content-Encoding": "gzip"})


def garbage(data: bytes = b"\x1b[2J\x00 no HTTP at all\r\n\r\n") -> Fault:
    """Something else than HTTP."""
    return raw(data, name="garbage")


def hang_up() -> Fault:
    """The request is read, and the connection closed."""
    return raw(b"", name="hang_up")


def close_after_head() -> Fault:
    """A body is declared, and none comes."""
    return raw(whole(body=b"x" * 64)[:-64], name="close_after_head")


def truncated(by: int = 1, *, chunks: bool = False) -> Fault:
    """The last bytes of the body are missing."""
    data = (
        head(200, {"Transfer-Encoding": "chunked"}) + b"40\r\n" + b"x" * 64
        if chunks
        else whole(body=b"x" * 64)
    )
    return raw(data[:-by], name=f"truncated({by})")


def reset(after: int = 0) -> Fault:
    """The request is read, and the connection reset, after so many bytes of an answer."""

    def act(exchange: Exchange) -> bool:
        exchange.send(whole()[:after])
        exchange.reset()
        return False

    return Fault(f"reset({after})", act)


def reset_unread() -> Fault:
    """The connection is reset when a request comes, before it is read."""

    def act(exchange: Exchange) -> bool:
        exchange.reset()
        return False

    return Fault("reset_unread", act, early=True)


def never_reads() -> Fault:
    """The request stays unread, and nothing is answered."""

    def act(exchange: Exchange) -> bool:
        exchange.stopping.wait(PATIENCE)  # the client's end of it is behind what is not read
        return False

    return Fault("never_reads", act, early=True)


def silent(after: int = 0) -> Fault:
    """So many bytes of an answer, and then nothing for ever."""

    def act(exchange: Exchange) -> bool:
        exchange.send(whole(body=b"x" * 64)[:after])
        exchange.silence()
        return False

    return Fault(f"silent({after})", act)


def drip(part: str = "body", step: float = 0.02) -> Fault:
    """A right answer, for ever byte by byte from its "status", "headers", "body", or "chunks" on."""
    starts = {
        "status": (b"", b"HTTP/1.1 200 " + b"O" * 60_000),
        "headers": (b"HTTP/1.1 200 OK\r\n", b"X-Slow: " + b"x" * 60_000),
        "body": (head(200, {"Content-Length": "60000"}), b"x" * 60_000),
        "chunks": (head(200, {"Transfer-Encoding": "chunked"}), b"1\r\nx\r\n" * 10_000),
    }
    at_once, slowly = starts[part]

    def act(exchange: Exchange) -> bool:
        exchange.send(at_once)
        for byte in slowly:
            if exchange.gone(step):
                break
            exchange.send(bytes([byte]))
        return False

    return Fault(f"drip({part})", act)


def endless(start: bytes, again: bytes, name: str = "endless") -> Fault:
    """A beginning, and then the same for as long as somebody reads."""

    def act(exchange: Exchange) -> bool:
        exchange.send(start)
        while not exchange.stopping.is_set():
            exchange.send(again)
        return False

    return Fault(name, act)


def huge(*, declared: bool = True) -> Fault:
    """A body without end, with a length that says so, or in chunks."""
    if declared:
        return endless(head(200, {"Content-Length": str(1 << 40)}), b"x" * 65536, "huge(declared)")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    return endless(head(200, {"Transfer-Encoding": "chunked"}), chunk, "huge(chunked)")


def endless_headers() -> Fault:
    """One header after the other."""
    return endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100, "endless_headers")


def endless_interim() -> Fault:
    """HTTP/1.1 100 Continue, and never the answer."""
    return endless(b"", head(100) * 100, "endless_interim")


def events(*pieces: bytes, then: str = "silent", headers: Headers | None = None) -> Fault:
    """Server-sent events in chunks; then "silent", "reset", "cut" (closed in the middle), or "end" as it should."""

    def act(exchange: Exchange) -> bool:
        given = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **(headers or {})}
        exchange.send(head(200, given))
        for piece in pieces:
            exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if then == "silent":
            exchange.silence()
        elif then == "reset":
            exchange.reset()
        elif then == "end":
            exchange.send(b"0\r\n\r\n")
        return False

    return Fault(f"events({then})", act)


def tunnel(*, prefix: bytes = b"HTTP/1.1 200 Go\r\n\r\n") -> Fault:
    """As a proxy does: CONNECT to where the request says, and pass everything on."""

    def act(exchange: Exchange) -> bool:
        assert exchange.request is not None
        host, _, port = exchange.request.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            exchange.send(prefix)
            pairs = {exchange.sock: there, there: exchange.sock}
            while not exchange.stopping.is_set():
                for source in select.select(list(pairs), [], [], PATIENCE)[0]:
                    data = source.recv(65536)
                    if not data:
                        return False
                    pairs[source].sendall(data)
        return False

    return Fault("tunnel", act)


class FaultServer:
    """The server; see the module's words. ``received`` is what came since the last plan, in order of arrival.

    Args:
        context: speaks TLS with it.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._context = context
        self._plan: deque[Fault] = deque()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._closed_port = socket.socket()
        self._closed_port.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.refusing = f"{scheme}://127.0.0.1:{self._closed_port.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, name="fault-server")
        self._acceptor.start()

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def plan(self, *faults: Fault) -> None:
        """What happens to the next requests, in order; what was received before is forgotten."""
        with self._changed:
            self._plan = deque(faults)
            self.received = []
            self._stopping.set()
            self._stopping = threading.Event()

    def wait_closed(self) -> None:
        """Until no connection is open here: a client that keeps one would wait in vain."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, PATIENCE), "connections are still open"

    def wait_received(self, count: int) -> None:
        """Until so many requests of this plan were read."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, PATIENCE), self.received

    def close(self) -> None:
        """Ends every connection and thread. Closing twice is no error."""
        self._closed = True
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE)
        self._listener.close()
        self._closed_port.close()
        with self._changed:
            waiting = list(self._open.items())
        for sock, _ in waiting:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for _, thread in waiting:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                thread = threading.Thread(
                    target=self._serve, args=(sock, self.connections), name="fault-server"
                )
                self._open[sock] = thread
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        sock = plain
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                with self._changed:
                    self._open[sock] = self._open.pop(plain)
                sock.do_handshake()
            while not self._closed and self._exchange(sock, number):
                pass
        except (OSError, ValueError):
            pass  # the client left in the middle: what it wanted
        finally:
            sock.close()
            with self._changed:
                self._open.pop(sock, None)
                self._changed.notify_all()

    def _exchange(self, sock: socket.socket, number: int) -> bool:
        if not isinstance(sock, ssl.SSLSocket) and not sock.recv(1, socket.MSG_PEEK):
            return False
        with self._changed:
            stopping = self._stopping
            early = self._plan.popleft() if self._plan and self._plan[0].early else None
        if early is not None:
            return early.act(Exchange(sock, None, stopping))
        request = _read(sock, number)
        if request is None:
            return False
        with self._changed:
            stopping = self._stopping
            self.received.append(request)
            fault = self._plan.popleft() if self._plan else answer()
            self._changed.notify_all()
        return fault.act(Exchange(sock, request, stopping))


def _read(sock: socket.socket, number: int) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return None
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    line, *lines = top.decode("latin-1").split("\r\n")
    method, path, _ = line.split(" ", 2)
    pairs = (each.partition(":") for each in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    parts = [body]
    missing = int(headers.get("content-length", "0")) - len(body)
    while missing > 0:
        more = sock.recv(min(missing, 1 << 20))
        if not more:
            return None
        parts.append(more)
        missing -= len(more)
    return Received(method, path, headers, b"".join(parts), number)


@dataclass(frozen=True)
class Certificates:
    """TLS settings for servers, and the file of the CA that signed all but the self-signed one."""

    ca: str
    good: ssl.SSLContext
    expired: ssl.SSLContext
    wrong_host: ssl.SSLContext
    self_signed: ssl.SSLContext


def certificates(directory: Path) -> Certificates:
    """Make a CA, and certificates for 127.0.0.1 and localhost: a good one and three bad ones."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("Fault CA", key, None, days=365, hosts=())
    (directory / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    signer = (authority, key)
    here = ("127.0.0.1", "localhost")

    def context(
        name: str,
        signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
        days: int,
        hosts: tuple[str, ...],
    ) -> ssl.SSLContext:
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(name, own, signer, days, hosts)
        path = directory / f"{name}.pem"
        secret = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + secret)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(path)
        return made

    return Certificates(
        ca=str(directory / "ca.pem"),
        good=context("good", signer, 30, here),
        expired=context("expired", signer, -1, here),
        wrong_host=context("wrong-host", signer, 30, ("elsewhere.example",)),
        self_signed=context("self-signed", None, 30, here),
    )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    days: int,
    hosts: tuple[str, ...],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        # Python 3.13 checks that a certificate names its authority's key, and that an authority may sign.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((signer[1] if signer else key).public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=not hosts,
                crl_sign=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer[1] if signer else key, hashes.SHA256())
