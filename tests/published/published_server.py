"""Our server as people start it, the people and keys around it, and the published packages beside it."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import requests
from published_environments import published

COMMAND = [str(Path(sys.executable).with_name("ascend-guard"))]

SERVER = """
import sys
from ascend_guard.cli import main
from ascend_guard.server.access import limits
limits.FAILED = (6_000, limits.MINUTE)
sys.exit(main())
"""
"""The same command. These tests make more refused requests in a minute than one client address may."""

SERVE = ["--host", "127.0.0.1", "--port", "0", "--private-webhooks"]
"""Its options: a free port, and webhooks that may lead to this machine."""

ORGANIZATION = 1
"""The number by which the published clients name the organization that a server starts with."""

POLICY = """
version: 1
default: deny
rules:
  - {name: reads, actions: ["*_read", "*.read", "*.read_*"], effect: allow}
  - {name: tools, actions: ["langchain.*"], effect: allow}
  - {name: processes, actions: [system.subprocess], when: 'args.command.startsWith("echo ")', effect: allow}
  - {name: expressions, actions: [code.eval], when: '!args.code.contains("**")', effect: allow}
  - {name: small-refunds, actions: [refund], when: args.amount <= 500, effect: allow}
  - name: big-refunds
    actions: [refund]
    when: args.amount > 500
    effect: require_approval
    approvers: [finance]
    timeout: 30m
    reason: Refunds above 500 need finance.
  - {name: writes, actions: ["*.write"], effect: require_approval, timeout: 30m}
  - {name: no-deletes, actions: ["*_delete", "*.delete", "langchain.tool.shredder"], effect: deny, reason: Deletes are off.}
"""

_READY = re.compile(r"https?://127\.0\.0\.1:(\d+)")
_PATIENCE = 60


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that configures either side."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_", "OWKAI_"))}
    return {**mine, "LANGSMITH_TRACING": "false", "PYTHONUNBUFFERED": "1"}


class Server:
    """One server with a database of its own, listening on a port of its own.

    Args:
        folder: for its policy, its database and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._policy = folder / "policy.yaml"
        self._policy.write_text(POLICY)
        self._log = folder / "server.log"
        self._where = ["--policy", str(self._policy), "--database-url", f"sqlite:///{folder / 'ascend.db'}"]
        self._environment = clean_environment()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, *self._where, "serve", *SERVE],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        waiting = threading.Event()
        for _ in range(_PATIENCE * 20):
            found = _READY.search(self._log.read_text(errors="replace"))
            if found:
                self.url = f"http://127.0.0.1:{found[1]}"
                return
            if self._process.poll() is not None:
                break
            waiting.wait(0.05)
        self.stop()
        raise AssertionError(f"The server did not say where it listens:\n{self.log()}")

    def stop(self) -> None:
        """End it as an operator would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE)

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def key(self, agent_id: str) -> str:
        """A new API key for one agent."""
        return self._key("--agent", agent_id)

    def admin_key(self) -> str:
        """A new API key of an admin, for any agent."""
        return self._key("--role", "admin")

    def signed_key(self, *whose: str) -> tuple[str, str]:
        """A new API key whose requests must be signed, and the secret for that."""
        made = json.loads(self._run("keys", "create", *whose, "--signing-secret", "--json"))
        return made["api_key"], made["signing_secret"]

    def _key(self, *whose: str) -> str:
        key: str = json.loads(self._run("keys", "create", *whose, "--json"))["api_key"]
        return key

    def person(
        self, name: str = "ann@example.com", *, role: str = "approver", group: str = "finance"
    ) -> Person:
        """Somebody who has signed in."""
        token = self._run("token", "--user", name, "--role", role, "--group", group).strip()
        return Person(self.url, token)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *self._where, *arguments], capture_output=True, text=True, env=self._environment
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout


class Person:
    """Somebody with a token, at the documented REST API."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def url(self, path: str) -> str:
        """A path's address on this person's server."""
        return self._url + path

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        """Send a request."""
        return self._session.post(self._url + path, json=body, timeout=30)

    def make(self, path: str, body: dict[str, Any]) -> Any:
        """Send a request that must succeed; its answer."""
        return self._done(self.post(path, body))

    def change(self, path: str, body: dict[str, Any]) -> Any:
        """Change something; the answer."""
        return self._done(self._session.put(self._url + path, json=body, timeout=30))

    def get(self, path: str, **query: Any) -> Any:
        """Read something."""
        return self._done(self._session.get(self._url + path, params=query, timeout=30))

    def approve(self, action_id: str, comments: str = "Looks right.") -> Any:
        """Approve an action."""
        return self.make(f"/api/actions/{action_id}/approve", {"comments": comments})

    def deny(self, action_id: str, comments: str = "Not this one.") -> Any:
        """Deny an action."""
        return self.make(f"/api/actions/{action_id}/deny", {"comments": comments})

    def _done(self, answer: requests.Response) -> Any:
        assert answer.ok, (answer.status_code, answer.text)
        return answer.json()


class Published:
    """A published package in a process of its own, told what to call.

    Args:
        environment: its name in ``published_environments``.
        program: the program to run in it.
        folder: for what it logs.
        base_url: the server it uses.
        api_key: with this key.
        options: what else its client is made with.
    """

    def __init__(
        self,
        environment: str,
        program: str,
        folder: Path,
        *,
        base_url: str,
        api_key: str,
        options: dict[str, Any],
    ) -> None:
        self._command = {"base_url": base_url, "api_key": api_key, "options": options}
        self._log = folder / f"{environment}-{id(self)}.log"
        python = published(environment)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), "-X", "utf8", str(Path(__file__).with_name(program))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=clean_environment(),
            )
        self._answers: queue.Queue[str] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, do: str, *args: Any, _as: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Begin a call, whose outcome ``answer`` gives. ``_as`` replaces parts of the client's configuration."""
        self._asked += 1
        call = {"id": self._asked, "do": do, "args": args, "kwargs": kwargs}
        command = {**self._command, "calls": [call]}
        if _as:
            changed = dict(_as)
            for name in ("base_url", "api_key"):
                command[name] = changed.pop(name, command[name])
            command["options"] = {**command["options"], **changed}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came of the call: ``{"result"}``, or ``{"raised", "message", ...}``."""
        while True:  # a test that failed may have left an answer behind
            try:
                line = self._answers.get(timeout=_PATIENCE)
            except queue.Empty:
                raise AssertionError(f"No answer in {_PATIENCE} s:\n{self._logged()}") from None
            assert line, f"The program ended:\n{self._logged()}"
            said: dict[str, Any] = json.loads(line)
            if said["id"] == self._asked:
                return said

    def _logged(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def call(self, do: str, *args: Any, _as: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """A call that must succeed; what it returned."""
        self.ask(do, *args, _as=_as, **kwargs)
        said = self.answer()
        assert "result" in said, said
        return said["result"]

    def fail(self, do: str, *args: Any, _as: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        """A call that must raise; what it raised."""
        self.ask(do, *args, _as=_as, **kwargs)
        said = self.answer()
        assert "raised" in said, said
        return said

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
