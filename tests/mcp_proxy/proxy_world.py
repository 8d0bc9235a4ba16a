"""The proxy as a process, a client's two pipes, and people who decide."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from world import eventually, new_store

from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import load_policy
from ascend_guard.store.port import ActionRow

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["shop.get_*", shop.slow, shop.crash, shop.fails, shop.asks, shop.nothing], effect: allow}
  - {name: small, actions: [shop.refund], when: args.amount <= 100, effect: allow}
  - {name: big, actions: [shop.refund], when: args.amount > 100, effect: require_approval, timeout: 30m}
  - {name: brief, actions: [shop.brief], effect: require_approval, timeout: 1s}
  - {name: drops, actions: ["*.drop_*"], effect: deny, reason: Drops are off.}
"""

PATIENCE = 30.0
PYTHON = (sys.executable, "-m", "ascend_guard")
RECORDING = str(Path(__file__).with_name("recording_server.py"))
MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


class Desk:
    """Where the policy and the database are, and where people decide."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY)
        self.database = folder / "ascend.db"
        self.record = folder / "record"
        self.record.touch()
        self.plane = EmbeddedControlPlane(new_store(self.database), load_policy(self.policy))

    @property
    def environment(self) -> dict[str, str]:
        """Of the proxy's process."""
        return {
            **os.environ,
            "ASCEND_POLICY": str(self.policy),
            "ASCEND_DATABASE_URL": f"sqlite:///{self.database}",
            "ASCEND_DURABILITY": "process",
        }

    def command(self, *options: str, server: Sequence[str] | None = None) -> list[str]:
        """The proxy's command line in front of the recording server, or of another."""
        behind = [sys.executable, RECORDING, str(self.record)] if server is None else server
        return [*PYTHON, "mcp-proxy", "--name", "shop", *options, *(["--", *behind] if behind else [])]

    def pending(self) -> ActionRow:
        """The action that waits, once there is one."""
        rows = eventually(self.plane.pending)
        row: ActionRow = rows[0]
        return row

    def unattended(self, action_id: int) -> None:
        """Nobody waits for this action any more."""
        eventually(lambda: all(row.waiter is None for row in self.plane.pending() if row.id == action_id))

    def actions(self, most: int = 100) -> list[ActionRow]:
        """What was asked, the newest first."""
        return self.plane.read(lambda reader: list(reader.actions("local", limit=most)))

    def settled(self, count: int = 1) -> list[ActionRow]:
        """The actions, once so many have an outcome."""
        eventually(lambda: sum(row.outcome is not None for row in self.actions()) >= count)
        return self.actions()

    @property
    def received(self) -> list[bytes]:
        """The lines the recording server got."""
        return self.record.read_bytes().splitlines(keepends=True)

    @property
    def calls(self) -> list[Any]:
        """The params of each tool call it got."""
        messages = [json.loads(line) for line in self.received]
        return [message["params"] for message in messages if _calls(message)]

    def close(self) -> None:
        """Nobody decides any more."""
        self.plane.close()


def _calls(message: Any) -> bool:
    return isinstance(message, dict) and message.get("method") == "tools/call"


class Proxy:
    """A running proxy and its client."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._listen, self._complain)
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _complain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return b"".join(self._errors).decode()

    def write(self, line: bytes) -> None:
        """Send these very bytes and a line feed."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def call(self, identity: Any, tool: str, arguments: dict[str, Any] | None = None, **params: Any) -> None:
        """Call a tool."""
        self.send(
            id=identity, method="tools/call", params={"name": tool, "arguments": arguments or {}, **params}
        )

    def line(self) -> bytes:
        """The next line of its standard output; empty when that has ended."""
        return self._lines.get(timeout=PATIENCE)

    def answer(self) -> Any:
        """The next message."""
        return json.loads(self.line())

    def ping(self, identity: Any = "ping") -> None:
        """Everything before this has been handled."""
        self.send(id=identity, method="ping")
        assert self.answer() == {"jsonrpc": "2.0", "id": identity, "result": {}}

    def address(self) -> str:
        """Where it says that it listens."""

        def said() -> str | None:
            lines = [line.split()[-1] for line in self.errors.splitlines() if "listening on" in line]
            return lines[0] if lines else None

        return str(eventually(said))

    def hang_up(self) -> int:
        """Close its standard input; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        status = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        return status

    def close(self) -> None:
        """See that it is gone."""
        if self.process.poll() is None:
            self.process.kill()  # its server sees the end of its input
        self.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass


def words(answer: Any) -> str:
    """The text of a tool's result."""
    return " ".join(part["text"] for part in answer["result"]["content"])
