"""Agent processes that die where they are told to.

Each line of input, ``[FOLDER, MODE, WHERE]`` in JSON, starts one. It is a fork of this process, which has no threads and
no store, so importing is paid once. It speaks on the pipe ``FOLDER/said``; this process prints its identifier, and then
its exit status.

``WHERE`` is ``never``, ``loop``, ``<number>:before`` or ``<number>:after`` (an effect of the flow), ``body:start`` or
``body:end``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from support import POLICY

from ascend_guard import AscendError, EmbeddedControlPlane, governed
from ascend_guard.calling.scope import current
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore


def die() -> None:
    """No cleanup, no atexit, no finally."""
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """Kills the process around one effect."""

    def __init__(self, plane: EmbeddedControlPlane, where: str) -> None:
        self.plane = plane
        self.digest_key, self.agent_id, self.agent_name = plane.digest_key, plane.agent_id, plane.agent_name
        number, _, self.when = where.partition(":")
        self.left = int(number) if number.isdigit() else -1

    def perform(self, effect: Any) -> Any:
        self.left -= 1
        if self.left == -1 and self.when == "before":
            die()
        reply = self.plane.perform(effect)
        if self.left == -1 and self.when == "after":
            die()
        return reply

    async def aperform(self, effect: Any) -> Any:
        return self.perform(effect)


def main(folder: Path, mode: str, where: str) -> None:
    """Make the one call, or make calls until killed."""
    inner = EmbeddedControlPlane(SQLiteStore(folder / "a.db", durability="power"), parse_policy(POLICY))
    plane = Mortal(inner, where)
    effects = folder / "effects"

    @governed("refund", on_pending="raise" if mode == "raise" else "wait", timeout=20, control_plane=plane)
    def refund(amount: float) -> None:
        if where == "body:start":
            die()
        running = current()
        assert running is not None
        with effects.open("a") as out:
            out.write(f"{running.action_id} {amount}\n")
            out.flush()
            os.fsync(out.fileno())
        if where == "body:end":
            die()

    if where == "loop":
        print("ready", flush=True)
        while True:
            refund(5)
    try:
        print("ready", flush=True)
        refund(5 if mode == "allow" else 900)
        print("done", flush=True)
    except AscendError as error:
        print(type(error).__name__, error.action_id, flush=True)
    inner.close()


def serve() -> None:
    """Start one agent after the other. In the agent itself this returns, so it ends as any process does."""
    for line in sys.stdin:
        folder, mode, where = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(Path(folder) / "said", os.O_WRONLY), sys.stdout.fileno())
            main(Path(folder), mode, where)
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
