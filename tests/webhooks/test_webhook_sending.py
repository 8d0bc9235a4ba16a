"""One request to a receiver that may be slow, huge, dead or hostile: bounded in every way."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from webhook_world import World, drip, flood, hang_up

from ascend_guard.server.webhooks import sender as webhooks
from ascend_guard.server.webhooks.sender import Sender


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(world: World, status: int) -> None:
    """They are an answer like any other that is not a success."""
    first, second = world.receiver(), world.receiver()
    first.script = [(status, {"Location": second.url}, b"")]
    sent = Sender(private=True).send(first.url, {}, b"{}")
    assert (sent.ok, sent.status_code) == (False, status)
    assert second.received == []
    assert len(first.received) == 1


@pytest.mark.parametrize("status", [200, 201, 204, 299, 400, 401, 404, 429, 500, 503])
def test_the_status_decides(world: World, status: int) -> None:
    """2xx is arrived, everything else is not; the answer's body is never shown."""
    receiver = world.receiver()
    receiver.script = [(status, {}, b"" if status == 204 else b"internal secret")]
    sent = Sender(private=True).send(receiver.url, {"X-Ascend-Event": "e"}, b'{"a":1}')
    assert sent.status_code == status
    assert sent.ok is (status < 300)
    assert "secret" not in str(sent.error)
    headers, body = receiver.received[0]
    assert (body, headers["x-ascend-event"]) == (b'{"a":1}', "e")
    assert receiver.paths == ["/hook?token=hidden"]


def test_a_dripping_answer_ends_at_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte comes in time, and yet the whole may not last."""
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.5)
    receiver = world.receiver()
    receiver.script = [drip]
    sent = Sender(private=True).send(receiver.url, {}, b"{}")
    assert sent.status_code is None
    assert "did not answer within" in str(sent.error)


def test_a_silent_receiver_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts and says nothing, over plain HTTP and before the TLS handshake."""
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "https"):
            sent = Sender(private=True).send(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/", {}, b"{}")
            assert "did not answer within" in str(sent.error)


def test_slow_names_leave_no_time_to_send(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking the name up counts: too late, nothing is sent, so that nobody sends twice."""
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.05)
    receiver = world.receiver()

    def resolve(host: str, port: int) -> list[str]:
        time.sleep(0.1)
        return ["127.0.0.1"]

    assert not Sender(private=True, resolve=resolve).send(receiver.url, {}, b"{}").ok
    assert receiver.received == []


def test_endless_answers_are_cut(world: World) -> None:
    """Of a body without an end the status counts; headers without an end are no answer."""
    receiver = world.receiver()
    receiver.script = [flood, lambda handler: endless_headers(handler.wfile.write)]
    assert Sender(private=True).send(receiver.url, {}, b"{}").ok
    sent = Sender(private=True).send(receiver.url, {}, b"{}")
    assert (sent.ok, sent.status_code) == (False, None)


def endless_headers(write: object) -> None:
    write(b"HTTP/1.1 200 OK\r\n")  # type: ignore[operator]
    while True:
        write(b"X-More: " + b"x" * 500 + b"\r\n")  # type: ignore[operator]


def test_no_more_is_read_than_the_bound() -> None:
    """Counted at the other end: what the kernel buffers, and 64 KiB."""
    written = 0

    def serve(listening: socket.socket) -> None:
        nonlocal written
        peer, _ = listening.accept()
        with peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            peer.recv(65536)
            with suppress(OSError):
                written += peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
                while written < 64 << 20:
                    written += peer.send(b"x" * 65536)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        assert Sender(private=True).send(f"http://127.0.0.1:{listening.getsockname()[1]}/", {}, b"{}").ok
        thread.join()
    assert written < 32 << 20


@pytest.mark.parametrize(
    "length", [b"Content-Length: 50000\r\n", b"Connection: close\r\nContent-Length: 50000\r\n", b""]
)
def test_an_answer_is_read_to_its_end(length: bytes) -> None:
    """The receiver sees an orderly end of the connection, not a reset while it answers."""
    ends: list[bytes | OSError] = []

    def serve(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            request = b""
            while not request.endswith(b"{}"):
                request += peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n" % length + b"x" * 50_000)
            if not length:
                peer.shutdown(socket.SHUT_WR)
            try:
                ends.append(peer.recv(1))
            except OSError as error:
                ends.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        assert Sender(private=True).send(f"http://127.0.0.1:{listening.getsockname()[1]}/", {}, b"{}").ok
        thread.join()
    assert ends == [b""]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1", b"garbage\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"\x16\x03\x01\x00"]
)
def test_no_http_is_no_answer(world: World, answer: bytes) -> None:
    """Whatever is not HTTP is a failure, never an exception."""
    receiver = world.receiver()
    receiver.script = [lambda handler: (handler.wfile.write(answer), hang_up(handler))[1]]
    sent = Sender(private=True).send(receiver.url, {}, b"{}")
    assert (sent.ok, sent.status_code) == (False, None)
    assert sent.error


def test_nobody_there_is_a_failure() -> None:
    """A refused connection, and a name that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "could not be reached" in str(
        Sender(private=True).send(f"http://127.0.0.1:{port}/", {}, b"{}").error
    )

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    sent = Sender(private=True, resolve=unknown).send("https://nowhere.example/", {}, b"{}")
    assert "cannot be found" in str(sent.error)


@contextmanager
def tls_receiver(world: World, folder: Path, name: str) -> Iterator[tuple[int, Path]]:
    """A receiver with a certificate for ``name``; its port and the authority to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    receiver = world.receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    yield receiver.port, chain


def test_tls_is_verified_for_the_name(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned address changes nothing: the certificate must be good, and the name's own."""
    with tls_receiver(world, tmp_path, "hooks.internal") as (port, chain):
        sender = Sender(private=True, resolve=lambda host, port: ["127.0.0.1"])
        refused = sender.send(f"https://hooks.internal:{port}/", {}, b"{}")
        assert "certificate is not good" in str(refused.error)
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        sender = Sender(private=True, resolve=lambda host, port: ["127.0.0.1"])
        assert sender.send(f"https://hooks.internal:{port}/", {}, b"{}").ok
        other = sender.send(f"https://other.internal:{port}/", {}, b"{}")
        assert "certificate is not good" in str(other.error)
    assert len(world.receivers[0].received) == 1
