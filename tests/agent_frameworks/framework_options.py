"""``exclude`` and ``on_denied="return"``: the framework's context stays out, and the model learns why a call was denied."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from agents import RunContextWrapper
from agents.tool_context import ToolContext
from pydantic_ai import RunContext
from recorded import every_record
from scripted_agents import COMMANDS, FRAMEWORKS, Run, Tools, World

from ascend_guard.callables.exclusion import is_context

both = pytest.mark.parametrize("run", FRAMEWORKS, ids=lambda run: run.__name__)
awaited = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
left_out = pytest.mark.parametrize("options", [{"exclude": ("ctx",)}, {}], ids=["exclude", "recognised"])


@both
@awaited
@left_out
def test_the_context_is_passed_and_nothing_else(
    world: World, run: Run, awaited: bool, options: dict[str, Any]
) -> None:
    """The tool gets it; it is neither judged nor stored, and the call can be told from another by its arguments."""
    ran: list[Any] = []
    tools = Tools(ran, context=True, awaited=awaited, **options)
    end, told = run(tools, {"order_id": "A", "amount": 5.0})
    assert (end, told) == ("done", ["refunded 5.0 on A"])
    assert ran == [("A", 5.0)]
    (row,) = world.rows()
    assert world.asked(row).action_details == {"order_id": "A", "amount": 5.0}
    trail = world.plane.read(lambda reader: [record.body for record in every_record(reader)])
    assert not any(b"secret-of-the-conversation" in body for body in trail)


@both
@awaited
@left_out
def test_a_denied_call_tells_the_model_and_the_run_goes_on(
    world: World, run: Run, awaited: bool, options: dict[str, Any]
) -> None:
    """The reason reaches the model as the tool's result, without a command that approves; nothing ran."""
    ran: list[Any] = []
    tools = Tools(ran, context=True, awaited=awaited, on_denied="return", **options)
    end, (told,) = run(tools, {"order_id": "A", "amount": 500.0})
    assert (end, ran) == ("done", [])
    assert "Never above 100" in told
    assert not any(command in told for command in COMMANDS)
    assert [row.status for row in world.rows()] == ["denied"]


def test_the_very_types_are_recognised() -> None:
    """Tools are given classes derived from some of them."""
    assert is_context(RunContextWrapper)
    assert is_context(ToolContext)
    assert is_context(RunContext)


@both
@awaited
def test_a_stopped_call_tells_the_model(world: World, run: Run, awaited: bool) -> None:
    """While the kill switch is on, the text says that it is."""
    ran: list[Any] = []
    world.plane.kill(reason="fire drill", by="ann")
    tools = Tools(ran, context=False, awaited=awaited, on_denied="return")
    end, (told,) = run(tools, {"order_id": "A", "amount": 5.0})
    assert (end, ran) == ("done", [])
    assert "fire drill" in told
    assert not any(command in told for command in COMMANDS)


def deciding(world: World, before: Callable[[], None]) -> threading.Thread:
    """A person who approves the call that waits, after ``before``."""

    def decide() -> None:
        while not (waiting := world.plane.pending()):
            time.sleep(0.001)
        before()
        world.plane.approve(str(waiting[0].id), approver="ann")

    person = threading.Thread(target=decide)
    person.start()
    return person


@both
@awaited
@left_out
def test_a_context_that_changes_while_a_person_decides(
    world: World, run: Run, awaited: bool, options: dict[str, Any]
) -> None:
    """The framework goes on with its own objects meanwhile; the call that was approved runs."""
    ran: list[Any] = []
    contexts: list[Any] = []
    tools = Tools(ran, context=True, awaited=awaited, contexts=contexts, timeout=30, **options)

    def change() -> None:
        tools.state["secret-of-the-conversation"] = 2
        tools.state["more"] = object()

    person = deciding(world, change)
    end, told = run(tools, {"order_id": "ask", "amount": 5.0})
    person.join()
    assert (end, told, ran) == ("done", ["refunded 5.0 on ask"], [("ask", 5.0)])
    assert [sorted(state) for state in contexts] == [["more", "secret-of-the-conversation"]]
    (row,) = world.rows()
    assert (row.decided_by, row.outcome) == ("ann", "completed")
    assert world.asked(row).action_details == {"order_id": "ask", "amount": 5.0}
