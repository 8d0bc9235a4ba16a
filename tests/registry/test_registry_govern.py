"""The registry and what it lets through, against plain dictionaries."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from registry_world import World, shared, two_organizations

from ascend_guard.engine.registry import agents, mcp_servers
from ascend_guard.engine.registry.admission import Governance, GovernanceViolation, govern, record_violation
from ascend_guard.engine.registry.agents import AGENTS, Agent, AgentStatus
from ascend_guard.engine.registry.mcp_servers import MCP_SERVERS, McpServer
from ascend_guard.engine.registry.models import MODELS, ComplianceStatus, Model
from ascend_guard.errors import AscendError, AuthorizationDeniedError, ConflictError, NotFoundError
from ascend_guard.model import AgentAction
from ascend_guard.server.requests.failures import classified

ORGANIZATIONS = st.sampled_from(["ours", "theirs"])
_OTHER = {"ours": "theirs", "theirs": "ours"}
NAMES = st.sampled_from(["a", "A", "b", "7"])
TOOLS = ("read", "drop", "db.drop", "db__drop", "dropped", "")
COMPLIANCE = st.sampled_from(list(ComplianceStatus))
STATUS = st.sampled_from(list(AgentStatus))


class Registry(RuleBasedStateMachine):
    """Two organizations register the same names; each sees its own only."""

    @initialize()
    def begin(self) -> None:
        self.world = shared()
        self.names = two_organizations()
        self.agents: dict[tuple[str, str], dict[str, Any]] = {}
        self.servers: dict[tuple[str, str], dict[str, Any]] = {}
        self.models: dict[tuple[str, str], dict[str, Any]] = {}
        self.told: list[str] = []

    def do(self, expected: type[AscendError] | None, work: Any) -> Any:
        """Change something, or fail as the dictionaries say it must."""
        if expected is None:
            return self.world.write(work)
        before = [self.world.events(name) for name in self.names.values()]
        with pytest.raises(expected):
            self.world.write(work)
        assert [self.world.events(name) for name in self.names.values()] == before
        return None

    # --- agents ----------------------------------------------------------------------------------------------------

    @rule(organization=ORGANIZATIONS, name=NAMES)
    def register_agent(self, organization: str, name: str) -> None:
        key = (organization, name)
        expected = ConflictError if key in self.agents else None
        entry = self.do(
            expected,
            lambda tx: AGENTS.register(tx, self.names[organization], name, Agent(display_name=name), "ann"),
        )
        if entry is not None:
            self.agents[key] = {"status": AgentStatus.ACTIVE, "model": None}
            assert (entry.name, entry.value.registered_by) == (name, "ann")

    @rule(organization=ORGANIZATIONS, name=NAMES, status=STATUS)
    def set_status(self, organization: str, name: str, status: AgentStatus) -> None:
        agent = self.agents.get((organization, name))
        self.do(
            None if agent else NotFoundError,
            lambda tx: agents.set_status(tx, self.names[organization], name, status, "why", "ann"),
        )
        if agent:
            agent["status"] = status

    @rule(organization=ORGANIZATIONS, name=NAMES, model=NAMES, by_number=st.booleans())
    def link_model(self, organization: str, name: str, model: str, by_number: bool) -> None:
        agent = self.agents.get((organization, name))
        # A number of the other organization's model is none here, or that of another model.
        anywhere = self.models.get((organization, model)) or self.models.get((_OTHER[organization], model))
        which: int | str = anywhere["number"] if by_number and anywhere else model
        known = self.model(organization, which)[1]
        expected: type[AscendError] | None = None
        if agent is None or known is None:
            expected = NotFoundError
        elif known["status"] not in ("approved", "partially_approved"):
            expected = AuthorizationDeniedError
        self.do(expected, lambda tx: agents.link_model(tx, self.names[organization], name, which, "ann"))
        if expected is None:
            assert agent is not None
            assert known is not None
            agent["model"] = known["number"]

    @rule(organization=ORGANIZATIONS, name=NAMES, admin=st.booleans())
    def remove_agent(self, organization: str, name: str, admin: bool) -> None:
        agent = self.agents.get((organization, name))
        expected: type[AscendError] | None = None
        if agent is None:
            expected = NotFoundError
        elif not admin and (agent["status"] is not AgentStatus.ACTIVE or agent["model"] is not None):
            expected = AuthorizationDeniedError
        self.do(expected, lambda tx: agents.remove(tx, self.names[organization], name, "ann", admin=admin))
        if expected is None:
            del self.agents[organization, name]

    # --- servers ---------------------------------------------------------------------------------------------------

    @rule(
        organization=ORGANIZATIONS,
        name=NAMES,
        blocked=st.lists(st.just("drop"), max_size=1),
        on=st.booleans(),
    )
    def register_server(self, organization: str, name: str, blocked: list[str], on: bool) -> None:
        key = (organization, name)
        server = McpServer(
            name,
            blocked_tools=blocked,
            governance_enabled=on,
            auto_approve_tools=["read"],
            tool_risk_overrides={"drop": 90, "read": 10},
        )
        expected = ConflictError if key in self.servers else None
        self.do(expected, lambda tx: MCP_SERVERS.register(tx, self.names[organization], name, server, "ann"))
        if expected is None:
            self.servers[key] = {"active": True, "blocked": blocked, "on": on}

    @rule(organization=ORGANIZATIONS, name=NAMES, active=st.booleans())
    def turn_server(self, organization: str, name: str, active: bool) -> None:
        server = self.servers.get((organization, name))
        self.do(
            None if server else NotFoundError,
            lambda tx: mcp_servers.set_active(tx, self.names[organization], name, active, None, "ann"),
        )
        if server:
            server["active"] = active

    @rule(organization=ORGANIZATIONS, name=NAMES)
    def remove_server(self, organization: str, name: str) -> None:
        known = (organization, name) in self.servers
        self.do(
            None if known else NotFoundError,
            lambda tx: MCP_SERVERS.remove(tx, self.names[organization], name, "ann"),
        )
        self.servers.pop((organization, name), None)

    # --- models ----------------------------------------------------------------------------------------------------

    def model(
        self, organization: str, which: str | int, *, or_number: bool = False
    ) -> tuple[str, dict[str, Any] | None]:
        """The organization's model with this name or number, and its name; a number may be text if ``or_number``."""
        if isinstance(which, str):
            found = self.models.get((organization, which))
            if found is not None or not (or_number and which.isdigit()):
                return which if found else "", found
            which = int(which)
        for (of, name), model in self.models.items():
            if of == organization and model["number"] == which:
                return name, model
        return "", None

    @rule(organization=ORGANIZATIONS, name=NAMES, status=COMPLIANCE)
    def register_model(self, organization: str, name: str, status: ComplianceStatus) -> None:
        key = (organization, name)
        expected = ConflictError if key in self.models else None
        model = Model(name, compliance_status=status)
        entry = self.do(
            expected, lambda tx: MODELS.register(tx, self.names[organization], name, model, "ann")
        )
        if entry is not None:
            self.models[key] = {"status": status.value, "number": entry.number}

    @rule(organization=ORGANIZATIONS, name=NAMES, status=COMPLIANCE)
    def review_model(self, organization: str, name: str, status: ComplianceStatus) -> None:
        model = self.model(organization, name, or_number=True)[1]
        self.do(
            None if model else NotFoundError,
            lambda tx: MODELS.update(
                tx, self.names[organization], name, {"compliance_status": status}, "ann"
            ),
        )
        if model:
            model["status"] = status.value

    @rule(organization=ORGANIZATIONS, name=NAMES)
    def remove_model(self, organization: str, name: str) -> None:
        known = self.model(organization, name, or_number=True)[0]
        self.do(
            None if known else NotFoundError,
            lambda tx: MODELS.remove(tx, self.names[organization], name, "ann"),
        )
        self.models.pop((organization, known), None)

    # --- what is let through ---------------------------------------------------------------------------------------

    def expected(
        self, organization: str, agent_id: str, server_name: str | None, model_id: str | None, tool: str
    ) -> tuple[str | None, str | None]:
        """The event of the violation, and the model behind the action."""
        agent = self.agents.get((organization, agent_id), {"status": AgentStatus.ACTIVE, "model": None})
        if agent["status"] is not AgentStatus.ACTIVE:
            return f"AGENT_{agent['status'].upper()}_DENY", None
        if server_name is not None:
            server = self.servers.get((organization, server_name))
            if server is None:
                return "MCP_SERVER_UNREGISTERED_DENY", None
            if not server["active"]:
                return "MCP_SERVER_DEACTIVATED_DENY", None
            if server["blocked"] and tool in ("drop", "db.drop", "db__drop", ""):
                return "MCP_TOOL_BLOCKED_DENY", None
        if model_id is None and agent["model"] is None:
            return None, None
        if model_id is None:
            found = [
                (name, model)
                for (of, name), model in self.models.items()
                if of == organization and model["number"] == agent["model"]
            ]
        else:
            found = (
                [(model_id, self.models[organization, model_id])]
                if (organization, model_id) in self.models
                else []
            )
        if not found:
            return "MODEL_UNREGISTERED_DENY", None
        name, model = found[0]
        if model["status"] not in ("approved", "partially_approved"):
            return "MODEL_NONCOMPLIANT_DENY", None
        return None, name

    @rule(organization=ORGANIZATIONS, agent_id=NAMES, model=st.none() | NAMES)
    def ask(self, organization: str, agent_id: str, model: str | None) -> None:
        for server in (None, *("a", "A", "b", "7")):
            for tool in TOOLS:
                self.act(organization, agent_id, server, model, tool)

    def act(self, organization: str, agent_id: str, server: str | None, model: str | None, tool: str) -> None:
        """An action is let through or refused as the dictionaries say it must."""
        action = AgentAction(agent_id, agent_id, "call", "r", tool, mcp_server_name=server, model_id=model)
        event, resolved = self.expected(organization, agent_id, server, model, tool)
        said = self.world.read(lambda reader: govern(reader, self.names[organization], action))
        if event is not None:
            assert isinstance(said, GovernanceViolation)
            assert said.event == event
            status, code, detail = classified(said)
            assert (status, code) == (403, "POLICY_VIOLATION")
            assert "governance violation" in detail["error"]
            assert set(detail) >= {"error", "detail", "correlation_id"}
            return
        assert isinstance(said, Governance)
        assert said.model_id == resolved
        assert (said.model_governance is None) == (resolved is None)
        assert (said.mcp_governance is None) == (server is None)
        if server is not None:
            assert said.mcp_governance is not None
            assert said.mcp_governance["server_registered"] is True
            assert said.mcp_governance["enforcement"] == "Layer 13"
            on = self.servers[organization, server]["on"]
            assert said.auto_approve == (on and tool == "read")
            least = {"drop": 90, "db.drop": 90, "db__drop": 90, "read": 10}.get(tool) if on else None
            assert said.least_risk == least
        if said.model_governance is not None:
            assert said.model_governance["registry_checked"] is True
            assert said.model_governance["enforcement"] == "SR-11-7/EU-AI-ACT-ART9"
            assert said.model_governance["compliance_status"] in ("approved", "partially_approved")

    @invariant()
    def what_is_kept_is_what_was_said(self) -> None:
        if not hasattr(self, "world"):
            return
        for organization in ("ours", "theirs"):
            kept = {
                entry.name: (entry.value.status, entry.value.model)
                for entry in self.world.read(
                    lambda reader, of=self.names[organization]: AGENTS.all(reader, of)
                )
            }
            assert kept == {
                name: (agent["status"], agent["model"])
                for (of, name), agent in self.agents.items()
                if of == organization
            }


TestRegistry = Registry.TestCase


def test_a_violation_says_the_documented_words(world: World) -> None:
    """The body of the 403 is the REST API document's, word for word."""
    action = AgentAction("a", "a", "call", "r", "t", mcp_server_name="My-Server", model_id="gpt")
    said = world.read(lambda reader: govern(reader, "ours", action))
    assert isinstance(said, GovernanceViolation)
    assert said.detail == {
        "error": "MCP server governance violation",
        "detail": "MCP server is not registered. Register at Agent Registry → MCP Servers.",
        "mcp_server_name": "My-Server",
        "correlation_id": None,
    }
    world.write(lambda tx: MCP_SERVERS.register(tx, "ours", "My-Server", McpServer("m"), "ann"))
    said = world.read(lambda reader: govern(reader, "ours", action))
    assert isinstance(said, GovernanceViolation)
    assert said.detail == {
        "error": "Model governance violation",
        "detail": "Model is not registered in the organization model registry.",
        "model_id": "gpt",
        "correlation_id": None,
    }
    world.write(lambda tx: record_violation(tx, "ours", action, said))
    record = world.trail()[-1]
    assert (record["event"], record["actor"], record["detail"]) == (said.event, "a", said.detail)
    again = pickle.loads(pickle.dumps(said))
    assert (again.detail, again.event, str(again)) == (said.detail, said.event, str(said))


def test_a_tool_is_blocked_by_whatever_name_the_call_gives_it(world: World) -> None:
    """The published SDK has no field for the tool's name: it may stand in the details, the context or the type."""
    server = McpServer("m", blocked_tools=["drop"])
    world.write(lambda tx: MCP_SERVERS.register(tx, "ours", "m", server, "ann"))
    for fields in (
        {"tool_name": "drop"},
        {"tool_name": "mcp__m__drop"},
        {"tool_name": "t", "action_type": "db.drop"},
        {"tool_name": "t", "action_details": {"tool_name": "drop"}},
        {"tool_name": "t", "context": {"tool_name": "m/drop"}},
    ):
        given: dict[str, Any] = {"action_type": "call", **fields}
        action = AgentAction("a", "a", resource="r", mcp_server_name="m", **given)
        said = world.read(lambda reader, action=action: govern(reader, "ours", action))
        assert isinstance(said, GovernanceViolation), fields
        assert said.event == "MCP_TOOL_BLOCKED_DENY"
    dotted = McpServer("n", blocked_tools=["db.drop"])
    world.write(lambda tx: MCP_SERVERS.register(tx, "ours", "n", dotted, "ann"))
    for tool in ("db.drop", "n.db.drop", "n__db.drop"):
        action = AgentAction("a", "a", "call", "r", tool, mcp_server_name="n")
        said = world.read(lambda reader, action=action: govern(reader, "ours", action))
        assert isinstance(said, GovernanceViolation), tool
    other = AgentAction("a", "a", "call", "r", "dropped", mcp_server_name="m", context={"tool_name": 5})
    assert isinstance(world.read(lambda reader: govern(reader, "ours", other)), Governance)
