"""Protocol 2026-07-28: a call that waits for a person goes round, and the state that goes along can claim nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp.types as types
import pytest
from ascend_guard_mcp import govern_server
from ascend_guard_mcp.input_rounds import ROUNDS, Round
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.server.lowlevel import Server
from mcp_made_servers import governed, nothing_listed
from mcp_station import connected
from mcp_world import World

SERVERS = ("mcp-2-high", "mcp-2-low", "fastmcp-4")
ARGUMENTS = {"order": "a", "amount": 900}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A database of the test's own."""
    one = World(tmp_path)
    yield one
    one.close()


async def raw(client: Any, arguments: dict[str, Any], state: str | None = None) -> Any:
    """One request of ``pay``, without the client going on by itself."""
    return await client.session.call_tool("pay", arguments, request_state=state, allow_input_required=True)


@pytest.mark.parametrize("kind", SERVERS)
async def test_rounds_end_in_words(kind: str, world: World) -> None:
    """Nobody decides: the client comes back a bounded number of times, fewer than it would, and is told "pending"."""
    async with connected(kind, governed(kind, world, wait=0), "auto") as peer:
        said = await peer.call("pay", ARGUMENTS)
    assert said.failed
    assert said.text.startswith("Pending: ")
    assert len(world.rows()) == 1
    assert ROUNDS < 10


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_answer_between_rounds(kind: str, world: World) -> None:
    """It asks nothing of the user, and the next request goes on with the same action."""
    server = governed(kind, world, wait=0)
    async with Client(server if kind != "fastmcp-4" else server._mcp_server) as client:
        first = await raw(client, ARGUMENTS)
        assert isinstance(first, types.InputRequiredResult)
        assert not first.input_requests
        assert "a" not in json.loads((first.request_state or "").partition(":")[2] or "{}")
        second = await raw(client, ARGUMENTS, first.request_state)
        assert isinstance(second, types.InputRequiredResult)
        (row,) = world.rows()
        world.approve(row, amount=5)
        third = await raw(client, ARGUMENTS, second.request_state)
        assert not third.is_error
    assert world.journal.runs() == [{"tool": "pay", "order": "a", "amount": 5}]
    assert len(world.rows()) == 1


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_state_of_another_call(kind: str, world: World) -> None:
    """Sent along with other arguments, the state of an approved call gains nothing."""
    server = governed(kind, world, wait=0)
    async with Client(server if kind != "fastmcp-4" else server._mcp_server) as client:
        first = await raw(client, ARGUMENTS)
        world.approve(world.rows()[0])
        other = {**ARGUMENTS, "amount": 901}
        if kind == "mcp-2-low":
            assert isinstance(await raw(client, other, first.request_state), types.InputRequiredResult)
            assert world.rows()[1].status == "pending"
        else:  # they have a seal of their own, and refuse it before us
            with pytest.raises(MCPError, match="requestState"):
                await raw(client, other, first.request_state)
    assert world.journal.runs() == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    said=st.one_of(
        st.text(max_size=20),
        st.fixed_dictionaries(
            {},
            optional={
                "round": st.one_of(st.integers(-5, 10**9), st.text(max_size=3), st.none(), st.floats()),
                "requestState": st.one_of(st.text(max_size=5), st.integers(), st.none()),
                "inputResponses": st.one_of(
                    st.text(max_size=5), st.none(), st.dictionaries(st.text(), st.none())
                ),
                "action_id": st.just("1"),
            },
        ).map(json.dumps),
    )
)
def test_forged_states(world: World, said: str) -> None:
    """Whatever a client makes up as our state, an unapproved call does not run."""

    async def attempt() -> None:
        async with Client(governed("mcp-2-low", world, wait=0)) as client:
            await raw(client, ARGUMENTS, f"ascend-guard:{said}")

    asyncio.run(attempt())
    assert world.journal.runs() == []
    assert len(world.rows()) == 1


async def test_a_tools_own_rounds(world: World) -> None:
    """A tool that asks the user goes round as well: it gets its own state and answers back, and never sees ours."""
    seen: list[Any] = []

    async def call(context: Any, params: Any) -> Any:
        sent = (context.params or {}).get("requestState")
        seen.append((params.request_state, sent, params.input_responses is not None, params.arguments))
        if params.request_state is None:
            form = types.ElicitRequestFormParams(
                message="Sure?",
                requested_schema={"type": "object", "properties": {"yes": {"type": "boolean"}}},
            )
            return types.InputRequiredResult(
                input_requests={"sure": types.ElicitRequest(params=form)}, request_state="the tool's"
            )
        return types.CallToolResult(content=[types.TextContent(type="text", text="done")])

    async def answer(context: ClientRequestContext, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"yes": True})

    bare: Server[Any] = Server("shop", on_list_tools=nothing_listed, on_call_tool=call)
    server = govern_server(bare, wait=0.1, control_plane=world.plane)

    async def approve_all() -> None:
        for number in (0, 1):
            row = await asyncio.to_thread(world.until, lambda number=number: world.rows()[number:])
            await asyncio.sleep(0.3)  # some rounds of ours before each of the tool's
            world.approve(row[0])

    async with Client(server, elicitation_callback=answer) as client:
        approving = asyncio.create_task(approve_all())
        result = await client.call_tool("pay", ARGUMENTS)
        await approving
    assert result.content[0].text == "done"  # type: ignore[union-attr]
    assert seen == [(None, None, False, ARGUMENTS), ("the tool's", "the tool's", True, ARGUMENTS)]
    assert [row.outcome for row in world.rows()] == ["completed", "completed"]


def test_a_round_that_is_not_ours() -> None:
    """Another's state is left alone; ours counts, and keeps what came along."""
    other = Round({"requestState": "theirs"})
    assert (other.ours, other.number, other.fields) == (False, 0, {"requestState": "theirs"})
    for number in (1e400, float("nan"), None, "2"):
        assert Round({"requestState": "ascend-guard:" + json.dumps({"round": number})}).number == ROUNDS
    nothing = Round({})
    assert (nothing.ours, nothing.fields) == (False, {})
