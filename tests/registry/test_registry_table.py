"""Every row of the table has its handler, its access, and an answer of its type; and tenants never meet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import ADMIN, AGENT, BOUND, PERSON, ROWS, STRANGER, World

from ascend_guard.api.endpoint import Access
from ascend_guard.api.table import ENDPOINTS, REGISTRY
from ascend_guard.errors import AscendError, AuthorizationDeniedError, ConflictError, NotFoundError
from ascend_guard.server import handlers
from ascend_guard.server.requests.failures import classified

EXAMPLES: dict[str, tuple[dict[str, Any], Any]] = {
    "register_agent": ({}, {"agent_id": "new"}),
    "update_agent": ({"agent_id": "billing"}, {"display_name": "x"}),
    "heartbeat": ({}, {"agent_id": "billing"}),
    "issue_command": ({"agent_id": "billing"}, {"command_type": "BLOCK", "reason": "r"}),
    "broadcast_command": ({}, {"command_type": "BLOCK", "reason": "r"}),
    "register_model": ({}, {"model_id": "new"}),
    "update_model": ({"model_id": "gpt"}, {"compliance_status": "denied"}),
    "register_mcp_server": ({}, {"server_name": "new"}),
    "register_component": (
        {},
        {"component_id": "new", "component_name": "n", "component_type": "tool"},
    ),
    "update_component": ({"component_id": "bert"}, {"risk_level": "low"}),
    "set_agent_dependencies": ({"agent_id": "billing"}, {"component_ids": ["bert"]}),
    "register_topology": ({}, {"orchestrator_agent_id": "chief", "worker_agent_ids": ["a"]}),
    "register_mcp_topology": ({}, {"orchestrator_agent_id": "chief", "mcp_server_ids": ["{server}"]}),
    "cascade_kill": ({"orchestrator_id": "chief"}, {"reason": "r", "confirm": True}),
    "set_output_filter_config": ({}, {"block_severity": "low"}),
    "scan_output": ({}, {"content": "a@b.example.org", "agent_id": "billing", "action_id": "{action}"}),
    "classify_resource": (
        {},
        {"resource_type": "t", "resource_id": "r", "sensitivity_level": "internal"},
    ),
}
PATHS = {
    "agent_id": "billing",
    "model_id": "gpt",
    "server_name": "files",
    "component_id": "bert",
    "session_id": "s",
    "orchestrator_id": "chief",
}
READS = ("GET",)
UNRECORDED = {"heartbeat", "scan_mcp_network"}
"""A heartbeat changes nothing, and what is called a scan only reads."""


def furnished(world: World) -> dict[str, Any]:
    """One of everything of ours; the numbers that paths and bodies need."""
    world.ask("register_agent", ADMIN, {"agent_id": "billing"})
    world.ask("heartbeat", ADMIN, {"agent_id": "billing"})
    world.ask("register_model", ADMIN, {"model_id": "gpt", "compliance_status": "approved"})
    server = world.ask("register_mcp_server", ADMIN, {"server_name": "files"})["server"]["id"]
    component = {"component_id": "bert", "component_name": "b", "component_type": "model"}
    world.ask("register_component", ADMIN, component)
    world.ask("set_agent_dependencies", ADMIN, {"component_ids": ["bert"]}, agent_id="billing")
    world.ask("register_topology", ADMIN, {"orchestrator_agent_id": "chief", "worker_agent_ids": ["w"]})
    command = world.ask(
        "issue_command", ADMIN, {"command_type": "RATE_LIMIT", "reason": "r"}, agent_id="billing"
    )["command"]["command_id"]
    action = world.act(orchestration_session_id="s")
    world.act(parent_action_id=999, orchestration_session_id="t")
    world.ask(
        "scan_output", ADMIN, {"content": "a@b.example.org", "agent_id": "billing", "action_id": action}
    )
    said = {"resource_type": "database", "resource_id": "r", "sensitivity_level": "secret"}
    classification = world.ask("classify_resource", ADMIN, said)["classification"]["id"]
    alert = world.ask("list_alerts", ADMIN)["alerts"][0]["id"]
    return {
        **PATHS,
        "command_id": command,
        "action_id": action,
        "alert_id": alert,
        "classification_id": classification,
        "{server}": server,
        "{action}": action,
    }


def request(name: str, there: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Path and body of a request that ought to go well."""
    path, body = EXAMPLES.get(name, ({}, None))
    path = {part: there[part] for part in re.findall(r"\{(\w+)\}", ROWS[name].path)} | path
    filled = None
    if body is not None:
        filled = {
            key: [there.get(item, item) for item in value]
            if isinstance(value, list)
            else there.get(value, value)
            if isinstance(value, str)
            else value
            for key, value in body.items()
        }
    return path, filled


def test_every_row_has_exactly_one_handler() -> None:
    """And every handler a row; no two rows have the same name, or the same method and path."""
    modules = [module for module in vars(handlers).values() if isinstance(module, ModuleType)]
    names = [name for module in modules for name in getattr(module, "HANDLERS", ())]
    assert Counter(row.name for row in ENDPOINTS) == Counter(names)
    assert len({row.name for row in ENDPOINTS}) == len(ENDPOINTS)
    served = Counter((row.method, path) for row in ENDPOINTS for path in (row.path, *row.aliases))
    assert set(served.values()) == {1}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_answer_is_of_its_rows_type(world: World, name: str) -> None:
    """For a request that goes well; a change leaves an audit record that says who, a question none."""
    there = furnished(world)
    path, body = request(name, there)
    before = len(world.trail())
    answer = world.ask(name, PERSON, body, **path)
    assert isinstance(answer, dict)
    row = ROWS[name]
    msgspec.convert(answer, row.answer)
    assert row.status == (
        201 if name.startswith(("register_", "issue_", "broadcast_")) and "topology" not in name else 200
    )
    after = world.trail()[before:]
    assert bool(after) == (row.method not in READS and name not in UNRECORDED), after
    assert all(record["actor"] == PERSON.name for record in after)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_another_organization_finds_nothing_of_ours(world: World, name: str) -> None:
    """Whatever is asked with our names and numbers: not there, or empty; and nothing of ours is changed."""
    there = furnished(world)
    path, body = request(name, there)
    ours = world.trail()
    records = world.read(lambda reader: [reader.records("ours", kind) for kind in KINDS])
    switches = world.read(lambda reader: dict(reader.kill_switches("ours")))
    try:
        answer = world.ask(name, STRANGER, body, **path)
    except (NotFoundError, AuthorizationDeniedError):
        pass
    else:
        said = str(answer)
        if not body and row_is_a_question(name):
            assert "billing" not in said.replace("'agent_id': 'billing'", "") or name == "list_commands"
            for hidden in ("gpt", "files", "chief", "bert", "b.example.org"):
                assert f"'{hidden}'" not in said, answer
    assert world.trail() == ours
    assert world.read(lambda reader: [reader.records("ours", kind) for kind in KINDS]) == records
    assert world.read(lambda reader: dict(reader.kill_switches("ours"))) == switches


KINDS = (
    *("agent", "heartbeat", "mailbox", "broadcast", "model", "mcp_server", "component", "dependencies"),
    *("topology", "output_filter", "output_scan", "alert", "classification"),
)


def row_is_a_question(name: str) -> bool:
    """Whether it only reads."""
    return ROWS[name].method in READS or name in UNRECORDED


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, Any]]]:
    """A furnished world for guesses, none of which changes it."""
    world = World(tmp_path_factory.mktemp("guesses"))
    yield world, furnished(world)
    world.close()


GUESSED = [
    *(
        "get_agent",
        "get_agent_health",
        "get_model",
        "get_mcp_server",
        "get_component",
        "get_component_impact",
    ),
    *("get_agent_dependencies", "get_orchestration_session", "get_orchestration_session_risk"),
    *("list_action_findings", "acknowledge_command", "acknowledge_alert", "delete_model", "deregister_agent"),
    *("delete_mcp_server", "delete_classification", "cascade_kill", "suspend_agent", "deactivate_mcp_server"),
]


@given(
    name=st.sampled_from(GUESSED),
    guess=st.one_of(st.integers(-3, 60).map(str), st.text(max_size=12), st.just("9" * 40), st.none()),
)
def test_no_guess_tells_whether_another_organization_has_it(
    shared: tuple[World, dict[str, Any]], name: str, guess: str | None
) -> None:
    """What exists elsewhere is refused in the same words as what exists nowhere."""
    world, there = shared
    path, body = request(name, there)
    said = []
    for which in (None, guess):
        tried = {part: value if which is None else which for part, value in path.items()}
        with pytest.raises(AscendError) as refused:
            world.ask(name, STRANGER, body, **tried)
        assert isinstance(refused.value, NotFoundError | AuthorizationDeniedError)
        status, code, detail = classified(refused.value)
        said.append((status, code, re.sub(r"(?s)'.*'|\".*\"|\d+", "X", detail)))
    assert said[0] == said[1]


def test_what_agents_may_not_do_is_for_admins() -> None:
    """Registering for everybody, commands, states and configuration; stopping whole trees is for people."""
    access = {row.name: row.access for row in REGISTRY}
    assert access.pop("cascade_kill") is Access.PERSON_ADMIN
    own = {
        "register_agent",
        "update_agent",
        "deregister_agent",
        "heartbeat",
        "acknowledge_command",
        "scan_output",
    }
    for name, which in access.items():
        reads = ROWS[name].method == "GET" or name == "scan_mcp_network"
        assert which is (Access.CALLER if reads or name in own else Access.ADMIN), name


def test_duplicates_are_conflicts(world: World) -> None:
    """Each says that it already exists; nothing is changed."""
    furnished(world)
    before = world.trail()
    for name, body in (
        ("register_agent", {"agent_id": "billing"}),
        ("register_model", {"model_id": "gpt"}),
        ("register_mcp_server", {"server_name": "files"}),
        ("register_component", {"component_id": "bert", "component_name": "b", "component_type": "tool"}),
    ):
        with pytest.raises(ConflictError, match="already exists"):
            world.ask(name, ADMIN, body)
    assert world.trail() == before


def test_the_trail_stays_whole(world: World) -> None:
    """After one of everything, the audit trail still verifies, actions included."""
    from ascend_guard.engine.audit import verify

    there = furnished(world)
    for name in sorted(ROWS):
        path, body = request(name, there)
        try:
            world.ask(name, PERSON, body, **path)
        except AscendError:
            continue
    report = world.read(lambda reader: verify(reader, world.store.secret))
    assert report.problems == []


def test_reading_is_for_any_caller(world: World) -> None:
    """Servers, components, topologies and stats are read by agents' keys as well."""
    furnished(world)
    for name in ("list_mcp_servers", "list_components", "list_topologies", "get_component_stats"):
        assert world.ask(name, AGENT) == world.ask(name, BOUND) == world.ask(name, ADMIN)
