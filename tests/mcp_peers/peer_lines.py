"""A client that keeps the very bytes: it says one line after the other, and answers what it is asked meanwhile."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE = 40.0

ANSWERS: dict[str, Any] = {
    "ping": {},
    "roots/list": {"roots": [{"uri": "file:///srv/work", "name": "Work"}]},
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "Größe \u2028 \U0001f600"},
        "model": "none",
        "stopReason": "endTurn",
    },
    "elicitation/create": {"action": "accept", "content": {"name": "Ann", "check": True, "integer": 7}},
}
"""What the client answers to a server's requests."""


class Step(NamedTuple):
    """Something the client does.

    Attributes:
        kind: ``request``, which is waited for; ``begin``, which is not; ``notify``; or ``hear``: wait for a line.
        method: what it sends, or what the line it waits for contains.
        params: with it; ``LATEST`` and ``TASK`` in them stand for the latest request's id and for the latest task's.
    """

    kind: str
    method: str
    params: dict[str, Any] | None = None


LATEST = "<the latest request>"
TASK = "<the latest task>"


def ask(method: str, **params: Any) -> Step:
    """A request."""
    return Step("request", method, params or None)


def call(tool: str, **arguments: Any) -> Step:
    """A tool call."""
    return Step("request", "tools/call", {"name": tool, "arguments": arguments})


class Lines:
    """A process that speaks MCP on its standard input and output.

    Args:
        command: how it is started.
        environment: its environment variables.
        folder: where it runs.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=folder,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._listen, self._complain)
        ]
        for thread in self._threads:
            thread.start()
        self._latest = 0
        self._task = ""

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _complain(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    def play(self, steps: Iterable[Step]) -> list[bytes]:
        """Do all this; every line it said meanwhile."""
        said: list[bytes] = []
        for step in steps:
            if step.kind != "hear":
                self._send(step)
            if step.kind == "request":
                said += self.until(
                    lambda message: message.get("id") == self._latest and "method" not in message
                )
            elif step.kind == "hear":
                said += self.until(lambda message, step=step: step.method in json.dumps(message))  # type: ignore[misc]
        return said

    def _send(self, step: Step) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": step.method}
        if step.params is not None:
            message["params"] = {name: self._meant(value) for name, value in step.params.items()}
        if step.kind != "notify":
            self._latest += 1
            message["id"] = self._latest
        self.write(message)

    def _meant(self, value: Any) -> Any:
        return {LATEST: self._latest, TASK: self._task}.get(value, value) if isinstance(value, str) else value

    def write(self, message: dict[str, Any]) -> None:
        """Send one message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[bytes]:
        """The lines up to the first of this kind; requests in them are answered."""
        said: list[bytes] = []
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"No answer after {said[-1:]}:\n{self.errors}") from None
            assert line, f"It ended after {said[-1:]}:\n{self.errors}"
            said.append(line)
            message = json.loads(line)
            if "method" in message and "id" in message:
                self.write({"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]})
            elif "result" in message and "task" in message["result"]:
                self._task = message["result"]["task"]["taskId"]
            if wanted(message):
                return said

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return b"".join(self._errors).decode(errors="replace")

    def close(self, *, kill: bool = False) -> int:
        """Close its standard input; its exit status. Some servers do not end by that: ``kill`` them."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        if kill:
            self.process.kill()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for thread in self._threads:
            thread.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status
