"""A control plane with webhooks, a clock of its own, and receivers that do as they are told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from recorded import every_record
from support import POLICY

from ascend_guard import EmbeddedControlPlane
from ascend_guard.api.fields import PageQuery
from ascend_guard.api.webhooks import WebhookAnswer, WebhookBody
from ascend_guard.arguments import digest_key_of
from ascend_guard.engine.intake import Intake
from ascend_guard.engine.liveness import Register
from ascend_guard.engine.policy import parse_policy
from ascend_guard.server.handlers.webhooks import HANDLERS
from ascend_guard.server.handling import Caller, Request, ServerSettings, Services
from ascend_guard.server.metrics import Meter
from ascend_guard.server.webhooks.delivery import DeliveryWorker
from ascend_guard.store.sqlite.store import SQLiteStore

Answer = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


class Receiver:
    """A web server on this machine. It answers by its script, then with 200, and keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.otherwise: Answer = (200, {}, b"ok")
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.now = self.most = 0
        self.hold: threading.Event | None = None
        self.arrived = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.take(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Its peers hang up on purpose."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?token=hidden"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self.arrived:
            self.received.append(({name.lower(): value for name, value in handler.headers.items()}, body))
            self.paths.append(handler.path)
            self.now += 1
            self.most = max(self.most, self.now)
            answer = self.script.pop(0) if self.script else self.otherwise
            self.arrived.notify_all()
        try:
            if self.hold is not None:
                self.hold.wait(20)
            with suppress(OSError):
                if callable(answer):
                    answer(handler)
                else:
                    status, headers, content = answer
                    handler.send_response(status)
                    for name, value in ({"Content-Length": str(len(content))} | headers).items():
                        handler.send_header(name, value)
                    handler.end_headers()
                    handler.wfile.write(content)
        finally:
            with self.arrived:
                self.now -= 1

    def wait_for(self, count: int) -> None:
        """Return once so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, 20), len(self.received)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]

    @property
    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]

    def close(self) -> None:
        if self.hold is not None:
            self.hold.set()
        self.server.shutdown()
        self.server.server_close()


class World:
    """A store with a clock that stands still until it is moved, and whoever works on it."""

    def __init__(self, path: Path) -> None:
        self.now = 1_700_000_000.0
        self.path = path
        self.store = SQLiteStore(path, durability="process", clock=lambda: self.now)
        self.policy = parse_policy(POLICY)
        self.settings = ServerSettings(private_webhooks=True)
        self.services = Services(
            self.store,
            self.policy,
            lambda: self.now,
            self.settings,
            register := Register(),
            Intake(self.store, register, self.policy),
            Meter(),
            digest_key_of(self.store.secret),
        )
        self.receivers: list[Receiver] = []
        self.workers: list[DeliveryWorker] = []

    def plane(self, organization: str = "local", agent_id: str = "billing") -> EmbeddedControlPlane:
        """Whom agents of an organization call."""
        return EmbeddedControlPlane(
            self.store, self.policy, agent_id=agent_id, organization=organization, clock=lambda: self.now
        )

    def receiver(self) -> Receiver:
        self.receivers.append(Receiver())
        return self.receivers[-1]

    def worker(self) -> DeliveryWorker:
        self.workers.append(DeliveryWorker(self.services))
        return self.workers[-1]

    async def call(
        self,
        name: str,
        body: Any = None,
        query: Any = None,
        *,
        organization: str = "local",
        agent_id: str | None = None,
        **path: str,
    ) -> Any:
        """Ask an endpoint's handler as an administrator."""
        caller = Caller(organization, "key:k1", role="admin", agent_id=agent_id)
        call: Request[Any, Any] = Request(self.services, caller, path, body, query or PageQuery(), {}, "c-1")
        return await HANDLERS[name](call)

    async def hook(
        self, url: str, *events: str, organization: str = "local", agent_id: str | None = None
    ) -> WebhookAnswer:
        """Register a webhook."""
        body = WebhookBody(url, list(events or ("*",)), agent_id=agent_id)
        answer: WebhookAnswer = await self.call("configure_webhook", body, organization=organization)
        return answer

    async def work(self, worker: DeliveryWorker | None = None) -> None:
        """Let a worker do all there is to do now."""
        worker = worker or self.workers[0] if self.workers else self.worker()
        while await worker.step() == 0.0:
            await worker.settled()
        await worker.settled()

    async def deliveries(self, webhook_id: str, **page: int) -> list[Any]:
        answer = await self.call("list_deliveries", None, PageQuery(**page), webhook_id=webhook_id)
        return list(answer.deliveries)

    def trail(self, prefix: str = "webhook.") -> list[dict[str, Any]]:
        """Audit records of this kind."""
        records = [msgspec.json.decode(row.body) for row in self.store.read(lambda r: every_record(r))]
        return [record for record in records if record["event"].startswith(prefix)]

    def close(self) -> None:
        for receiver in self.receivers:
            receiver.close()
        self.store.close()


@contextmanager
def world_at(path: Path) -> Iterator[World]:
    """A world, and its end."""
    world = World(path)
    try:
        yield world
    finally:
        world.close()


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def flood(handler: BaseHTTPRequestHandler) -> None:
    """Answer without an end, as fast as possible."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 65536)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
