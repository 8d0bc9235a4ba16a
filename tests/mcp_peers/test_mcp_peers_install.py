"""``mcp-proxy install`` into a client's file, what it wrote there started as that client would, and back again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp_peers import PEERS, PROGRAM, make_world, surroundings
from peer_client import client
from peer_web import everything_on, free_port

pytestmark = pytest.mark.timeout(300)  # the first run makes the environments

POLICY = """
version: 1
rules:
  - {name: files, actions: [files.write_file], when: '!args.path.endsWith("secret.txt")', effect: allow}
  - {name: rows, actions: [shop.write_query], when: '!args.query.contains("DELETE")', effect: allow}
  - {name: words, actions: [far.echo], when: args.message != "no", effect: allow}
"""

CONFIGURATION = """\
{
\t"globalShortcut": "Ctrl+Space", "mcpServers": {
    "files": {"command": %(node)s, "args": [%(files)s,
        %(world)s], "env": {"NODE_NO_WARNINGS": "1"}},
\t"shop" : { "args":["--db-path", %(database)s], "command": %(shop)s },
    "far": {"type": "http", "url": %(url)s, "headers": {"X-Team": "\\u0062lue"}}
  } , "scale": 1.50 }"""


@contextmanager
def _configured(folder: Path) -> Iterator[Path]:
    """A client's file with three servers: two it starts, and one that runs."""
    for name in ("filesystem", "sqlite"):
        make_world(PEERS[name], folder / name)
    node, files, world = PEERS["filesystem"].command(folder / "filesystem")
    shop = PEERS["sqlite"].command(folder / "sqlite")[0]
    with everything_on(free_port(), folder) as url:
        said = {"node": node, "files": files, "world": world, "shop": shop, "url": url}
        said["database"] = str(folder / "sqlite" / "shop.db")
        path = folder / "home" / "claude_desktop_config.json"
        path.parent.mkdir()
        path.write_text(CONFIGURATION % {name: json.dumps(text) for name, text in said.items()})
        yield path


def _run(*words: str) -> None:
    done = subprocess.run([PROGRAM, "mcp-proxy", *words], capture_output=True, text=True, env=surroundings())
    assert done.returncode == 0, done.stdout + done.stderr


async def _called(entry: dict[str, Any], tool: str, *several: dict[str, Any]) -> list[tuple[bool, str]]:
    """Start a server as its entry says, and call its tool with these; whether each failed, and its text."""
    environment = {**surroundings(), **entry.get("env", {})}
    target = StdioServerParameters(command=entry["command"], args=entry["args"], env=environment)
    async with client(target, "auto") as connected:
        answers = [await connected.call_tool(tool, arguments) for arguments in several]
    return [(bool(answer.is_error), answer.content[0].text) for answer in answers]  # type: ignore[union-attr]


async def test_there_and_back(tmp_path: Path) -> None:
    """Each entry starts a governed server, whatever it was before; afterwards the file is what it was, to the byte."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with _configured(tmp_path) as path:
        before = path.read_bytes()
        database = f"sqlite:///{tmp_path / 'ascend.db'}"
        options = ("--policy", str(tmp_path / "policy.yaml"), "--database-url", database)
        _run("install", str(path), "--yes", *options)
        servers = json.loads(path.read_bytes())["mcpServers"]
        assert list(servers) == ["files", "shop", "far"]
        await _files(servers["files"], tmp_path / "filesystem")
        await _rows(servers["shop"])
        await _words(servers["far"])
        _run("uninstall", str(path), "--yes")
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


async def _files(entry: dict[str, Any], world: Path) -> None:
    asked = [{"path": str(world / name), "content": "x"} for name in ("open.txt", "secret.txt")]
    done, denied = await _called(entry, "write_file", *asked)
    assert (done[0], denied[0]) == (False, True)
    assert (world / "open.txt").read_text() == "x"
    assert not (world / "secret.txt").exists()


async def _rows(entry: dict[str, Any]) -> None:
    asked = [{"query": query} for query in ("INSERT INTO orders (who) VALUES ('bob')", "DELETE FROM orders")]
    done, denied = await _called(entry, "write_query", *asked)
    assert done == (False, "[{'affected_rows': 1}]")
    assert denied[0]
    counted = await _called(entry, "write_query", {"query": "UPDATE orders SET who = 'eve'"})
    assert counted == [(False, "[{'affected_rows': 2}]")]


async def _words(entry: dict[str, Any]) -> None:
    assert (await _called(entry, "echo", {"message": "yes"})) == [(False, "Echo: yes")]
    assert (await _called(entry, "echo", {"message": "no"}))[0][0]
