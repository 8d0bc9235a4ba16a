"""Commands to agents: from being given to being acknowledged or running out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from registry_world import ADMIN, AGENT, BOUND, PERSON, STRANGER, VIEWER, World, shared, two_organizations

from ascend_guard.engine.kill import pull, stopped
from ascend_guard.engine.registry import commands
from ascend_guard.engine.registry.commands import QUEUED, STOPPING, Command, CommandType
from ascend_guard.errors import AuthorizationDeniedError, NotFoundError

AGENTS = ("a", "b")
ORGANIZATIONS = ("ours", "theirs")


def issue(
    world: World,
    agent_id: str | None,
    kind: CommandType = CommandType.RATE_LIMIT,
    *,
    organization: str = "ours",
    lifetime: float = 100.0,
    command_id: str = "c",
) -> Command:
    """Give a command."""
    return world.write(
        lambda tx: commands.issue(
            tx,
            organization,
            agent_id,
            command_id,
            kind,
            reason="because",
            parameters={},
            lifetime=lifetime,
            by="ann",
            via="person",
        )
    )


class Mailboxes(RuleBasedStateMachine):
    """Two organizations with agents of the same names, a clock, and what each agent has yet to acknowledge."""

    @initialize()
    def begin(self) -> None:
        self.world = shared()
        self.names = two_organizations()
        self.given: list[dict[str, Any]] = []
        self.stopped: set[tuple[str, str]] = set()

    @rule(
        organization=st.sampled_from(ORGANIZATIONS),
        agent_id=st.sampled_from([*AGENTS, None]),
        kind=st.sampled_from(list(CommandType)),
        lifetime=st.integers(1, 50),
    )
    def give(self, organization: str, agent_id: str | None, kind: CommandType, lifetime: int) -> None:
        command_id = f"c{len(self.given)}"
        issue(
            self.world,
            agent_id,
            kind,
            organization=self.names[organization],
            lifetime=float(lifetime),
            command_id=command_id,
        )
        until = self.world.clock() + lifetime
        self.given.append(
            {"id": command_id, "of": organization, "to": agent_id, "until": until, "acked": set()}
        )
        if kind in STOPPING:
            self.stopped.add((organization, agent_id or ""))
        elif kind is CommandType.UNBLOCK:
            self.stopped.discard((organization, agent_id or ""))

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.world.clock.now += seconds

    def waits(self, command: dict[str, Any], organization: str, agent_id: str) -> bool:
        """Whether this agent must still be told."""
        return (
            command["of"] == organization
            and command["to"] in (None, agent_id)
            and command["until"] > self.world.clock()
        )

    @rule(
        organization=st.sampled_from(ORGANIZATIONS),
        agent_id=st.sampled_from(AGENTS),
        which=st.integers(0, 30),
    )
    def acknowledge(self, organization: str, agent_id: str, which: int) -> None:
        command_id = f"c{which}"
        known = self.given[which] if which < len(self.given) else None

        def work(tx: Any) -> None:
            commands.acknowledge(tx, self.names[organization], agent_id, command_id, agent_id)

        if known is not None and self.waits(known, organization, agent_id):
            self.world.write(work)
            known["acked"].add(agent_id)
            self.world.write(work)  # sent again, it changes nothing
        else:
            with pytest.raises(AuthorizationDeniedError, match="no such command for this agent"):
                self.world.write(work)

    @invariant()
    def everybody_is_told_what_waits_for_them(self) -> None:
        if not hasattr(self, "world"):
            return
        now = self.world.clock()
        for organization in ORGANIZATIONS:
            for agent_id in AGENTS:
                told = self.world.read(
                    lambda reader, of=self.names[organization], to=agent_id: commands.pending(
                        reader, of, to, now
                    )
                )
                assert {command.command_id for command in told} == {
                    command["id"]
                    for command in self.given
                    if self.waits(command, organization, agent_id) and agent_id not in command["acked"]
                }
                times = [command.created_at for command in told]
                assert times == sorted(times)
                switch = self.world.read(
                    lambda reader, of=self.names[organization], to=agent_id: stopped(reader, of, to)
                )
                on = bool({(organization, agent_id), (organization, "")} & self.stopped)
                assert (switch is not None) == on


TestMailboxes = Mailboxes.TestCase


def test_a_stop_is_never_refused_for_want_of_room(world: World) -> None:
    """When too many commands wait the oldest gives way, acknowledged ones first, and the trail says so."""
    for index in range(QUEUED):
        issue(world, "a", command_id=f"c{index}")
    world.write(lambda tx: commands.acknowledge(tx, "ours", "a", "c5", "a"))
    issue(world, "a", CommandType.BLOCK, command_id="stop")
    assert world.read(lambda reader: stopped(reader, "ours", "a")) is not None
    waiting = [
        command.command_id
        for command in world.read(lambda reader: commands.pending(reader, "ours", "a", world.clock()))
    ]
    assert waiting == [*(f"c{index}" for index in range(QUEUED) if index != 5), "stop"]
    issue(world, "a", command_id="more")
    waiting = [
        command.command_id
        for command in world.read(lambda reader: commands.pending(reader, "ours", "a", world.clock()))
    ]
    assert waiting[0] == "c1"
    assert world.events().count("COMMAND_SUPERSEDED") == 2


def test_a_receipt_is_recorded_once_and_forgotten_with_its_command(world: World) -> None:
    """Sent again it leaves no second record; once the command has run out there is nothing to acknowledge."""
    issue(world, None, lifetime=10.0)

    def acknowledge() -> None:
        world.write(lambda tx: commands.acknowledge(tx, "ours", "a", "c", "a"))

    acknowledge()
    acknowledge()
    assert world.events() == ["COMMAND_ISSUED", "COMMAND_ACKNOWLEDGED"]
    world.clock.now += 11
    with pytest.raises(AuthorizationDeniedError):
        acknowledge()


def test_what_is_unblocked_is_the_switch_that_was_turned(world: World) -> None:
    """An agent's UNBLOCK leaves the organization stopped, and everybody's leaves an agent stopped that was so by itself."""
    issue(world, None, CommandType.BLOCK, command_id="1")
    issue(world, "a", CommandType.QUARANTINE, command_id="2")
    issue(world, "b", CommandType.UNBLOCK, command_id="3")
    assert world.read(lambda reader: stopped(reader, "ours", "b")) is not None
    issue(world, None, CommandType.UNBLOCK, command_id="4")
    assert world.read(lambda reader: stopped(reader, "ours", "b")) is None
    assert world.read(lambda reader: stopped(reader, "ours", "a")) is not None
    issue(world, "a", CommandType.UNBLOCK, command_id="5")
    assert world.read(lambda reader: stopped(reader, "ours", "a")) is None


def test_the_documented_fields(world: World) -> None:
    """An agent gets its commands and everybody's, each with every documented field."""
    body = {"command_type": "BLOCK", "reason": "Runaway.", "parameters": {"token": "hush-hush", "n": 1}}
    given = world.ask("issue_command", PERSON, body, agent_id="billing")
    assert given["success"] is True
    world.ask("broadcast_command", ADMIN, {"command_type": "RATE_LIMIT", "reason": "Slow down."})
    told = world.ask("list_commands", BOUND, agent_id="billing")["commands"]
    assert [sorted(command) for command in told] == 2 * [
        sorted(
            [
                *("command_id", "command_type", "target_type", "reason", "parameters", "status"),
                *("issued_by", "issued_via", "created_at", "expires_at", "is_broadcast"),
            ]
        )
    ]
    own, broadcast = told
    assert own == given["command"]
    assert (own["command_type"], own["target_type"], own["is_broadcast"]) == ("BLOCK", "agent", False)
    assert (own["issued_by"], own["issued_via"]) == (PERSON.name, "person")
    assert own["parameters"] == {"token": "[REDACTED]", "n": 1}
    assert (broadcast["target_type"], broadcast["is_broadcast"]) == ("organization", True)
    assert broadcast["issued_via"] == "api_key"
    assert [
        command["command_type"] for command in world.ask("list_commands", AGENT, agent_id="x")["commands"]
    ] == ["RATE_LIMIT"]
    done = world.ask("acknowledge_command", BOUND, agent_id="billing", command_id=broadcast["command_id"])
    assert done["success"] is True
    assert world.ask("list_commands", BOUND, agent_id="billing")["commands"] == [own]
    assert len(world.ask("list_commands", AGENT, agent_id="x")["commands"]) == 1
    assert world.events()[-1] == "COMMAND_ACKNOWLEDGED"


def test_nobody_acknowledges_what_is_not_theirs(world: World) -> None:
    """Another tenant's, another agent's and a made-up command are refused in the same words, and stay pending."""
    given = world.ask("issue_command", ADMIN, {"command_type": "BLOCK", "reason": "r"}, agent_id="billing")
    command_id = given["command"]["command_id"]
    said = set()
    for caller, agent_id, which in (
        (STRANGER, "billing", command_id),
        (AGENT, "other", command_id),
        (AGENT, "billing", "made-up"),
        (AGENT, "billing\0", command_id),
    ):
        with pytest.raises(AuthorizationDeniedError) as refused:
            world.ask("acknowledge_command", caller, agent_id=agent_id, command_id=which)
        said.add(str(refused.value))
    assert len(said) == 1
    for caller, agent_id in ((BOUND, "other"), (VIEWER, "billing")):
        with pytest.raises(AuthorizationDeniedError):
            world.ask("acknowledge_command", caller, agent_id=agent_id, command_id=command_id)
    assert world.ask("list_commands", STRANGER, agent_id="billing")["commands"] == []
    assert len(world.ask("list_commands", BOUND, agent_id="billing")["commands"]) == 1


def test_a_key_made_for_an_agent_asks_for_its_own_commands(world: World) -> None:
    """Not for another agent's."""
    with pytest.raises(AuthorizationDeniedError):
        world.ask("list_commands", BOUND, agent_id="other")


def test_an_admins_key_made_for_an_agent_commands_that_one(world: World) -> None:
    """Neither another agent nor all of them, nor does it hold others back."""
    own = msgspec.structs.replace(BOUND, role="admin")
    stop = {"command_type": "BLOCK", "reason": "r"}
    with pytest.raises(AuthorizationDeniedError):
        world.ask("issue_command", own, stop, agent_id="other")
    with pytest.raises(AuthorizationDeniedError):
        world.ask("broadcast_command", own, stop)
    world.ask("register_agent", ADMIN, {"agent_id": "other"})
    with pytest.raises(AuthorizationDeniedError):
        world.ask("suspend_agent", own, agent_id="other")
    assert world.read(lambda reader: reader.kill_switches("ours")) == {}
    world.ask("issue_command", own, stop, agent_id="billing")


def test_a_name_that_nothing_can_have(world: World) -> None:
    """A NUL in a path is not found, before any database sees it; nobody is stopped."""
    for name in ("a\0", "\ud800", "x" * 2000):
        with pytest.raises(NotFoundError):
            world.ask("issue_command", ADMIN, {"command_type": "BLOCK", "reason": "r"}, agent_id=name)
    world.write(lambda tx: pull(tx, "theirs", "z", "r", "ann"))
    assert world.read(lambda reader: reader.kill_switches("ours")) == {}
