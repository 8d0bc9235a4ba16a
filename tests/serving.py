"""A real server for tests: uvicorn on a free port, in a thread of this process, with keys and people at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from support import POLICY
from world import eventually, new_store

from ascend_guard.client.guard.control_plane import RemoteControlPlane
from ascend_guard.engine.keys import known, make_key, make_organization
from ascend_guard.engine.policy import parse_policy
from ascend_guard.server.access.tokens import LocalIssuer
from ascend_guard.server.app import Server
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.serve import serve
from ascend_guard.store.port import Store


class Serving:
    """A running server.

    Attributes:
        url: where it answers.
        store: its database, which tests may look into.
    """

    def __init__(self, url: str, server: Server) -> None:
        self.url = url
        self.server = server
        self.store: Store = server.services.store

    def key(self, agent: str | None = "my-agent", role: str = "agent", organization: str = "local") -> str:
        """A new API key; its organization is made when it is new."""

        def work(tx: Any) -> str:
            if not known(tx, organization):
                make_organization(tx, organization, "enterprise", "test")
            return make_key(tx, organization, agent_id=agent, role=role, by="test")[0]

        return self.store.write(work)

    def token(
        self,
        user: str = "ann@example.com",
        role: str = "approver",
        groups: tuple[str, ...] = ("finance",),
        organization: str = "local",
    ) -> str:
        """A person's token."""
        issuer = LocalIssuer(self.store.secret)
        return issuer.issue(user, role=role, groups=list(groups), organization=organization)

    def plane(
        self, agent: str = "my-agent", organization: str = "local", **options: Any
    ) -> RemoteControlPlane:
        """A control plane for the guard, with a key of its own."""
        key = self.key(agent, organization=organization)
        return RemoteControlPlane(key, self.url, agent_id=agent, **options)

    def ask(
        self, method: str, path: str, credential: str, body: Any = None, **headers: str
    ) -> requests.Response:
        """One request by requests, as a key or as a person."""
        sent = {"Authorization": f"Bearer {credential}", **headers}
        return requests.request(method, self.url + path, json=body, headers=sent, timeout=30)

    def approve(self, action_id: str | int, **body: Any) -> requests.Response:
        """Ann approves."""
        return self.ask("POST", f"/api/actions/{action_id}/approve", self.token(), body)

    def deny(self, action_id: str | int, **body: Any) -> requests.Response:
        """Ann denies."""
        return self.ask("POST", f"/api/actions/{action_id}/deny", self.token(), body)

    def newest_pending(self, organization: str = "local") -> str:
        """The action that waits, once there is one."""
        return eventually(
            lambda: next(
                (
                    str(row.id)
                    for row in self.store.read(
                        lambda reader: reader.actions(organization, status="pending", limit=1)
                    )
                ),
                None,
            )
        )


@contextmanager
def serving(
    store: Store | Path,
    policy: str = POLICY,
    *,
    port: int = 0,
    settings: ServerSettings | None = None,
    verifiers: tuple[Any, ...] = (),
    clock: Callable[[], float] = time.time,
) -> Iterator[Serving]:
    """Run a server for a while; its store is closed with it.

    Args:
        store: or the path of a SQLite file.
        policy: the policy's text.
        port: 0 takes a free one.
        settings: the server's.
        verifiers: of people's tokens, besides the local issuer.
        clock: seconds since the epoch.
    """
    if isinstance(store, Path):
        store = new_store(store, clock)
    server = Server(store, parse_policy(policy), settings or ServerSettings(heartbeat=0.5), verifiers, clock)
    up, failure = threading.Event(), []
    address: list[str] = []
    running: list[Any] = []

    def ready(url: str) -> None:
        address.append(url)
        up.set()

    def work() -> None:
        try:
            serve(server, "127.0.0.1", port, ready, running.append)
        except BaseException as error:
            failure.append(error)
            up.set()

    thread = threading.Thread(target=work, name="test-server", daemon=True)
    thread.start()
    assert up.wait(30), "the server did not start"
    if failure:
        raise failure[0]
    try:
        yield Serving(address[0], server)
    finally:
        running[0].should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"
