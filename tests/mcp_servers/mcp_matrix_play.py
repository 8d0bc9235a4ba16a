"""Play one row of the matrix: a call, what a person does meanwhile, and what must have come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_matrix import Scenario
from mcp_station import Station
from stopping_plane import names_no_command


def play(station: Station, scenario: Scenario, record: Callable[[str, Any], None]) -> None:
    """Exactly one action is asked about, and the body runs exactly when allowed, with exactly what was judged."""
    world, order = station.world, station.world.order()
    edited = {"amount": 7} if scenario.name == "approve edited" else {}
    before = len(world.rows())
    try:
        answer = station.begin(scenario.tool, {"order": order, "amount": 900})
        if scenario.name.startswith("approve"):
            world.approve(world.waiting(order), **edited)
        elif scenario.name == "refuse":
            world.plane.deny(str(world.waiting(order).id), approver="ann", comment="Not this one.")
        elif scenario.name == "kill":
            world.waiting(order)
            world.plane.kill(reason="An exercise.", by="ann")
        said = answer.result(10)
    finally:
        if scenario.name == "kill":
            world.plane.release(reason="The exercise is over.", by="ann")
    runs = world.journal.of(order)
    if runs:
        world.until(lambda: world.rows()[-1].outcome)  # another process writes it in its own time
    asked = world.rows()[before:]
    record(
        "matrix",
        {
            "kind": station.kind,
            "mode": station.mode,
            "transport": station.transport,
            "scenario": scenario.name,
            "gates": len(asked),
            "runs": len(runs),
        },
    )
    assert said.failed is (scenario.runs == 0), said
    assert said.text.startswith(scenario.says), said
    assert ("A person changed this call" in said.text) is bool(edited)
    assert names_no_command(said.text)
    amount = edited.get("amount", 900)
    assert runs == [{"tool": scenario.tool, "order": order, "amount": amount}] * scenario.runs
    (row,) = asked
    action = world.asked(row)
    assert (row.status, row.outcome) == (scenario.decision, "completed" if scenario.runs else row.outcome)
    assert (action.action_type, action.tool_name) == (f"shop.{scenario.tool}", scenario.tool)
    assert action.mcp_server_name == "shop"
    assert {key: action.context[key] for key in ("namespace", "verb")} == {
        "namespace": "shop",
        "verb": scenario.tool,
    }
    assert action.context["mcp_client"]
    assert action.action_details == {"order": order, "amount": 900}
    assert (action.session_id is not None) is (station.transport == "http" and station.mode == "legacy")
