"""Replicas as an operator starts them, on one PostgreSQL database, behind a balancer, with keys and people at hand."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
from replica_balancer import Balancer, balancer
from support import POLICY

from ascend_guard.engine.keys import make_key, make_organization
from ascend_guard.server.access.tokens import LocalIssuer
from ascend_guard.store.postgres.store import PostgresStore

PATIENCE = 60.0
"""Seconds after which something that should happen is believed not to happen."""

_COMMAND = str(Path(sys.executable).with_name("ascend-guard"))
_LISTENS = re.compile(r'"url": "(http://127\.0\.0\.1:(\d+))"')


def until(happened: Callable[[], Any], what: str) -> Any:
    """Wait until it has happened; what it answered then."""
    ends = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not (answer := happened()):
        assert time.monotonic() < ends, f"{what}: not in {PATIENCE:.0f} s"
        pause.wait(0.02)
    return answer


class World:
    """One database, a policy, a secret, and commands that know them.

    Args:
        folder: for the policy and what processes write.
        database_url: the database.
    """

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.secret = secrets.token_bytes(32)
        (folder / "policy.yaml").write_text(POLICY)
        mine = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
        self._environment = {
            **mine,
            "ASCEND_POLICY": str(folder / "policy.yaml"),
            "ASCEND_DATABASE_URL": database_url,
            "ASCEND_SECRET_KEY": self.secret.hex(),
            "PYTHONUNBUFFERED": "1",
        }

    def environment(self, **changes: str) -> dict[str, str]:
        """What its commands are started with."""
        return self._environment | changes

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the command line's commands."""
        return subprocess.run(
            [_COMMAND, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def said(self, *arguments: str) -> Any:
        """The same, which must succeed; its JSON."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    @contextmanager
    def store(self) -> Iterator[PostgresStore]:
        """The database, for this process."""
        with contextlib.closing(PostgresStore(self.database_url, secret=self.secret)) as store:
            yield store

    def key(self, agent: str | None = None, *, organization: str = "local") -> str:
        """A new key: an agent's, or an admin's."""

        def make(tx: Any) -> str:
            if organization != "local":
                make_organization(tx, organization, "free", "test")
            role = "admin" if agent is None else "agent"
            return make_key(tx, organization, agent_id=agent, role=role, by="test")[0]

        with self.store() as store:
            return store.write(make)

    def token(self, name: str) -> str:
        """Somebody of finance who has signed in."""
        return LocalIssuer(self.secret).issue(name, role="approver", groups=["finance"])


class Replica:
    """One ``ascend-guard serve``.

    Args:
        world: what it serves.
        name: of its log.
    """

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._log = world.folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._written = 0

    @property
    def url(self) -> str:
        """Its own address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has written, each time it was started."""
        return self._log.read_text(errors="replace")

    def launch(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start it, and wait for nothing."""
        with self._log.open("ab") as log:
            self._written = log.tell()
            self.process = subprocess.Popen(
                [_COMMAND, "serve", "--host", "127.0.0.1", "--port", "0", "--json", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._world.environment(**environment),
            )
        return self.process

    def listening(self) -> None:
        """Wait until it says where it listens."""
        process = self.process
        assert process is not None
        until(
            lambda: _LISTENS.search(self.log[self._written :]) or process.poll() is not None,
            "a replica listens",
        )
        found = _LISTENS.search(self.log[self._written :])
        assert found is not None, self.log
        self.port = int(found[2])

    def start(self, *options: str) -> None:
        """Start it."""
        self.launch(*options)
        self.listening()

    def send(self, number: signal.Signals) -> float:
        """Send a signal and wait until it has ended; how many seconds that took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return time.monotonic() - begun

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Api:
    """Somebody with a token or a key, at one address.

    Args:
        url: a replica's, or the balancer's.
        credential: the token or the key.
    """

    def __init__(self, url: str, credential: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {credential}"

    def get(self, path: str, **query: Any) -> requests.Response:
        """Read something."""
        return self._session.get(self.url + path, params=query, timeout=30)

    def post(self, path: str, body: Any) -> requests.Response:
        """Change something."""
        return self._session.post(self.url + path, json=body, timeout=30)


@contextmanager
def pair(world: World, *options: str) -> Iterator[tuple[list[Replica], Balancer]]:
    """Two replicas, started at the same moment, and the balancer before them."""
    with ExitStack() as stack:
        replicas = [Replica(world, name) for name in ("a", "b")]
        for replica in replicas:
            stack.callback(replica.close)
            replica.launch(*options)
        for replica in replicas:
            replica.listening()
        yield replicas, stack.enter_context(balancer(lambda: [replica.port for replica in replicas]))
