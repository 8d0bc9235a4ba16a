"""Task-augmented calls, which protocol 2025-11-25 has and mcp 1.30 serves: they pass the same gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp.types as types
import pytest
from ascend_guard_mcp import govern_server
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_connected_server_and_client_session
from mcp_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A database of the test's own."""
    one = World(tmp_path)
    yield one
    one.close()


def working(world: World) -> Server[Any, Any]:
    """A server whose tools go on after the call was answered."""
    server: Server[Any, Any] = Server("shop")
    server.experimental.enable_tasks()

    @server.call_tool(validate_input=False)
    async def call(name: str, arguments: dict[str, Any]) -> types.CreateTaskResult:
        async def work(task: Any) -> types.CallToolResult:
            world.journal.note(name, **arguments)
            return types.CallToolResult(content=[types.TextContent(type="text", text="done")])

        return await server.request_context.experimental.run_task(work)  # type: ignore[no-any-return]

    return govern_server(server, wait=0, control_plane=world.plane)


async def test_a_task_is_asked_about_before_it_begins(world: World) -> None:
    """An allowed one begins, is one action and gives its result; a denied or pending one never begins."""
    async with create_connected_server_and_client_session(working(world)) as session:
        begun = await session.experimental.call_tool_as_task("look", {"order": "a"})
        async for _ in session.experimental.poll_task(begun.task.taskId):
            pass
        result = await session.experimental.get_task_result(begun.task.taskId, types.CallToolResult)
        assert result.content[0].text == "done"  # type: ignore[union-attr]
        for tool, says in (("wipe", "Denied: "), ("pay", "Pending: ")):
            request = types.CallToolRequest(
                params=types.CallToolRequestParams(
                    name=tool, arguments={"order": "b"}, task=types.TaskMetadata(ttl=60_000)
                )
            )
            said = await session.send_request(types.ClientRequest(request), types.CallToolResult)
            assert said.isError
            assert said.content[0].text.startswith(says)  # type: ignore[union-attr]
    assert world.journal.runs() == [{"tool": "look", "order": "a"}]
    assert [row.status for row in world.rows()] == ["approved", "denied", "pending"]
    assert world.rows()[0].outcome == "completed"
