"""The kill switch inside a transaction and by itself: whom it stops, and what is recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import pytest
from engine_world import ORG, Engine, refund, submission

from ascend_guard.engine import kill
from ascend_guard.errors import NotFoundError, StoreError, ValidationError
from ascend_guard.model import KillSwitchState

AGENTS = [None, "billing"]


def stopped(engine: Engine, agent: str = "billing") -> KillSwitchState | None:
    """The switch that stops this agent."""
    return engine.store.read(lambda reader: kill.stopped(reader, ORG, agent))


def test_no_switch_stops_nobody(engine: Engine) -> None:
    """And the state that says so is off."""
    assert stopped(engine) is None
    assert kill.RUNNING.blocked is False


@pytest.mark.parametrize("agent", AGENTS)
def test_a_switch_stops_those_it_is_for(engine: Engine, agent: str | None) -> None:
    """One agent, or all; it is recorded, and the answer is the switch."""
    change = engine.step(lambda tx: kill.pull(tx, ORG, agent, "why", "ann"))
    assert change.answer == stopped(engine)
    state = change.answer
    assert (state.blocked, state.reason, state.agent_id, state.activated_by) == (True, "why", agent, "ann")
    assert (stopped(engine, "other") is None) is (agent is not None)
    assert change.records == [{"event": "kill_switch.on", "actor": "ann", "agent_id": agent, "reason": "why"}]
    off = engine.step(lambda tx: kill.release(tx, ORG, agent, "done", "bob"))
    assert off.records == [{"event": "kill_switch.off", "actor": "bob", "agent_id": agent, "reason": "done"}]
    assert stopped(engine) is None


def test_the_switch_for_all_is_named_first(engine: Engine) -> None:
    """With both on, turning one agent's off frees nobody."""
    for agent in AGENTS:
        engine.step(lambda tx, agent=agent: kill.pull(tx, ORG, agent, f"of {agent}", "ann"))
    state = stopped(engine)
    assert state is not None
    assert state.reason == "of None"
    engine.step(lambda tx: kill.release(tx, ORG, "billing", "done", "ann"))
    assert stopped(engine) == state


@pytest.mark.parametrize(
    ("agent", "whom"), [(None, "the whole organization"), ("billing", "agent 'billing'")]
)
def test_what_is_not_on_cannot_be_turned_off(engine: Engine, agent: str | None, whom: str) -> None:
    """The other switch is not taken for it."""
    other = "billing" if agent is None else None
    engine.step(lambda tx: kill.pull(tx, ORG, other, "why", "ann"))
    with engine.refusing(NotFoundError, f"not on for {whom}."):
        engine.step(lambda tx: kill.release(tx, ORG, agent, "done", "ann"))
    assert stopped(engine) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.step(lambda tx: kill.pull(tx, ORG, "", "why", "ann")),
        lambda engine: engine.step(lambda tx: kill.release(tx, ORG, "", "why", "ann")),
        lambda engine: kill.stop(engine.store, ORG, "", "why", "ann"),
    ],
)
def test_an_empty_name_does_not_mean_everybody(engine: Engine, change: Callable[[Engine], Any]) -> None:
    """It is a mistake, also while everybody is stopped."""
    with engine.refusing(ValidationError, "agent_id is empty"):
        change(engine)
    assert stopped(engine) is None
    engine.step(lambda tx: kill.pull(tx, ORG, None, "why", "ann"))
    with engine.refusing(ValidationError, "agent_id is empty"):
        change(engine)
    assert stopped(engine) is not None


@pytest.mark.parametrize("number", [None, 1])
def test_a_blocked_call_is_recorded(engine: Engine, number: int | None) -> None:
    """With its action, or with what it would have been."""
    engine.submit(submission(refund()))
    state = KillSwitchState(True, "why")
    change = engine.step(lambda tx: kill.block(tx, ORG, refund(), "start", number, state))
    told = {"action": msgspec.to_builtins(refund())} if number is None else {"action_id": 1}
    (record,) = change.records
    assert record == {"event": "blocked", "actor": "billing", "stage": "start", "reason": "why", **told}


def running(engine: Engine, runner: str, number: int, agent: str = "billing") -> None:
    """An action that this process has begun."""
    engine.submit(submission(refund(50.0, agent_id=agent)), runner, number)
    engine.step(lambda tx: tx.add_runner(runner, ORG, number), number)


@pytest.mark.parametrize("agent", AGENTS)
def test_turning_the_switch_on_lists_what_runs_behind_http(engine: Engine, agent: str | None) -> None:
    """For the agents it stops; what runs in this process is the barrier's to say."""
    running(engine, "remote:a", 1)
    running(engine, "remote:b", 2, "other")
    running(engine, "here", 3)
    killed = kill.stop(engine.store, ORG, agent, "why", "ann")
    assert killed.blocked
    assert killed.recorded
    assert killed.agent_id == agent
    state = stopped(engine)
    assert state is not None
    assert (state.reason, state.agent_id) == ("why", agent)
    assert [call.action_id for call in killed.running] == (["1", "2"] if agent is None else ["1"])
    assert all(call.begun and call.since == "2027-01-15T08:00:00Z" for call in killed.running)


def test_a_call_is_listed_once(engine: Engine) -> None:
    """One that the barrier has named is not listed again from the database."""
    running(engine, "remote:a", 1)
    running(engine, "remote:a", 2)
    engine.step(lambda tx: tx.add_runner(engine.store.runner, ORG, 1))
    assert engine.store.begin(ORG, "billing", "1") is None
    killed = kill.stop(engine.store, ORG, None, "why", "ann")
    assert [call.action_id for call in killed.running] == ["1", "2"]


def test_where_the_database_is_busy_only_this_process_is_listed(engine: Engine) -> None:
    """The switch is on all the same, and what runs behind HTTP is not waited for."""
    running(engine, "remote:a", 1)
    running(engine, "here", 2)
    engine.step(lambda tx: tx.add_runner(engine.store.runner, ORG, 2), 2)
    assert engine.store.begin(ORG, "billing", "2") is None
    with closing(sqlite3.connect(engine.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        killed = kill.stop(engine.store, ORG, None, "why", "ann")
        other.execute("ROLLBACK")
    assert (killed.blocked, killed.recorded) == (True, False)
    assert [call.action_id for call in killed.running] == ["2"]


def test_a_list_that_cannot_be_read_does_not_hide_that_the_switch_is_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents are stopped by then, so an error would say the opposite of what happened."""
    running(engine, "remote:a", 1)

    def unreadable(*_: Any, **__: Any) -> Any:
        raise StoreError("the disk does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(engine.store, "read", unreadable)
        killed = kill.stop(engine.store, ORG, None, "why", "ann")
    assert (killed.blocked, killed.recorded, killed.running) == (True, True, ())
    assert stopped(engine) is not None
