"""Published servers behind the proxy: big answers, many calls at once, broken connections, secrets, shorter lists."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from mcp_peers import ALLOWED, PEERS, make_world, proxied, surroundings
from peer_client import client, started
from peer_deeds import HELD, Station
from peer_lines import PATIENCE, Lines, Step, ask, call
from peer_scripts import LEGACY, WHO
from peer_web import everything_on, free_port, listening_before
from world import eventually

from ascend_guard.store.sqlite.store import SQLiteStore

pytestmark = pytest.mark.timeout(300)  # the first run makes the environments

HELLO = [
    ask("initialize", protocolVersion=LEGACY, capabilities={}, clientInfo=WHO),
    Step("notify", "notifications/initialized"),
]


def test_a_big_answer_and_a_big_call(tmp_path: Path) -> None:
    """Megabytes on one line come through to the byte, and a call with as much as may be decided on runs."""
    peer, world = PEERS["filesystem"], tmp_path / "world"
    read, written = "größer\n" * 500_000, "Größe\n" * 100_000
    steps = [
        *HELLO,
        call("write_file", path=str(world / "written.txt"), content=written),
        call("read_text_file", path=str(world / "read.txt")),
    ]

    def play(*, proxy: bool) -> list[bytes]:
        command = peer.command(make_world(peer, world))
        (world / "read.txt").write_text(read)
        lines = Lines(
            proxied(tmp_path, "files", behind=command) if proxy else command, surroundings(), tmp_path
        )
        said = lines.play(steps)
        lines.close(kill=not proxy)
        assert (world / "written.txt").read_text() == written
        return said

    without, behind = play(proxy=False), play(proxy=True)
    assert behind == without
    assert len(without[-1]) > 4_000_000


async def test_many_calls_at_once(tmp_path: Path) -> None:
    """Each gets its own answer, and the slow ones hold nobody up."""
    command = proxied(tmp_path, "everything", behind=PEERS["everything"].command(tmp_path))
    async with client(started(command, tmp_path), "legacy") as connected:

        async def echo(number: int) -> str:
            answer = await connected.call_tool("echo", {"message": f"number {number}"})
            return str(answer.content[0].text)  # type: ignore[union-attr]

        slow = {"duration": 30, "steps": 1}
        waiting = asyncio.create_task(connected.call_tool("trigger-long-running-operation", slow))
        assert await asyncio.gather(*map(echo, range(100))) == [f"Echo: number {n}" for n in range(100)]
        assert not waiting.done()
        waiting.cancel()


def test_a_server_sees_nothing_of_what_configures_the_proxy(tmp_path: Path) -> None:
    """A tool that shows its environment would show the control plane's own database and keys."""
    secrets = {
        "ASCEND_DATABASE_URL": "sqlite:////hidden/1.db",
        "ASCEND_MCP_HEADER_1": "hidden",
        "OWKAI_KEY": "hidden",
    }
    command = proxied(tmp_path, "everything", behind=PEERS["everything"].command(tmp_path))
    lines = Lines(command, {**surroundings(), **secrets, "MINE": "shown"}, tmp_path)
    said = lines.play([*HELLO, call("get-env")])
    lines.close()
    assert b"shown" in said[-1]
    assert b"hidden" not in said[-1]


def test_tools_that_are_always_denied_are_not_listed(tmp_path: Path) -> None:
    """With ``--hide``; the others are listed as the server lists them."""
    policy = ALLOWED.replace(
        "rules:", "rules:\n  - {name: writes, actions: [files.write_file], effect: deny}"
    )
    command = PEERS["filesystem"].command(tmp_path)
    lists = []
    for started_by in (command, proxied(tmp_path, "files", "--hide", behind=command, policy=policy)):
        lines = Lines(started_by, surroundings(), tmp_path)
        answer = json.loads(lines.play([*HELLO, ask("tools/list")])[-1])
        lists.append(answer["result"]["tools"])
        lines.close(kill=True)
    assert lists[1] == [tool for tool in lists[0] if tool["name"] != "write_file"]
    assert len(lists[1]) == len(lists[0]) - 1


def test_a_call_that_nobody_decides_in_time_is_taken_up_later(tmp_path: Path) -> None:
    """It answers that it is pending; made again after the approval it runs, once."""
    with start_blocking_portal() as portal:
        station = Station("filesystem", tmp_path, portal, "--wait", "0.1")
        try:
            said = station.do(HELD)
            assert said.failed
            assert "same arguments" in said.text
            station.plane.approve(str(station.pending().id), approver="ann")
            assert not station.left(HELD)
            assert not station.do(HELD).failed
            assert station.left(HELD)
            assert station.do(HELD).failed
        finally:
            station.close()


def test_an_answer_is_fetched_after_its_connection_broke(tmp_path: Path) -> None:
    """Over HTTP: the stream is left after its first event and resumed by that event's id; the outcome is on record."""
    slow = {"name": "trigger-long-running-operation", "arguments": {"duration": 0.5, "steps": 1}}
    with (
        everything_on(free_port(), tmp_path) as url,
        listening_before(url, tmp_path) as ours,
        httpx.Client(timeout=PATIENCE, trust_env=False) as http,
    ):
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": LEGACY}
        opened = http.post(ours, json=_message(HELLO[0], id=1), headers=headers)
        headers["mcp-session-id"] = opened.headers["mcp-session-id"]
        http.post(ours, json=_message(HELLO[1]), headers=headers)
        asked = _message(Step("request", "tools/call", slow), id=2)
        with http.stream("POST", ours, json=asked, headers=headers) as answer:
            first = next(line for line in answer.iter_lines() if line.startswith("id: "))
        headers |= {"accept": "text/event-stream", "last-event-id": first.removeprefix("id: ")}

        def fetch() -> str | None:
            # This server gives what it has by then, and what comes later to nobody.
            try:
                with http.stream("GET", ours, headers=headers, timeout=1) as answer:
                    return next(line for line in answer.iter_lines() if '"id":2' in line)
            except httpx.ReadTimeout:
                return None

        assert "completed. Duration: 0.5 seconds" in eventually(fetch, PATIENCE)
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    try:
        (row,) = store.read(lambda reader: list(reader.actions("local")))
        assert row.outcome == "completed"
    finally:
        store.close()


def _message(step: Step, **more: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": step.method, "params": step.params or {}, **more}
