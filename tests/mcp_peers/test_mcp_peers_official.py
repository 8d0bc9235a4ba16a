"""The official client makes the same of a published server behind the proxy as of one without."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mcp_peers import PEERS, make_world, proxied
from peer_client import client, started, told
from peer_scripts import masked, script
from peer_web import everything_on, free_port, listening_before

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


async def test_results_are_the_same(name: str, modern: bool, tmp_path: Path) -> None:
    """Of every tool, list, resource and prompt; with a handshake, and as versions are negotiated by themselves."""
    peer, world = PEERS[name], tmp_path / "world"
    mode = "auto" if modern or not peer.modern else "legacy"
    steps = script(name, world)
    without = await told(started(peer.command(make_world(peer, world)), tmp_path), mode, steps)
    command = proxied(tmp_path, name, behind=peer.command(make_world(peer, world)))
    behind = await told(started(command, tmp_path), mode, steps)
    assert _plain(behind) == _plain(without)
    assert without[0].startswith("2026-07-28" if modern else "2025-11-25")


def _plain(heard: list[str]) -> list[bytes]:
    return masked(line.encode() for line in heard)


class TestEverything:
    """server-everything, which has everything that may happen during a call."""

    pytestmark = pytest.mark.timeout(300)  # the first run makes the environments

    async def test_results_over_http(self, tmp_path: Path) -> None:
        """The client is given the proxy's address instead of the server's."""
        steps = script("everything", tmp_path)
        with (
            everything_on(free_port(), tmp_path) as url,
            everything_on(free_port(), tmp_path) as another,
            listening_before(another, tmp_path) as ours,
        ):
            without, behind = await asyncio.gather(told(url, "auto", steps), told(ours, "auto", steps))
        assert _plain(behind) == _plain(without)

    async def test_progress_comes_through(self, tmp_path: Path) -> None:
        """Each step of a long call, in order, before its answer."""
        command = proxied(tmp_path, "everything", behind=PEERS["everything"].command(tmp_path))
        seen: list[float] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(done)

        async with client(started(command, tmp_path), "legacy") as connected:
            slow = {"duration": 0.2, "steps": 4}
            answer = await connected.call_tool(
                "trigger-long-running-operation", slow, progress_callback=progress
            )
            await asyncio.wait_for(_until(lambda: len(seen) == 4), 20)
        assert seen == [1, 2, 3, 4]
        assert not answer.is_error


async def _until(holds: object) -> None:
    assert callable(holds)
    while not holds():
        await asyncio.sleep(0.01)
