"""For each published server one deed that shows, and people who decide about it."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from anyio.from_thread import BlockingPortal
from mcp import Client, StdioServerParameters
from mcp_peers import PEERS, make_world, proxied, surroundings
from peer_client import client, started
from peer_scripts import DATA
from peer_web import everything_on, free_port, listening_before
from world import eventually

from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import load_policy
from ascend_guard.store.port import ActionRow
from ascend_guard.store.sqlite.store import SQLiteStore

OVER_HTTP = "everything-over-http"


class Deed(NamedTuple):
    """A tool that leaves something behind.

    Attributes:
        tool: its name.
        arguments: for a folder, and for what it is to leave behind.
        marked: the argument that says what.
        left: what it has left behind, of all that was asked for; read from the thing itself where there is one.
    """

    tool: str
    marked: str
    arguments: Callable[[Path, str], dict[str, Any]]
    left: Callable[[Station], str]


class Said(NamedTuple):
    """A tool's answer."""

    failed: bool
    text: str


class Station:
    """One server behind the proxy with a policy, a client before it, and the people who decide.

    Args:
        name: the server's; or ``OVER_HTTP``, which is server-everything behind a proxy that listens.
        folder: where all of it is.
        portal: where the client runs.
        *options: of the proxy.
    """

    def __init__(self, name: str, folder: Path, portal: BlockingPortal, *options: str) -> None:
        self.name = "everything" if name == OVER_HTTP else name
        peer, self.deed = PEERS[self.name], DEEDS[self.name]
        self.world = make_world(peer, folder / "world")
        self.said: list[str] = []
        self._portal = portal
        self._open = ExitStack()
        policy = _policy(self.name, self.deed)
        target: StdioServerParameters | str
        if name == OVER_HTTP:
            url = self._open.enter_context(everything_on(free_port(), folder))
            target = self._open.enter_context(listening_before(url, folder, policy))
        else:
            behind = peer.command(self.world)
            target = started(proxied(folder, name, *options, behind=behind, policy=policy), folder)
        opening = client(target, "auto" if peer.modern else "legacy")
        self.client: Client = self._open.enter_context(portal.wrap_async_context_manager(opening))
        store = SQLiteStore(folder / "ascend.db", durability="process")
        self.plane = EmbeddedControlPlane(store, load_policy(folder / "policy.yaml"))

    def ask(self, mark: str) -> Future[Said]:
        """Ask for the deed; the answer, when it comes."""
        return self._portal.start_task_soon(self._call, self.deed.tool, self.deed.arguments(self.world, mark))

    def do(self, mark: str) -> Said:
        """Ask for the deed, and wait for the answer."""
        return self.ask(mark).result(40)

    def call(self, tool: str, **arguments: Any) -> Future[Said]:
        """Call another of its tools."""
        return self._portal.start_task_soon(self._call, tool, arguments)

    async def _call(self, tool: str, arguments: dict[str, Any]) -> Said:
        answer = await self.client.call_tool(tool, arguments)
        text = " ".join(block.text for block in answer.content if block.type == "text")
        self.said.append(text)
        return Said(bool(answer.is_error), text)

    def resources(self) -> str:
        """What resources the server lists now."""
        return str(self._portal.call(self.client.list_resources))

    def tools(self) -> int:
        """How many tools the server lists."""
        return len(self._portal.call(self.client.list_tools).tools)

    def left(self, mark: str) -> bool:
        """Whether the deed with this mark has been done."""
        return mark in self.deed.left(self)

    def pending(self) -> ActionRow:
        """The action that waits, once there is one."""
        row: ActionRow = eventually(self.plane.pending)[0]
        return row

    def begun(self, tool: str) -> ActionRow:
        """The latest call of a tool, once it has been let through."""
        return self._latest(tool, lambda row: row.claimed_at is not None)

    def settled(self, tool: str) -> ActionRow:
        """The latest call of a tool, once it has an outcome."""
        return self._latest(tool, lambda row: row.outcome is not None)

    def _latest(self, tool: str, holds: Callable[[ActionRow], bool]) -> ActionRow:
        def look() -> list[ActionRow]:
            rows = self.plane.read(lambda reader: list(reader.actions("local", limit=100)))
            latest = [row for row in rows if row.tool_name == tool][:1]
            return latest if latest and holds(latest[0]) else []

        row: ActionRow = eventually(look)[0]
        return row

    def close(self) -> None:
        """The client hangs up."""
        self._open.close()
        self.plane.close()


ALLOWED, DENIED, HELD, EDITED, LATER = "Iceland", "Japan", "Egypt", "Cuba", "Turkey"
"""What the deeds are told apart by: names of time zones, because one of the servers knows nothing else."""


def _policy(name: str, deed: Deed) -> str:
    def rule(effect: str, mark: str, more: str = "") -> str:
        when = f"""'args.{deed.marked}.contains("{mark}")'"""
        return (
            f'  - {{name: {effect}, actions: ["{name}.{deed.tool}"], when: {when}, effect: {effect}{more}}}\n'
        )

    no, ask = rule("deny", DENIED, ", reason: Not that one."), rule("require_approval", HELD)
    return f'version: 1\nrules:\n{no}{ask}  - {{name: rest, actions: ["{name}.*"], effect: allow}}\n'


def _answers(station: Station) -> str:
    return " ".join(text for text in station.said if '"timezone"' in text)


def _git(world: Path, *words: str) -> str:
    told = ["git", *words]
    return subprocess.run(
        told, cwd=world, check=True, capture_output=True, text=True, env=surroundings()
    ).stdout


def _commit(world: Path, mark: str) -> dict[str, Any]:
    (world / "staged.txt").write_text(mark)  # it commits only when there is something to
    _git(world, "add", "staged.txt")
    return {"repo_path": str(world), "message": mark}


def _commits(station: Station) -> str:
    return _git(station.world, "log", "--format=%s")


def _rows(station: Station) -> str:
    connection = sqlite3.connect(station.world / "shop.db")
    try:
        return str(connection.execute("SELECT who FROM orders").fetchall())
    finally:
        connection.close()


DEEDS = {
    "time": Deed(
        "convert_time",
        "target_timezone",
        lambda world, mark: {"source_timezone": "UTC", "time": "12:30", "target_timezone": mark},
        _answers,
    ),
    "git": Deed("git_commit", "message", _commit, _commits),
    "sqlite": Deed(
        "write_query",
        "query",
        lambda world, mark: {"query": f"INSERT INTO orders (who) VALUES ('{mark}')"},
        _rows,
    ),
    "filesystem": Deed(
        "write_file",
        "path",
        lambda world, mark: {"path": str(world / f"{mark}.txt"), "content": "written"},
        lambda station: str(sorted(path.name for path in station.world.iterdir())),
    ),
    "everything": Deed(
        "gzip-file-as-resource", "name", lambda world, mark: {"name": mark, "data": DATA}, Station.resources
    ),
}
