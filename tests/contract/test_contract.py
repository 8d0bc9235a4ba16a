"""What is promised of a governed call, on both databases, in the process and over HTTP, called and awaited."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from contract_worlds import World
from recorded import every_record, trail_of
from world import eventually

from ascend_guard import (
    ActionPendingError,
    AscendError,
    AuthorizationDeniedError,
    KillSwitchError,
    TimeoutError,
    ValidationError,
)
from ascend_guard.calling.execution import Unfinished
from ascend_guard.calling.scope import in_manner
from ascend_guard.errors import AlreadyRanError


def test_allowed_runs_once_and_is_recorded(here: World) -> None:
    """The tool runs once, and the trail says that it was submitted, started and completed, in this order."""
    assert here.tool()(10) == 10
    assert here.ran == [10]
    eventually(lambda: here.outcomes() == ["completed"])
    trail = here.store.read(lambda reader: trail_of(reader, here.rows()[0].id))
    assert [record.event for record in trail] == ["submitted", "started", "completed"]
    assert here.sound()


def test_denied_does_not_run(here: World) -> None:
    """The caller is told by which rule, and the denial is recorded."""
    with pytest.raises(AuthorizationDeniedError, match="Deletes are off") as caught:
        here.tool(action="orders_delete")(1)
    assert caught.value.rule == "no-deletes"
    assert here.ran == []
    assert [row.status for row in here.rows()] == ["denied"]


def test_nothing_matched_means_the_default(here: World) -> None:
    """The policy's default is deny."""
    with pytest.raises(AuthorizationDeniedError):
        here.tool(action="launch")(1)
    assert here.ran == []


def test_a_person_approves(here: World) -> None:
    """The call waits, runs with what was approved, and says who decided."""
    call = here.beside(here.tool(), 900)
    action_id = here.pending()
    assert here.ran == []
    here.people.approve(action_id)
    assert call.end().result == 900
    assert here.ran == [900]
    assert (here.rows()[0].decided_by or "").startswith("ann")
    eventually(lambda: here.outcomes() == ["completed"])
    assert here.sound()


def test_a_person_denies(here: World) -> None:
    """The wait ends and nothing runs."""
    call = here.beside(here.tool(), 900)
    here.people.deny(here.pending())
    assert isinstance(call.end().error, AuthorizationDeniedError)
    assert here.ran == []
    assert here.sound()


def test_the_second_decision_is_refused(here: World) -> None:
    """Whoever comes first decides; the trail has one decision."""
    call = here.beside(here.tool(), 900)
    action_id = here.pending()
    here.people.deny(action_id)
    assert isinstance(here.people.approve(action_id, "bob"), AscendError)
    call.end()
    assert here.ran == []
    assert here.rows()[0].status == "denied"


def test_edited_arguments_are_what_runs(here: World) -> None:
    """An approver's values replace the caller's, after the policy has judged them again."""
    call = here.beside(here.tool(), 900)
    action_id = here.pending()
    assert isinstance(here.people.approve(action_id, edits={"order": 1}), AscendError)
    here.people.approve(action_id, edits={"amount": 700})
    assert call.end().result == 700
    assert here.ran == [700]
    assert here.sound()


@pytest.mark.parametrize("detached", [False, True])
def test_an_edited_call_runs_as_it_was_described_anew(here: World, detached: bool) -> None:
    """The values have the caller's types and the record says what ran; a value of another type runs nothing."""
    tool = here.tool(
        lambda amount, items: (amount, items),
        resource="orders/{items}",
        on_pending="raise" if detached else "wait",
    )
    given = (Decimal(900), "A-1")
    for edits in ({"amount": "950.50", "items": "B-2"}, {"amount": "many"}):
        if detached:
            with pytest.raises(ActionPendingError):
                tool(*given)
        else:
            call = here.beside(tool, *given)
        action_id = here.pending()
        here.people.approve(action_id, edits=edits)
        if detached:
            call = here.beside(tool, *given)
        end = call.end()
        trail = [
            msgspec.json.decode(row.body, type=dict[str, Any])
            for row in here.store.read(lambda reader, action_id=action_id: trail_of(reader, action_id))  # type: ignore[misc]
        ]
        if edits["amount"] == "many":
            assert isinstance(end.error, ValidationError)
            eventually(lambda: here.rows()[1].status == "denied")
            continue
        assert (end.result, type(end.result[0])) == ((Decimal("950.50"), "B-2"), Decimal)
        (started,) = [record for record in trail if record["event"] == "started"]
        assert (started["resource"], started["edits"]) == ("orders/B-2", edits)
        assert started["arguments"] == {"amount": 950.5, "items": "B-2"}
        assert here.rows()[0].resource == "orders/B-2"
    assert here.ran == [Decimal("950.50")]
    assert here.sound()


def test_arguments_that_change_while_waiting_block(here: World) -> None:
    """What was approved is what runs."""
    items = [1]
    call = here.beside(here.tool(), 900, items)
    action_id = here.pending()
    items.append(2)
    here.people.approve(action_id)
    assert isinstance(call.end().error, AuthorizationDeniedError)
    assert here.ran == []
    # The withdrawn approval is nobody's.
    eventually(lambda: here.rows()[0].status == "denied")
    assert here.sound()


def test_nobody_decides_in_time(here: World) -> None:
    """The call ends, the action still waits, and the same call made later takes it up."""
    with pytest.raises(TimeoutError):
        here.tool(timeout=0.2)(900)
    first = here.pending()
    eventually(lambda: here.rows()[0].waiter is None)
    call = here.beside(here.tool(), 900)
    eventually(lambda: here.rows()[0].waiter is not None)
    here.people.approve(first)
    assert call.end().result == 900
    assert len(here.rows()) == 1
    assert here.ran == [900]


def test_a_detached_call_is_resumed_once(here: World) -> None:
    """on_pending="raise": the same call after the approval runs, and the one after that asks anew."""
    tool = here.tool(on_pending="raise")
    with pytest.raises(ActionPendingError) as caught:
        tool(900)
    assert caught.value.action_id == here.pending()
    with pytest.raises(ActionPendingError) as again:
        tool(900)
    assert again.value.action_id == caught.value.action_id
    here.people.approve(here.pending())
    with pytest.raises(ActionPendingError) as other:
        tool(901)
    assert other.value.action_id != caught.value.action_id
    assert tool(900) == 900
    with pytest.raises(ActionPendingError):
        tool(900)
    assert here.ran == [900]
    assert here.sound()


def test_a_denial_answers_the_same_call(here: World) -> None:
    """However often a denied call is made again: who denied it and why, and nobody is asked."""
    tool = here.tool(on_pending="raise")
    with pytest.raises(ActionPendingError):
        tool(900)
    first = here.pending()
    here.people.deny(first)
    for _ in range(3):
        with pytest.raises(AuthorizationDeniedError, match="denied it") as told:
            tool(900)
        assert told.value.action_id == first
    with pytest.raises(ActionPendingError) as other:
        tool(901)
    assert other.value.action_id != first
    assert here.ran == []
    assert here.sound()


def test_a_detached_call_learns_of_the_deadline(here: World) -> None:
    """Nobody decided: no person's denial, so it is told once."""
    tool = here.tool(on_pending="raise")
    with pytest.raises(ActionPendingError):
        tool(900)
    here.clock.move(31 * 60)
    with pytest.raises(AuthorizationDeniedError, match="before the deadline"):
        tool(900)
    with pytest.raises(ActionPendingError):
        tool(900)
    assert here.ran == []
    assert here.sound()


def test_a_call_with_a_name_of_its_own(here: World) -> None:
    """Equal calls with different names are two requests, each found again; a denial of one answers every later one."""
    tool = here.tool()

    def named(name: str) -> Any:
        with in_manner("raise", name):
            return tool(900)

    ids = []
    for name in ("one", "two", "one"):
        with pytest.raises(ActionPendingError) as pending:
            named(name)
        ids.append(pending.value.action_id)
    assert ids[0] == ids[2] != ids[1]
    here.people.deny(str(ids[0]))
    here.people.approve(str(ids[1]))
    for _ in range(3):
        with pytest.raises(AuthorizationDeniedError, match="denied it"):
            named("one")
    assert named("two") == 900
    for name in ("two", "three"):
        with pytest.raises(AuthorizationDeniedError, match="denied it") as denied:
            named(name)
        assert denied.value.action_id == ids[0]
    assert here.ran == [900]
    assert here.sound()


def test_a_call_that_runs_at_most_once(here: World) -> None:
    """A named call that has begun is told so, whether policy allowed it or a person did, and asks nobody again."""
    tool = here.tool()

    def named(name: str, amount: int) -> Any:
        with in_manner("raise", None, once=name):
            return tool(amount)

    assert named("small", 10) == 10
    for amount in (10, 11):  # the name is the call's, whatever its arguments
        with pytest.raises(AlreadyRanError, match="Already ran, action 1") as told:
            named("small", amount)
        assert told.value.action_id == "1"
        assert told.value.outcome in (
            "completed",
            "running",
        )  # over HTTP outcomes are reported in their own time
    with pytest.raises(ActionPendingError):
        named("big", 900)
    here.people.approve(here.pending())
    assert named("big", 900) == 900
    with pytest.raises(AlreadyRanError, match="Already ran, action 2"):
        named("big", 900)
    assert named("other", 10) == 10
    assert here.ran == [10, 900, 10]
    assert len(here.rows()) == 3
    assert here.sound()


def test_what_cannot_be_known(here: World) -> None:
    """A tool that says it cannot know how it ended is recorded as unknown."""

    def body(amount: int) -> Any:
        raise Unfinished("the line went dead")

    with pytest.raises(Unfinished):
        here.tool(body)(10)
    eventually(lambda: here.outcomes() == ["unknown"])
    assert "the line went dead" in (here.rows()[0].error or "")
    assert here.sound()


def test_what_is_always_denied(here: World) -> None:
    """A client may hide what no arguments would let through, and nothing else."""
    assert here.plane.always_denies("orders_delete", "stripe")
    assert here.plane.always_denies("launch", "stripe")
    assert not here.plane.always_denies("refund", "stripe")


def test_calls_inside_one_that_was_taken_up(here: World) -> None:
    """The call that takes an approval up is the parent of what it calls, though another one asked."""

    def body(amount: int) -> Any:
        from ascend_guard import governed

        return governed("refund", "stripe", control_plane=here.plane)(_same)(10)

    outer = here.tool(body, on_pending="raise")
    with pytest.raises(ActionPendingError):
        outer(900)
    here.people.approve(here.pending())
    assert outer(900) == 10
    root, nested = here.rows()
    assert (nested.parent_action_id, nested.depth) == (root.id, 1)
    assert nested.orchestration_session_id == root.orchestration_session_id
    assert here.sound()


def _same(amount: int) -> int:
    return amount


def test_one_approval_for_many_callers(here: World) -> None:
    """Eight callers rush for one approval: exactly one runs."""
    tool = here.tool(on_pending="raise")
    with pytest.raises(ActionPendingError):
        tool(900)
    here.people.approve(here.pending())
    calls = [here.beside(tool, 900) for _ in range(8)]
    results = [call.end().result for call in calls]
    assert results.count(900) == 1
    assert here.ran == [900]
    assert here.sound()


def test_the_kill_switch_before(here: World) -> None:
    """Nothing is even submitted, for one agent or for all, until it is let go."""
    tool = here.tool()
    for agent in (None, "my-agent"):
        here.people.kill(agent)
        with pytest.raises(KillSwitchError, match="fire"):
            tool(1)
        here.people.release(agent)
        eventually(lambda: _runs(tool))
    assert here.ran == [1, 1]


def _runs(tool: Any) -> bool:
    try:
        return bool(tool(1) == 1)
    except KillSwitchError:  # the news has not come yet
        return False


def test_another_agents_kill_switch(here: World) -> None:
    """It is no business of ours."""
    here.people.kill("somebody-else")
    assert here.tool()(1) == 1


def test_the_kill_switch_ends_waits(here: World) -> None:
    """At once, and an approval that comes later runs nothing."""
    call = here.beside(here.tool(), 900)
    action_id = here.pending()
    here.people.kill()
    assert isinstance(call.end().error, KillSwitchError)
    here.people.approve(action_id)
    assert here.ran == []
    assert here.sound()


def test_the_kill_switch_stops_streams(here: World) -> None:
    """Between two chunks of a tool that streams."""
    from ascend_guard import governed

    @governed("refund", "stripe", control_plane=here.plane)
    def chunks(amount: int) -> Any:
        for number in range(20_000):
            here.ran.append(number)
            yield number
            time.sleep(0.001)

    stream = chunks(5)
    assert next(stream) == 0
    here.people.kill()
    with pytest.raises(KillSwitchError):
        for _ in stream:
            pass
    assert len(here.ran) < 20_000
    eventually(lambda: here.outcomes() == ["failed"])


def test_a_failure_is_recorded_as_one(here: World) -> None:
    """The tool's exception reaches the caller; the outcome is failed, without its secrets."""

    def fails(amount: int) -> None:
        raise ValueError("no such order; password=hunter2hunter2")

    with pytest.raises(ValueError, match="no such order"):
        here.tool(fails)(10)
    eventually(lambda: here.outcomes() == ["failed"])
    assert "hunter2" not in (here.rows()[0].error or "")
    assert "no such order" in (here.rows()[0].error or "")
    assert here.sound()


def test_nested_calls_know_their_parents(here: World) -> None:
    """A governed call inside another one is linked to it, one deeper, in the same session."""
    inner = here.tool()

    def body(amount: int) -> Any:
        from ascend_guard import governed

        @governed("refund", "stripe", control_plane=here.plane)
        def second(amount: int) -> int:
            return amount

        return second(amount + 1)

    assert here.tool(body)(10) == 11
    outer, nested = here.rows()
    assert nested.parent_action_id == outer.id
    assert (outer.depth, nested.depth) == (0, 1)
    assert nested.orchestration_session_id == outer.orchestration_session_id
    assert callable(inner)


def test_the_deadline_decides(here: World) -> None:
    """An action nobody decided before its deadline is denied, and its wait ends."""
    call = here.beside(here.tool(), 900)
    here.pending()
    here.clock.move(31 * 60)
    assert isinstance(call.end().error, AuthorizationDeniedError)
    assert here.ran == []
    assert here.sound()


def test_secrets_stay_home(here: World) -> None:
    """A secret argument is redacted before it is sent, stored or shown, and the tool still gets it."""
    from ascend_guard import governed

    @governed("refund", "stripe", control_plane=here.plane)
    def pay(amount: int, api_key: str) -> str:
        return api_key

    assert pay(5, "sk_live_0123456789abcdef") == "sk_live_0123456789abcdef"
    trail = here.store.read(lambda reader: every_record(reader))
    assert not any(b"0123456789abcdef" in record.body for record in trail)
