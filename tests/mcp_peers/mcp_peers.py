"""The published MCP servers, each with a small world of its own to act in, and the proxy's command line."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from published.published_environments import node, published, published_for_node

PYTHON, PYTHON_1, NPM = "mcp-servers", "mcp-servers-1", "mcp-servers-npm"
PROGRAM = str(Path(sys.executable).with_name("ascend-guard"))
ALLOWED = "version: 1\nrules:\n  - {name: all, actions: ['*'], effect: allow}\n"


class Peer(NamedTuple):
    """One published server.

    Attributes:
        name: what it is called here, and as a server.
        environment: where it is installed.
        command: its command line, for a folder to act in.
        world: puts into that folder what it is to find there; None where it looks for nothing.
        modern: whether it speaks protocol version 2026-07-28 as well as the ones before.
    """

    name: str
    environment: str
    command: Callable[[Path], list[str]]
    world: Callable[[Path], None] | None = None
    modern: bool = False


def _python(environment: str, program: str) -> str:
    return str(published(environment).with_name(program))


def _node(package: str) -> list[str]:
    folder = published_for_node(NPM) / "node_modules" / "@modelcontextprotocol" / package
    return [str(node()), str(folder / "dist" / "index.js")]


def _repository(world: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=world, check=True, capture_output=True, env=surroundings())

    git("init", "--quiet", "--initial-branch", "main")
    (world / "notes.txt").write_text("one\ntwo\n")
    git("add", "notes.txt")
    git("commit", "--quiet", "--message", "The first")
    (world / "notes.txt").write_text("one\ntwo\nthree\n")
    (world / "new.txt").write_text("Größe\n")


def _files(world: Path) -> None:
    (world / "sub").mkdir()
    (world / "notes.txt").write_text("one\ntwo\nthree\nfour\n")
    (world / "sub" / "größe.md").write_text("# Größe \u2028\n")
    (world / "dot.png").write_bytes(bytes.fromhex("89504e470d0a1a0a"))


def _database(world: Path) -> None:
    with sqlite3.connect(world / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, who TEXT)")
        connection.execute("INSERT INTO orders (who) VALUES ('ann')")
    connection.close()


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "time",
            PYTHON,
            lambda world: [_python(PYTHON, "mcp-server-time"), "--local-timezone", "UTC"],
            modern=True,
        ),
        Peer(
            "git",
            PYTHON,
            lambda world: [_python(PYTHON, "mcp-server-git"), "--repository", str(world)],
            _repository,
            modern=True,
        ),
        Peer(
            "sqlite",
            PYTHON_1,
            lambda world: [_python(PYTHON_1, "mcp-server-sqlite"), "--db-path", str(world / "shop.db")],
            _database,
        ),
        Peer("filesystem", NPM, lambda world: [*_node("server-filesystem"), str(world)], _files),
        Peer("everything", NPM, lambda world: [*_node("server-everything"), "stdio"]),
    )
}


def make_world(peer: Peer, world: Path) -> Path:
    """A new folder at this path, as the server is to find it."""
    shutil.rmtree(world, ignore_errors=True)
    world.mkdir()
    if peer.world is not None:
        peer.world(world)
    return world


def everything_over_http(port: int) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of server-everything as an HTTP server."""
    return [*_node("server-everything"), "streamableHttp"], {**surroundings(), "PORT": str(port)}


def proxied(folder: Path, name: str, *options: str, behind: list[str], policy: str = ALLOWED) -> list[str]:
    """The proxy's command line.

    Args:
        folder: for its policy and its database.
        name: the server's.
        *options: of ``mcp-proxy``.
        behind: the server's command line; empty where ``--url`` names it.
        policy: what decides.
    """
    (folder / "policy.yaml").write_text(policy)
    where = ["--policy", str(folder / "policy.yaml"), "--database-url", f"sqlite:///{folder / 'ascend.db'}"]
    return [PROGRAM, *where, "mcp-proxy", "--name", name, *options, *(["--", *behind] if behind else [])]


def surroundings() -> dict[str, str]:
    """The environment servers run in, with and without the proxy: nothing of this machine's that could show."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
    who = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in _WHO.items()}
    return {
        **kept,
        **who,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "TZ": "UTC",
    }


_WHO = {"NAME": "Ann", "EMAIL": "ann@example.com", "DATE": "2026-01-02T03:04:05+0000"}
