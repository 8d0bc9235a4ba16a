"""What type checkers must say of the two clients. Never run: ``test_client_types`` has them read it.

Every line ending in ``# wrong`` must be an error for both of them, and no other line may be one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, assert_type

from ascend_guard.client.api.answers import ActionPage, ConnectionStatus
from ascend_guard.client.api.clients import AscendClient, AsyncAscendClient
from ascend_guard.model import ActionResult, AgentAction, KillSwitchState


def sync(action: AgentAction) -> None:
    client = AscendClient()
    assert_type(client.submit_action(action), ActionResult)
    assert_type(AscendClient().submit_action(action, idempotency_key="k"), ActionResult)
    assert_type(
        client.evaluate_action("refund", "orders", {"amount": 1}, wait_for_decision=False), ActionResult
    )
    assert_type(
        client.evaluate_mcp_action(mcp_server="fs", namespace="fs", verb="r", resource="/"), ActionResult
    )
    assert_type(client.wait_for_decision("1", timeout_ms=60000, poll_interval=5.0), ActionResult)
    assert_type(client.get_action_status("1"), ActionResult)
    assert_type(client.list_actions(limit=50, offset=0, status="pending"), ActionPage)
    assert_type(client.list_actions().actions, list[ActionResult])
    assert_type(client.iterate_actions(), Iterator[ActionResult])
    assert_type(client.test_connection(), ConnectionStatus)
    assert_type(client.kill_switch_status(), KillSwitchState)
    assert_type(client.get_pending_commands(agent_id="a"), list[dict[str, Any]])
    assert_type(client.ack_command(command_id="c", agent_id="a"), bool)
    assert_type(client.link_model_to_agent(agent_id="a", model_id=42), dict[str, Any])
    assert_type(client.approve_action("1", token="t"), dict[str, Any])
    with AscendClient("ask_0123456789ab", "http://localhost") as entered:
        assert_type(entered, AscendClient)

    client.submit_action()  # wrong: an action is missing
    client.submit_action("refund")  # wrong: no action
    client.submit_action(action, "k")  # wrong: by name only
    client.submit_action(action, key="k")  # wrong: no such parameter
    client.evaluate_action("refund")  # wrong: a resource is missing
    client.evaluate_action("refund", 1)  # wrong: not a string
    client.wait_for_decision("1", timeout="60")  # wrong: no such parameter
    client.approve_action("1")  # wrong: a token is missing
    number: int = client.get_action_status("1")  # wrong: a result
    client.no_such_method()  # wrong: there is none
    print(number)


async def asynchronous(action: AgentAction) -> None:
    client = AsyncAscendClient()
    assert_type(await client.submit_action(action), ActionResult)
    assert_type(await client.evaluate_action("refund", "orders"), ActionResult)
    assert_type(await client.list_actions(), ActionPage)
    assert_type(await client.test_connection(), ConnectionStatus)
    assert_type(client.iterate_actions(), AsyncIterator[ActionResult])
    waiting: Awaitable[ActionResult] = client.submit_action(action, idempotency_key="k")
    async with AsyncAscendClient("ask_0123456789ab") as entered:
        assert_type(entered, AsyncAscendClient)
    await waiting

    await client.submit_action()  # wrong: an action is missing
    await client.submit_action(action, key="k")  # wrong: no such parameter
    wrong: ActionResult = client.submit_action(action)  # wrong: not awaited
    wrong_awaitable: Awaitable[int] = client.submit_action(action)  # wrong: of a result
    with AsyncAscendClient():  # wrong: an asynchronous context manager
        pass
    print(wrong, wrong_awaitable)
