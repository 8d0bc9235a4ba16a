"""The official client, told by the same scripts what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp_peers import surroundings
from peer_lines import ANSWERS, Step


def started(command: Sequence[str], folder: Path) -> StdioServerParameters:
    """A server that the client starts."""
    return StdioServerParameters(command=command[0], args=list(command[1:]), env=surroundings(), cwd=folder)


def client(target: StdioServerParameters | str, mode: str) -> Client:
    """A client that can do everything a server may ask for."""

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate(ANSWERS["roots/list"])

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        return types.CreateMessageResult.model_validate(ANSWERS["sampling/createMessage"])

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult.model_validate(ANSWERS["elicitation/create"])

    return Client(
        target,
        mode=mode,
        list_roots_callback=roots,
        sampling_callback=sample,
        elicitation_callback=elicit,
        read_timeout_seconds=40,
    )


async def told(target: StdioServerParameters | str, mode: str, steps: Sequence[Step]) -> list[str]:
    """What the client makes of each answer, in the order of the steps; and of the server itself, first."""
    async with client(target, mode) as connected:
        heard = [f"{connected.protocol_version} {connected.server_info} {connected.server_capabilities}"]
        for step in steps:
            if (do := _DOES.get(step.method)) is not None and not _ADDED & set(step.params or {}):
                answer = await _answer(do(connected, dict(step.params or {})))
                heard.append(f"{step.method}: {answer}")
        return heard


async def _answer(asked: Awaitable[Any]) -> str:
    try:
        answer = await asked
    except MCPError as error:
        return f"{error.code} {error} {error.data}"
    except RuntimeError as error:  # the client's own check of structured results
        return repr(error)
    text: str = answer.model_dump_json()
    return text


_ADDED = {"task", "_meta", "cursor"}
_DOES: dict[str, Callable[[Client, dict[str, Any]], Awaitable[Any]]] = {
    "ping": lambda client, params: client.send_ping(),
    "tools/list": lambda client, params: client.list_tools(),
    "tools/call": lambda client, params: client.call_tool(**params),
    "resources/list": lambda client, params: client.list_resources(),
    "resources/templates/list": lambda client, params: client.list_resource_templates(),
    "resources/read": lambda client, params: client.read_resource(**params),
    "resources/subscribe": lambda client, params: client.subscribe_resource(**params),
    "resources/unsubscribe": lambda client, params: client.unsubscribe_resource(**params),
    "prompts/list": lambda client, params: client.list_prompts(),
    "prompts/get": lambda client, params: client.get_prompt(**params),
}
