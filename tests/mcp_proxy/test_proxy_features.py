"""The official client through the proxy: everything passes, in every version it speaks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from feature_server import Shop, shop_by_http
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CreateMessageResult, ElicitResult, TextContent
from proxy_world import Desk, Proxy

FEATURES = str(Path(__file__).with_name("feature_server.py"))


async def sample(*_: Any) -> CreateMessageResult:
    """The client's model."""
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="fine"), model="m")


async def elicit(*_: Any) -> ElicitResult:
    """The user."""
    return ElicitResult(action="accept", content={"ok": True})


def by_stdio(desk: Desk, *options: str, server: list[str]) -> Any:
    """The client's way to a proxy on standard input and output."""
    command = desk.command(*options, server=server)
    return stdio_client(StdioServerParameters(command=command[0], args=command[1:], env=desk.environment))


@pytest.fixture(scope="module")
def shop() -> Iterator[tuple[Shop, str]]:
    """A server by URL."""
    with shop_by_http() as served:
        yield served


@pytest.fixture(params=["command", "url", "listen"])
def way(request: Any, desk: Desk, start: Callable[..., Proxy], shop: tuple[Shop, str]) -> Any:
    """What the client connects to: each kind of proxy in front of the same server."""
    if request.param == "command":
        return by_stdio(desk, server=[sys.executable, FEATURES])
    server, url = shop
    server.done.clear()
    if request.param == "url":
        return by_stdio(desk, "--url", url, server=[])
    return start("--url", url, "--listen", "127.0.0.1:0", server=[]).address()


def text(result: Any) -> str:
    """Of a tool's result."""
    return " ".join(part.text for part in result.content)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_feature_passes(desk: Desk, way: Any, mode: Any) -> None:
    """Tools, resources, prompts, progress, and what the server asks of the client."""
    seen: list[float] = []

    async def progressed(progress: float, *_: Any) -> None:
        seen.append(progress)

    async with Client(way, mode=mode, sampling_callback=sample, elicitation_callback=elicit) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"refund", "drop_table"} <= tools
        stock = await client.read_resource("shop://stock")
        assert stock.contents[0].text == "7 chairs"
        assert (await client.list_resources()).resources[0].uri == "shop://stock"
        prompt = await client.get_prompt("greeting", {"name": "Ann"})
        assert prompt.messages[0].content.text == "Hello Ann"
        assert text(await client.call_tool("get_progress", {}, progress_callback=progressed)) == "done"
        assert seen == [1, 2, 3]
        if mode == "legacy":
            assert text(await client.call_tool("get_opinion", {})) == "fine"
            assert text(await client.call_tool("get_consent", {})) == "accept"
        failed = await client.call_tool("fails", {})
        assert failed.is_error


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_decision(desk: Desk, way: Any, mode: Any) -> None:
    """Allowed, denied, approved, edited, denied by a person, killed."""
    async with Client(way, mode=mode) as client:
        await client.list_tools()
        assert text(await client.call_tool("refund", {"amount": 5, "to": "ann"})) == "5 to ann"
        denied = await client.call_tool("drop_table", {"table": "orders"})
        assert denied.is_error
        assert "Drops are off." in text(denied)

        async def decided(decide: Callable[[str], Any], amount: int = 500) -> Any:
            call = asyncio.create_task(client.call_tool("refund", {"amount": amount, "to": "bob ✓"}))
            row = await asyncio.to_thread(desk.pending)
            await asyncio.to_thread(decide, str(row.id))
            return await call

        plane = desk.plane
        assert text(await decided(lambda id_: plane.approve(id_, approver="ann"))) == "500 to bob ✓"
        edits = {"amount": 300, "to": "eve"}
        edited = await decided(lambda id_: plane.approve(id_, approver="ann", arguments=edits))
        own, note = edited.content
        assert own.text == "300 to eve"
        assert '"amount" from 500 to 300, "to" from "bob ✓" to "eve"' in note.text
        assert (await decided(lambda id_: plane.deny(id_, approver="ann"))).is_error
        # Another call, for the denial answers the same one.
        killed = await decided(lambda id_: plane.kill(reason="fire drill", by="ann"), 501)
        assert "fire drill" in text(killed)
    desk.settled(3)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_gives_up_ends_the_wait(desk: Desk, way: Any, mode: Any) -> None:
    """Approved afterwards, nothing runs; the connection goes on."""
    async with Client(way, mode=mode) as client:
        call = asyncio.create_task(client.call_tool("refund", {"amount": 500}))
        row = await asyncio.to_thread(desk.pending)
        call.cancel()
        await asyncio.wait((call,))
        await asyncio.to_thread(desk.unattended, row.id)
        desk.plane.approve(str(row.id), approver="ann")
        assert text(await client.call_tool("refund", {"amount": 1})) == "1 to ann"
    assert [row.outcome for row in desk.settled()] == ["completed", None]
