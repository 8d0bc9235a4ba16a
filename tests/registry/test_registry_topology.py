"""Who works for whom, what sessions did, and stopping them all at once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import ADMIN, AGENT, BOUND, PERSON, STRANGER, World, shared, two_organizations

from ascend_guard.engine.kill import pull, stopped
from ascend_guard.engine.registry import topology
from ascend_guard.errors import NotFoundError, ValidationError

NODES = [f"n{index}" for index in range(7)]
GRAPHS = st.dictionaries(
    st.sampled_from(NODES), st.lists(st.sampled_from(NODES), min_size=1, max_size=5, unique=True), max_size=7
)


def reachable(graph: dict[str, list[str]], start: str) -> set[str]:
    """Everybody below, by the plainest of ways: grow the set until it grows no more."""
    found = {start}
    while True:
        more = {worker for name in found for worker in graph.get(name, [])} | found
        if more == found:
            return found
        found = more


@given(graph=GRAPHS, start=st.sampled_from(NODES), before=st.sampled_from(NODES))
def test_a_cascade_stops_all_below_and_nobody_else(
    graph: dict[str, list[str]], start: str, before: str
) -> None:
    """For any graph, cycles included: exactly who can be reached, in this organization, each once."""
    graph = {
        name: [worker for worker in workers if worker != name]
        for name, workers in graph.items()
        if set(workers) != {name}
    }
    world, names = shared(), two_organizations()
    ours, theirs = names.values()
    person = msgspec.structs.replace(PERSON, organization=ours)
    for name, workers in graph.items():
        for organization in names.values():
            world.write(
                lambda tx, of=organization, name=name, workers=workers: topology.register(
                    tx, of, name, workers, "ann"
                )
            )
    world.write(lambda tx: pull(tx, ours, before, "earlier", "bob"))
    if start not in graph:
        with pytest.raises(NotFoundError):
            world.ask("cascade_kill", person, {"reason": "r", "confirm": True}, orchestrator_id=start)
        return
    events = world.events(ours)
    dry = world.ask("cascade_kill", person, {"reason": "r"}, orchestrator_id=start)
    assert world.events(ours) == events
    done = world.ask("cascade_kill", person, {"reason": "r", "confirm": True}, orchestrator_id=start)
    assert (dry["dry_run"], done["dry_run"]) == (True, False)
    assert dry["agents"] == done["agents"]
    assert dry["agents"][0] == start
    assert len(set(dry["agents"])) == len(dry["agents"])
    expected = reachable(graph, start)
    assert set(dry["agents"]) == expected
    assert dry["already_stopped"] == [name for name in dry["agents"] if name == before]
    for name in NODES:
        switch = world.read(lambda reader, name=name: stopped(reader, ours, name))
        assert (switch is not None) == (name in expected | {before})
        if switch is not None:
            assert switch.reason == ("earlier" if name == before else "r")
    assert world.read(lambda reader: reader.kill_switches(theirs)) == {}
    assert world.events(ours)[-1] == "CASCADE_KILL"


def test_a_cascade_deactivates_the_servers_below(world: World) -> None:
    """MCP servers that work for anybody in the tree are refused from then on; others are not touched."""
    numbers = [
        world.ask("register_mcp_server", ADMIN, {"server_name": name})["server"]["id"]
        for name in ("below", "beside")
    ]
    world.ask("register_topology", ADMIN, {"orchestrator_agent_id": "chief", "worker_agent_ids": ["worker"]})
    said = world.ask(
        "register_mcp_topology",
        ADMIN,
        {"orchestrator_agent_id": "worker", "mcp_server_ids": numbers[:1]},
    )
    assert said["mcp_server_ids"] == numbers[:1]
    dry = world.ask("cascade_kill", PERSON, {"reason": "r"}, orchestrator_id="chief")
    assert (dry["mcp_servers"], dry["total"]) == (["below"], 3)
    world.ask("cascade_kill", PERSON, {"reason": "r", "confirm": True}, orchestrator_id="chief")
    there = {one["server_name"]: one["is_active"] for one in world.ask("list_mcp_servers", AGENT)["servers"]}
    assert there == {"below": False, "beside": True}


def test_a_topology_that_cannot_be(world: World) -> None:
    """Nobody works for themselves, is named twice, or is a server that is not the organization's."""
    for workers in (["a", "a"], ["chief"]):
        with pytest.raises(ValidationError):
            world.ask(
                "register_topology", ADMIN, {"orchestrator_agent_id": "chief", "worker_agent_ids": workers}
            )
    foreign = world.ask("register_mcp_server", STRANGER, {"server_name": "m"})["server"]["id"]
    said = []
    for number in (foreign, 999_999):
        with pytest.raises(NotFoundError) as refused:
            world.ask(
                "register_mcp_topology",
                ADMIN,
                {"orchestrator_agent_id": "chief", "mcp_server_ids": [number]},
            )
        said.append(str(refused.value).replace(str(number), "N"))
    assert said[0] == said[1]
    assert world.events() == []
    assert world.ask("list_topologies", AGENT)["topologies"] == []


def test_workers_and_servers_are_set_apart_from_each_other(world: World) -> None:
    """Saying the one leaves the other; saying it again replaces it."""
    number = world.ask("register_mcp_server", ADMIN, {"server_name": "m"})["server"]["id"]
    chief = {"orchestrator_agent_id": "chief"}
    world.ask("register_topology", ADMIN, chief | {"worker_agent_ids": ["a", "b"]})
    world.ask("register_mcp_topology", ADMIN, chief | {"mcp_server_ids": [number]})
    said = world.ask("register_topology", ADMIN, chief | {"worker_agent_ids": ["c"]})
    assert (said["worker_agent_ids"], said["mcp_server_ids"]) == (["c"], [number])
    assert world.ask("list_topologies", AGENT)["total"] == 1


def test_a_session_is_what_its_actions_are(world: World) -> None:
    """Its story, its risk and the numbers come from the stored actions, of this organization and session only."""
    session = {"orchestration_session_id": "s"}
    root = world.act(agent_id="billing", **session)
    first = world.act(agent_id="worker", parent_action_id=root, orchestration_depth=1, **session)
    denied = world.act(
        agent_id="worker",
        action_type="file_delete",
        parent_action_id=root,
        orchestration_depth=1,
        **session,
    )
    world.act(agent_id="billing", orchestration_session_id="another")
    world.act(agent_id="billing")
    world.act("theirs", agent_id="billing", **session)
    said = world.ask("get_orchestration_session", AGENT, session_id="s")
    assert [action["id"] for action in said["actions"]] == [root, first, denied]
    assert (said["action_count"], said["agent_count"], said["denied_count"]) == (3, 2, 1)
    assert (said["max_depth"], said["complete"]) == (1, True)
    assert said["actions"][1]["parent_action_id"] == root
    risk = world.ask("get_orchestration_session_risk", AGENT, session_id="s")
    ran = [action["risk_score"] for action in said["actions"] if action["status"] != "denied"]
    assert risk["risk_score"] == max(ran)
    assert risk["cumulative_risk_score"] == min(100, round(sum(ran), 1))
    assert risk["average_risk_score"] == round(sum(ran) / 2, 1)
    assert risk["by_agent"] == {"billing": ran[0], "worker": ran[1]}
    stats = world.ask("get_orchestration_stats", AGENT)
    assert (stats["total_sessions"], stats["total_actions"], stats["denied_actions"]) == (2, 4, 1)
    assert world.ask("get_orchestration_stats", BOUND)["total_actions"] == 2


def test_a_session_of_others_is_not_there(world: World) -> None:
    """Not another organization's, nor, for a key made for an agent, one that its agent takes no part in."""
    world.act(agent_id="worker", orchestration_session_id="s")
    for caller, session in ((STRANGER, "s"), (BOUND, "s"), (AGENT, "none")):
        for name in ("get_orchestration_session", "get_orchestration_session_risk"):
            with pytest.raises(NotFoundError, match="There is no orchestration session"):
                world.ask(name, caller, session_id=session)


def test_a_session_among_many_actions(world: World) -> None:
    """Further back than one page of actions, and longer than one: none is left out of the count or counted twice."""
    world.act(orchestration_session_id="old")
    for _ in range(1100):
        world.act(orchestration_session_id="long")
    assert world.ask("get_orchestration_session", AGENT, session_id="old")["action_count"] == 1
    said = world.ask("get_orchestration_session", AGENT, session_id="long")
    assert (said["action_count"], len(said["actions"]), said["complete"]) == (1100, 1000, False)
    numbers = [action["id"] for action in said["actions"]]
    assert numbers == sorted(numbers)


def test_a_risky_session_of_denied_actions_only(world: World) -> None:
    """What did not run puts nothing at stake."""
    world.act(action_type="file_delete", orchestration_session_id="s")
    risk = world.ask("get_orchestration_session_risk", AGENT, session_id="s")
    assert (risk["risk_score"], risk["risk_level"], risk["average_risk_score"]) == (0, "low", 0)
    assert risk["denied_count"] == 1
