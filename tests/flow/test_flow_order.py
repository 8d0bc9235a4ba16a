"""The order of effects in a governed call, and what each carries: every rule of the flow with the answer that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_flow import APPROVED, DENIED, OFF, PENDING, Script, ScriptedCall, result

from ascend_guard.drivers import adrive, drive
from ascend_guard.errors import (
    ActionPendingError,
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConfigurationError,
    ConflictError,
    KillSwitchError,
    ServerError,
    StoreError,
    TimeoutError,
    ValidationError,
)
from ascend_guard.flow import (
    AwaitDecision,
    Begin,
    CheckKillSwitch,
    Claim,
    Settle,
    Submit,
    Withdraw,
    authorize,
    begin,
    check_running,
    settle,
)
from ascend_guard.model import Edit, KillSwitchState, Outcome, OutcomeStatus, Permit

RAN = Outcome(OutcomeStatus.COMPLETED, duration=1.0)
EDITS = {"amount": 10}
SEEN = (
    AuthorizationDeniedError("no"),
    AuthenticationError("no"),
    ConfigurationError("no"),
    StoreError("no"),
)
"""What a check of the kill switch passes on as it is."""


def a_permit() -> Permit:
    """For action 7, as it is without edits."""
    return Permit("7", "digest", result(APPROVED, claimed=True))


def failing(call: ScriptedCall, script: Script) -> AscendError:
    """The error that authorize ends with, when every answer of the script was asked for."""
    with pytest.raises(AscendError) as caught:
        drive(authorize(call), script)
    assert script.finished
    return caught.value


def test_an_allowed_call_is_checked_then_submitted() -> None:
    """Two effects, with everything that the control plane must know of the call."""
    call, script = ScriptedCall(), Script(OFF, result(APPROVED, claimed=True))
    permit = drive(authorize(call), script)
    check, submit = script.asked
    assert isinstance(check, CheckKillSwitch)
    assert (check.action, check.stage, check.action_id) == (call.action, "submit", None)
    assert isinstance(submit, Submit)
    assert (submit.action, submit.digest, submit.identity) == (call.action, call.digest, call.identity())
    assert (submit.detached, submit.repeatable, submit.call_id, submit.once) == (False, True, "call", "once")
    assert (permit.action_id, permit.digest, permit.parameters) == ("7", call.digest, call.values)
    assert permit.edits == {}
    assert call.told == []


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("on_pending", ["wait", "raise"])
def test_how_a_call_waits_is_submitted_with_it(repeatable: bool, on_pending: Any) -> None:
    """A call that raises is detached; one that is not repeatable is recognised by its digest alone."""
    call = ScriptedCall(repeatable=repeatable, on_pending=on_pending, call_id=None, once=None)
    script = Script(OFF, result(APPROVED, claimed=True))
    drive(authorize(call), script)
    submit = script.asked[1]
    assert isinstance(submit, Submit)
    assert submit.detached is (on_pending == "raise")
    assert submit.repeatable is repeatable
    assert submit.identity == (call.identity() if repeatable else call.digest)
    assert (submit.call_id, submit.once) == (None, None)


def test_an_identity_is_the_digest_where_none_is_given() -> None:
    """It may be text, a callable, or left out."""
    action = ScriptedCall().action
    assert Submit(action, "digest", detached=False, repeatable=True).identity == "digest"
    assert Submit(action, "digest", detached=False, repeatable=True, identity="text").identity == "text"
    assert (
        Submit(action, "digest", detached=False, repeatable=True, identity=lambda: "made").identity == "made"
    )


def test_an_approved_call_is_awaited_claimed_and_checked_again() -> None:
    """The whole way of a call that a person approves, and what each effect carries."""
    call = ScriptedCall()
    script = Script(OFF, result(PENDING), result(APPROVED), result(APPROVED, claimed=True), OFF)
    permit = drive(authorize(call), script)
    assert script.names == [
        "CheckKillSwitch submit",
        "Submit",
        "AwaitDecision",
        "Claim",
        "CheckKillSwitch start",
    ]
    _, _, wait, claim, check = script.asked
    assert isinstance(wait, AwaitDecision)
    assert (wait.action, wait.action_id, wait.timeout) == (call.action, "7", 5.0)
    assert isinstance(claim, Claim)
    assert (claim.action, claim.action_id, claim.edits, claim.once) == (call.action, "7", None, "once")
    assert claim.digest == claim.running == call.digest
    assert isinstance(check, CheckKillSwitch)
    assert (check.action, check.action_id) == (call.action, "7")
    assert call.told == [result(PENDING)]
    assert (permit.digest, permit.edits) == (call.digest, {})


def test_an_approved_answer_without_a_permit_is_claimed_first() -> None:
    """Approved at once by a control plane that does not claim in the same step; nobody waited, so no second check."""
    script = Script(OFF, result(APPROVED), result(APPROVED, claimed=True))
    drive(authorize(ScriptedCall()), script)
    assert script.names == ["CheckKillSwitch submit", "Submit", "Claim"]


def test_an_edited_call_runs_under_the_digest_of_its_edits() -> None:
    """It is claimed with both digests, and the permit is for what runs and shows both values."""
    call = ScriptedCall()
    before = call.digest
    script = Script(OFF, result(PENDING), result(APPROVED, edits=EDITS), result(APPROVED, claimed=True), OFF)
    permit = drive(authorize(call), script)
    claim = script.asked[3]
    assert isinstance(claim, Claim)
    assert (claim.digest, claim.running, claim.edits) == (before, call.digest, EDITS)
    assert before != call.digest
    assert claim.action.action_details == {"amount": "shown 10"}
    assert (permit.digest, permit.parameters) == (call.digest, {"amount": 10})
    assert permit.edits == {"amount": Edit("shown 900", "shown 10")}
    assert permit.result.modified_arguments == EDITS


def test_an_edited_call_can_go_back_to_people() -> None:
    """The claim is answered pending: it is awaited again, and claimed with the digest it was submitted with."""
    call = ScriptedCall()
    before = call.digest
    edited, claimed = result(APPROVED, edits=EDITS), result(APPROVED, claimed=True)
    script = Script(OFF, result(PENDING), edited, result(PENDING), edited, claimed, OFF)
    drive(authorize(call), script)
    assert script.names[2:] == ["AwaitDecision", "Claim", "AwaitDecision", "Claim", "CheckKillSwitch start"]
    again = script.asked[5]
    assert isinstance(again, Claim)
    assert (again.digest, again.running) == (before, call.digest)
    assert len(call.told) == 2


def test_a_call_goes_back_to_people_sixteen_times() -> None:
    """Then it is denied, and the seventeenth claim is never made."""
    rounds = [result(APPROVED, edits=EDITS), result(PENDING)] * 16
    script = Script(OFF, result(PENDING), *rounds)
    assert isinstance(failing(ScriptedCall(), script), ServerError)
    assert script.names.count("Claim") == 16


@pytest.mark.parametrize("claim", [PENDING, DENIED, APPROVED])
@pytest.mark.parametrize("edits", [None, EDITS])
def test_an_unfinished_claim_gives_no_permit(claim: Any, edits: dict[str, Any] | None) -> None:
    """Only approved and claimed is a permit; pending is an answer for edited calls alone."""
    script = Script(OFF, result(APPROVED, edits=edits), result(claim))
    if claim is PENDING and edits:
        call = ScriptedCall(on_pending="raise")
        assert isinstance(failing(call, script), ActionPendingError)
        return
    error = failing(ScriptedCall(), script)
    assert type(error) is (AuthorizationDeniedError if claim is DENIED else ServerError)
    assert error.action_id == "7"


@pytest.mark.parametrize("claim", [DENIED, PENDING])
def test_claimed_is_no_permit_without_approved(claim: Any) -> None:
    """Neither from a claim nor from a submission."""
    failing(ScriptedCall(), Script(OFF, result(APPROVED), result(claim, claimed=True)))
    failing(ScriptedCall(on_pending="raise"), Script(OFF, result(claim, claimed=True)))


def test_a_denied_call_ends_there() -> None:
    """Denied at once, or by a person."""
    for answers in ([result(DENIED)], [result(PENDING), result(DENIED)]):
        error = failing(ScriptedCall(), Script(OFF, *answers))
        assert isinstance(error, AuthorizationDeniedError)
        assert error.reason == "because"


def test_a_permit_for_edits_that_were_never_judged_is_settled_and_refused() -> None:
    """Edits come with a claimed answer only from a control plane that did not judge them."""
    script = Script(OFF, result(APPROVED, claimed=True, edits=EDITS), None)
    error = failing(ScriptedCall(), script)
    told = script.asked[2]
    assert isinstance(told, Settle)
    assert told.action_id == "7"
    assert (told.outcome.status, str(told.outcome.error)[:13]) == (OutcomeStatus.FAILED, "not started: ")
    assert isinstance(error, ServerError)
    assert "never judged" in str(error)


def test_a_detached_call_is_told_of_and_not_awaited() -> None:
    """It ends with the error that says how it goes on."""
    call = ScriptedCall(on_pending="raise")
    script = Script(OFF, result(PENDING))
    error = failing(call, script)
    assert isinstance(error, ActionPendingError)
    assert error.repeatable
    assert call.told == [result(PENDING)]


def test_a_call_that_nobody_decides_times_out() -> None:
    """Still pending after the wait is an error of its own."""
    call = ScriptedCall()
    error = failing(call, Script(OFF, result(PENDING), result(PENDING)))
    assert isinstance(error, TimeoutError)
    assert call.told == [result(PENDING)]


def test_arguments_that_changed_while_it_waited_withdraw_the_approval() -> None:
    """The withdrawal says why, and nothing is claimed."""
    script = Script(OFF, result(PENDING), result(APPROVED), None)
    error = failing(ScriptedCall(changed=True), script)
    withdrawn = script.asked[3]
    assert isinstance(withdrawn, Withdraw)
    assert (withdrawn.action_id, withdrawn.reason) == (
        "7",
        "arguments changed after the action was submitted",
    )
    assert isinstance(error, AuthorizationDeniedError)
    assert "changed" in str(error)


@pytest.mark.parametrize(("reason", "recorded"), [("short", "short"), (None, "a long text")])
def test_an_edit_that_cannot_be_made_withdraws_the_approval(reason: str | None, recorded: str) -> None:
    """With its reason, or its text where it has none."""
    wrong = ValidationError("a long text", reason=reason)
    script = Script(OFF, result(APPROVED, edits=EDITS), None)
    assert failing(ScriptedCall(edit_fails=wrong), script) is wrong
    withdrawn = script.asked[2]
    assert isinstance(withdrawn, Withdraw)
    assert withdrawn.reason == recorded


def test_a_failure_that_is_no_error_of_ours_withdraws_nothing() -> None:
    """Only what is known to be wrong with this call takes its approval away."""

    class Broken(ScriptedCall):
        def unchanged(self) -> bool:
            raise RuntimeError("broken")

    script = Script(OFF, result(APPROVED))
    error = failing(Broken(), script)
    assert isinstance(error, ServerError)
    assert isinstance(error.__cause__, RuntimeError)


@pytest.mark.parametrize("ended", [KillSwitchState(True), RuntimeError("gone"), KeyboardInterrupt()])
def test_a_permit_taken_under_the_switch_is_settled_as_not_started(ended: object) -> None:
    """However the last check before the permit ends: it would count as running for ever."""
    script = Script(OFF, result(PENDING), result(APPROVED), result(APPROVED, claimed=True), ended, None)
    with pytest.raises((KillSwitchError, KeyboardInterrupt)):
        drive(authorize(ScriptedCall()), script)
    assert script.finished
    told = script.asked[-1]
    assert isinstance(told, Settle)
    assert told.action_id == "7"
    assert str(told.outcome.error).startswith("not started: ")


def test_a_flow_that_is_closed_asks_nothing_more() -> None:
    """Its driver is gone, so not even the permit can be settled."""
    flow = authorize(ScriptedCall())
    next(flow)
    for answer in (OFF, result(PENDING), result(APPROVED), result(APPROVED, claimed=True)):
        asked = flow.send(answer)
    assert isinstance(asked, CheckKillSwitch)
    with pytest.raises(GeneratorExit):
        flow.throw(GeneratorExit())


@given(st.sampled_from([0, None, "", "off", [], 1, "False", True]), st.integers(0, 2))
def test_only_false_means_that_the_switch_is_off(blocked: Any, stage: int) -> None:
    """At each check; every other value stops the call, and the last answer of the script would have let it go on."""
    state = KillSwitchState(blocked, reason="an exercise")
    call = ScriptedCall()
    checks: list[Callable[[], Any]] = [
        lambda: drive(authorize(call), Script(state)),
        lambda: begin(call, a_permit(), Script(state)),
        lambda: drive(check_running(call, a_permit()), Script(state)),
    ]
    with pytest.raises(KillSwitchError) as caught:
        checks[stage]()
    assert caught.value.action_id == (None if stage == 0 else "7")
    if blocked is True:
        assert caught.value.reason == "an exercise"
        assert ("half way" in str(caught.value)) is (stage == 2)
    else:  # what is neither true nor false says nothing
        assert caught.value.reason == "kill switch state unknown"


@pytest.mark.parametrize("error", SEEN, ids=lambda error: type(error).__name__)
def test_a_check_passes_on_what_explains_itself(error: AscendError) -> None:
    """These errors stop the call as they are."""
    call = ScriptedCall()
    assert failing(call, Script(error)) is error
    with pytest.raises(type(error)) as caught:
        begin(call, a_permit(), Script(error))
    assert caught.value is error


@pytest.mark.parametrize("error", [OSError("gone"), ServerError("gone"), ValueError("gone"), None])
def test_a_state_that_cannot_be_known_counts_as_on(error: Exception | None) -> None:
    """At each check, whatever went wrong, an answer of the wrong type included."""
    call = ScriptedCall()
    checks: list[tuple[Callable[[], Any], str]] = [
        (lambda: drive(authorize(call), Script(error)), "did not run"),
        (lambda: begin(call, a_permit(), Script(error)), "did not run"),
        (lambda: drive(check_running(call, a_permit(), begun=False), Script(error)), "did not run"),
        (lambda: drive(check_running(call, a_permit()), Script(error)), "was stopped half way"),
    ]
    for check, ended in checks:
        with pytest.raises(
            KillSwitchError, match=rf"^Blocked: refund .*{ended}, because .*cannot be known"
        ) as caught:
            check()
        assert caught.value.reason == "kill switch state unknown"
        assert error is None or caught.value.__cause__ is error


def test_a_conflict_is_passed_on_at_the_last_check_alone() -> None:
    """There it says that the permit is another process's; anywhere else the state is merely unknown."""
    conflict = ConflictError("another process")
    call = ScriptedCall()
    with pytest.raises(ConflictError) as caught:
        begin(call, a_permit(), Script(conflict))
    assert caught.value is conflict
    assert isinstance(failing(call, Script(conflict)), KillSwitchError)


def test_the_last_check_asks_of_this_call_and_compares_its_arguments() -> None:
    """One effect; then arguments that changed stop the call."""
    call, script = ScriptedCall(), Script(OFF, OFF)
    begin(call, a_permit(), script)
    (check,) = script.asked
    assert isinstance(check, Begin)
    assert (check.action, check.action_id, check.stage) == (call.action, "7", "start")
    call.changed = True
    with pytest.raises(AuthorizationDeniedError, match="changed") as caught:
        begin(call, a_permit(), script)
    assert caught.value.action_id == "7"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_what_ends_the_process_passes_through(error: BaseException) -> None:
    """It becomes no error of ours: not before the call, not at the last check, not while it is settled."""
    call = ScriptedCall()
    for ended in (
        lambda: drive(authorize(call), Script(error)),
        lambda: drive(authorize(call), Script(OFF, error)),
        lambda: begin(call, a_permit(), Script(error)),
        lambda: drive(check_running(call, a_permit()), Script(error)),
        lambda: drive(settle(a_permit(), RAN), Script(error)),
    ):
        with pytest.raises(type(error)) as caught:
            ended()
        assert caught.value is error


@pytest.mark.parametrize("error", [RuntimeError("broken"), ServerError("down"), OSError("gone")])
def test_any_failure_before_the_call_is_an_error_of_ours(error: Exception) -> None:
    """Ours as it is, others with what happened and what to do."""
    caught = failing(ScriptedCall(), Script(OFF, error))
    if isinstance(error, AscendError):
        assert caught is error
    else:
        assert isinstance(caught, ServerError)
        assert caught.__cause__ is error
        assert "did not run" in str(caught)


@pytest.mark.parametrize("error", [RuntimeError("broken"), ServerError("down"), OSError("gone")])
@pytest.mark.parametrize("beside", [True, False])
def test_a_failure_to_settle_is_returned(error: Exception, beside: bool) -> None:
    """The tool has acted, so nothing is raised, whatever went wrong."""
    script = Script(error)
    assert drive(settle(a_permit(), RAN, beside=beside), script) is error
    (told,) = script.asked
    assert isinstance(told, Settle)
    assert (told.action_id, told.outcome, told.beside) == ("7", RAN, beside)
    assert drive(settle(a_permit(), RAN), Script(None)) is None


def test_an_outcome_is_not_recorded_beside_unless_it_is_said() -> None:
    """Whoever can wait waits until it is recorded."""
    script = Script(None)
    drive(settle(a_permit(), RAN), script)
    (told,) = script.asked
    assert isinstance(told, Settle)
    assert not told.beside
    assert not Settle("7", RAN).beside


def test_a_running_call_is_checked_by_what_it_does() -> None:
    """Between chunks, unless it has not begun."""
    call = ScriptedCall()
    for how, stage in (({}, "stream"), ({"begun": True}, "stream"), ({"begun": False}, "start")):
        script = Script(OFF)
        drive(check_running(call, a_permit(), **how), script)
        (check,) = script.asked
        assert isinstance(check, CheckKillSwitch)
        assert (check.action, check.stage, check.action_id) == (call.action, stage, "7")


class _Watched:
    """Effects that are numbers, with what is thrown in kept."""

    def __init__(self) -> None:
        self.thrown: list[BaseException] = []
        self.closed = False

    def flow(self) -> Any:
        try:
            for number in range(3):
                try:
                    assert (yield number) == number * 10
                except LookupError as error:
                    self.thrown.append(error)
            return "done"
        finally:
            self.closed = True


async def test_both_drivers_send_each_answer_back_and_each_failure_in() -> None:
    """And end with the flow's own result."""
    for asynchronous in (False, True):
        watched, wrong = _Watched(), LookupError("x")

        def perform(effect: int, wrong: LookupError = wrong) -> int:
            if effect == 1:
                raise wrong
            return effect * 10

        async def aperform(effect: int, perform: Any = perform) -> int:
            return perform(effect)

        ended = await adrive(watched.flow(), aperform) if asynchronous else drive(watched.flow(), perform)
        assert ended == "done"
        assert watched.thrown == [wrong]


async def test_both_drivers_close_the_flow() -> None:
    """Also one that goes on after an error, whose permit must not wait for the garbage collector."""
    for asynchronous in (False, True):
        watched = _Watched()
        flow = watched.flow()

        def perform(effect: int) -> int:
            raise KeyboardInterrupt

        async def aperform(effect: int) -> int:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await adrive(flow, aperform) if asynchronous else drive(flow, perform)
        assert watched.closed
