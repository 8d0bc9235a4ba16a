"""Tools that are plain ``@governed``, as both frameworks run them."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_agents import FRAMEWORKS, Run, Tools, World, openai_agents, pydantic_agents

from ascend_guard import AuthorizationDeniedError

both = pytest.mark.parametrize("run", FRAMEWORKS, ids=lambda run: run.__name__)
awaited = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


@both
@awaited
def test_an_allowed_call(world: World, run: Run, awaited: bool) -> None:
    """It runs once, and the model gets its result."""
    ran: list[Any] = []
    end, told = run(Tools(ran, context=False, awaited=awaited), {"order_id": "A", "amount": 5.0})
    assert (end, told) == ("done", ["refunded 5.0 on A"])
    assert ran == [("A", 5.0)]
    assert [row.outcome for row in world.rows()] == ["completed"]


@awaited
def test_a_denied_call_of_openai_agents(world: World, awaited: bool) -> None:
    """The run goes on; the framework makes a text of the exception."""
    ran: list[Any] = []
    end, (told,) = openai_agents(
        Tools(ran, context=False, awaited=awaited), {"order_id": "A", "amount": 500.0}
    )
    assert (end, ran) == ("done", [])
    assert told


@awaited
def test_a_denied_call_of_pydantic_ai(world: World, awaited: bool) -> None:
    """The exception ends the run, which is why ``on_denied="return"`` exists."""
    ran: list[Any] = []
    with pytest.raises(AuthorizationDeniedError, match="Never above 100"):
        pydantic_agents(Tools(ran, context=False, awaited=awaited), {"order_id": "A", "amount": 500.0})
    assert ran == []
