"""A store with keys in it, and an OpenID Connect issuer on this machine that can be made to misbehave."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from recorded import every_record
from world import new_store

from ascend_guard.engine.keys import KeyInfo, make_key, make_organization, revoke_key

AUDIENCE = "ascend-console"


class World:
    """A store with two organizations."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ascend.db"
        self.store = new_store(self.path)
        self.store.write(lambda tx: make_organization(tx, "acme", "pro", "test"))

    def key(
        self, organization: str = "local", agent_id: str | None = None, role: str = "agent"
    ) -> tuple[str, KeyInfo]:
        """A new key."""
        return self.store.write(
            lambda tx: make_key(tx, organization, agent_id=agent_id, role=role, by="test")
        )

    def revoke(self, info: KeyInfo) -> None:
        """Take it back."""
        self.store.write(lambda tx: revoke_key(tx, info.organization, info.key_id, by="test"))

    def trail(self) -> list[dict[str, Any]]:
        """Every audit record."""
        return self.store.read(lambda reader: [json.loads(row.body) for row in every_record(reader)])


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, kid: str | None, algorithm: str | None, **more: Any) -> dict[str, Any]:
    """The public half as an issuer publishes it."""
    kind = {"RS": "RS256", "ES": "ES256", "Ed": "EdDSA"}[(algorithm or more.pop("kind"))[:2]]
    data = json.loads(jwt.get_algorithm_by_name(kind).to_jwk(key.public_key()))
    data = {name: value for name, value in data.items() if name != "key_ops"}
    return (
        data
        | ({"kid": kid} if kid is not None else {})
        | ({"alg": algorithm} if algorithm is not None else {})
        | more
    )


def pem(key: Any) -> bytes:
    """The public half as a file has it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return public


def raw_token(header: Any, claims: Any, signature: bytes = b"x") -> str:
    """A token put together by hand."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))


class Issuer:
    """An issuer's server: what it answers can be changed, and what was asked is counted."""

    def __init__(self, address: str) -> None:
        self.url = address
        self.jwks = f"{address}/keys"
        self.reset()

    def reset(self) -> None:
        """As it should be."""
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.keys: list[Any] = [
            jwk(RSA, "rsa", "RS256", use="sig"),
            jwk(EC, "ec", "ES256"),
            jwk(ED, "ed", None, kind="EdDSA"),
        ]
        self.document: dict[str, Any] = {"issuer": self.url, "jwks_uri": self.jwks}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Good ones, with these changed; None takes one away."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "u-1",
            "email": "ann@example.com",
            "iat": now,
            "exp": now + 600,
        }
        return {name: value for name, value in (good | changed).items() if value is not None}

    def token(self, key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **changed: Any) -> str:
        """A signed token."""
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**changed), key, algorithm=algorithm, headers=headers)


def reply(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    """Answer."""
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def certificate(path: Path) -> Path:
    """A certificate for localhost that vouches for itself, with its key, in one file."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, EC.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(EC, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    key = EC.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(key + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def serving(tls: Path | None = None) -> Iterator[Issuer]:
    """An issuer on a port of its own; with a certificate, over https."""
    issuer: Issuer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            special = issuer.answers.get(self.path)
            if special is not None:
                special(self)
            elif self.path == "/keys":
                reply(self, json.dumps({"keys": issuer.keys}).encode())
            elif self.path == "/.well-known/openid-configuration":
                reply(self, json.dumps(issuer.document).encode())
            else:
                reply(self, b"", 404)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:  # whoever asked has gone, as it should
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is None:
        issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    else:
        issuer = Issuer(f"https://localhost:{server.server_address[1]}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
