"""What all entry points share: run a tool's body between ``authorize`` and ``settle``, in the caller's frame.

There is one ``Execution`` for one permit. Its steps have a sync and an async form that differ only in the driver they use.
These rules hold for every entry point:

1. A body is entered only by ``with execution:``. The last check is made there, synchronously, at the first entry and at
   the first entry after ``defer()`` (promises 1, 2 and 4).
2. No body is entered after the outcome is recorded, and only one outcome is recorded (promise 3).
3. When work that runs later, or on an event loop, is collected without an outcome, an outcome is recorded: "not started"
   when its body never began, ``unknown`` when it did (promise 5).
4. A forked child has copies of its parent's calls, but not their permits. It runs none of those calls and records nothing
   for them (promise 3).
5. An exception at any point of entering or leaving, an interrupt included, restores the previous context: no later call of
   the thread counts as made inside this one.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Self

from ascend_guard import telemetry
from ascend_guard.drivers import arun, run
from ascend_guard.errors import ActionPendingError, AscendError, ConflictError, not_run
from ascend_guard.flow import ControlPlane, authorize, begin, check_running, settle
from ascend_guard.interrupts import ELSEWHERE, StepByStep, hold, release
from ascend_guard.model import NOT_STARTED, SUSPENDED, Outcome, OutcomeStatus, Permit
from ascend_guard.processes import this_process
from ascend_guard.redaction import describe_error

from .bound_call import BoundCall
from .scope import Running, current, enter, leave, restore

_log = logging.getLogger("ascend_guard")


class Unfinished(Exception):
    """The body began, and how it ended cannot be known. Settled with this error, the outcome is ``unknown``."""


class Execution:
    """One governed call from permit to outcome.

    Args:
        call: the bound call.
        plane: the control plane.

    Attributes:
        acted: some of the body has run, or may have run.
        begun: the last check has been passed, after ``defer()`` once more.
        permit: the permit from ``authorize``.
    """

    __slots__ = (
        "_approved",
        "_handed",
        "_in_sections",
        "_made_in",
        "_observer",
        "_outcome",
        "_outer",
        "_plane",
        "_running",
        "_section",
        "_span",
        "_started",
        "_unsettled",
        "acted",
        "begun",
        "call",
        "permit",
    )

    permit: Permit

    def __init__(self, call: BoundCall, plane: ControlPlane) -> None:
        self._unsettled = self.begun = self.acted = False
        self._handed: str | None = None
        self._outcome: Outcome | None = None
        self._running: Running | None = None
        self._outer: Running | None = None
        self._section: int | None = None
        self._span: object = None
        self.call = call
        self._made_in = this_process()
        self._approved = call.approved
        self._observer = telemetry.observe(call.action)
        self._plane = plane if self._observer is None else self._observer.watch(plane)
        self._in_sections = getattr(plane, "in_sections", False)

    # --- before --------------------------------------------------------------------------------------------------

    def authorize(self, *, dropped: bool = False, enters: bool = False) -> None:
        """Get the permit. Raises ``AscendError``; then the tool must not run.

        Args:
            dropped: the work may be dropped before it is settled, as a generator can be.
            enters: the body is entered next, so one section covers everything up to the last check.
        """
        before = hold() if self._in_sections else ELSEWHERE
        error: BaseException | None = None
        try:
            self._permitted(run(authorize(self.call), self._plane))
            if dropped:
                self._reap(True)
        except BaseException as raised:
            self._refused(raised)
            error = raised
        if enters and error is None:
            self._section = before
            return
        try:
            release(before, error)
        except BaseException as interrupt:
            if error is None:  # it has a permit that will not be used
                self.settle(interrupt)
            raise

    async def aauthorize(self) -> None:
        """The same, on the event loop."""
        permitted = self._apermitted()
        try:
            await (StepByStep(permitted) if self._in_sections else permitted)
        except BaseException as error:
            if self._unsettled:  # an interrupt came with the permit, which will not be used
                self.settle(error)
            else:
                self._refused(error)
            raise

    async def _apermitted(self) -> None:
        self._permitted(await arun(authorize(self.call), self._plane))
        self._reap(True)

    def _permitted(self, permit: Permit) -> None:
        self.permit = permit
        self._unsettled = True

    def _reap(self, needed: bool) -> None:
        """Set whether an outcome is recorded when this object is collected without one."""
        object.__setattr__(self, "__class__", _Reaped if needed else Execution)

    def _refused(self, error: BaseException) -> None:
        if self._observer is not None:
            self._observer.end(None, error)

    # --- during --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Make the last check, then enter the body. Governed calls from inside the body link to this one.

        Raises:
            AscendError: the body must not run. Settle with this error: the call is recorded as not started.
            ConflictError: the call has its outcome and its permit is used, or the permit belongs to another process.
        """
        if not self._unsettled:
            raise self.used_up()
        if self._made_in is not this_process():
            raise not_run.inherited(self.call.action, self.permit.action_id)
        outer = current()
        if outer is not None and outer is self._running:  # leaving was interrupted
            outer = self._outer
        self._outer = outer
        try:
            running = self._running
            if running is None:
                running = self._running = self.call.running(self.permit.action_id)
            enter(running)
            if self._observer is not None:
                self._span = self._observer.enter()
            if not self.begun:
                self._begin()
            return self
        except BaseException:
            restore(outer)  # a C function, called first: no interrupt can come before it
            self._leave()
            if self._section is not None:
                before, self._section = self._section, None
                release(before)
            raise

    def _begin(self) -> None:
        approved, self._approved = self._approved, None
        if approved is not None and self.permit.result.decided_by:
            approved(self.permit)
        # A section: an exception from a signal handler must not be taken for an unknown state of the kill switch.
        before, self._section = self._section, None
        if before is None:
            before = hold(soon_again=True) if self._in_sections else ELSEWHERE
        error: BaseException | None = None
        try:
            begin(self.call, self.permit, self._plane.perform)
        except BaseException as raised:
            error = raised
        release(before, error)
        self._started = perf_counter()
        self.begun = self.acted = True

    def defer(self) -> None:
        """The body returned work that has not started: make the last check again before the first step of that work."""
        self.begun = False
        self._reap(True)
        with suppress(Exception):  # arguments that can no longer be read block at the first step
            self.call.rebase()

    def may_be_dropped(self) -> None:
        """The work may be dropped from now on: when this object is collected without an outcome, one is recorded."""
        self._reap(True)

    def hand_over(self, what: str) -> None:
        """The body returned something that cannot be followed: the outcome is ``handed_over``, unless the call fails.

        Args:
            what: a description of what it returned.
        """
        self._handed = what

    def used_up(self) -> ConflictError:
        """Return the error for a second use of this permit."""
        return not_run.used_up(self.call.action, self.permit.action_id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Restore the caller's context. It may be called twice, so it is repeated after an interrupt."""
        if self._observer is not None and self._span is not None:
            span, self._span = self._span, None
            self._observer.leave(span)
        if self._running is not None:
            leave(self._running, self._outer)

    def check(self) -> None:
        """Check before a deferred first step, and between two chunks: raise ``KillSwitchError`` unless the kill switch is
        known to be off. Unlike the last check, this check may send a request to a server."""
        run(check_running(self.call, self.permit, begun=self.begun), self._plane)

    async def acheck(self) -> None:
        """The same, on the event loop."""
        await arun(check_running(self.call, self.permit, begun=self.begun), self._plane)

    # --- after ---------------------------------------------------------------------------------------------------

    def settle(
        self, error: BaseException | None = None, detail: str | None = None, *, beside: bool = False
    ) -> None:
        """Record the outcome, once. Never raises an ``Exception`` of its own, because the tool has acted. Without a
        permit there is nothing to record. An interrupt from a signal handler is raised after the outcome was passed on.

        Args:
            error: the exception that left the body; None when it ended normally.
            detail: a note on how it ended, or None.
            beside: do not block, as in ``flow.Settle``: for finalisers, callbacks and objects that are being closed.
        """
        if not self._unsettled or self._is_copy():
            return
        before, interrupt = ELSEWHERE, None
        if self._in_sections:
            try:
                before = hold(soon_again=True)
            except BaseException as raised:
                interrupt = raised
        try:
            outcome = self._ended(error, detail)
            failure = run(settle(self.permit, outcome, beside=beside), self._plane)
            self._settled(failure, outcome, error)
        except BaseException as raised:
            interrupt = raised
            self._given_up(error)
        release(before, interrupt)

    async def asettle(self, error: BaseException | None = None, detail: str | None = None) -> None:
        """The same, on the event loop."""
        if self._in_sections:  # in a section it does not wait
            self.settle(error, detail)
            return
        if not self._unsettled or self._is_copy():
            return
        outcome = self._ended(error, detail)
        try:
            failure = await arun(settle(self.permit, outcome), self._plane)
        except BaseException:
            self._given_up(error)
            raise
        self._settled(failure, outcome, error)

    def _is_copy(self) -> bool:
        """Return whether this is a forked child's copy. It ends without an outcome; the parent continues the call."""
        if self._made_in is this_process():
            return False
        self._leave()
        self._unsettled = False
        return True

    def _ended(self, error: BaseException | None, detail: str | None) -> Outcome:
        self._leave()  # again, in case an interrupt came before the context was left
        if self._outcome is None:  # else recording was interrupted, and the same outcome is recorded
            self._outcome = self._outcome_of(error, detail)
        return self._outcome

    def _given_up(self, error: BaseException | None) -> None:
        """Recording was interrupted: record the outcome when this object is collected."""
        if self._unsettled:
            self._reap(True)
            if self._observer is not None:
                self._observer.end(self._outcome, error)

    def _outcome_of(self, error: BaseException | None, detail: str | None) -> Outcome:
        if not self.begun:
            why = "closed by the caller" if error is None else describe_error(error, self.call.secrets)
            return Outcome(OutcomeStatus.FAILED, error=NOT_STARTED + why, detail=detail)
        duration = perf_counter() - self._started
        if error is None:
            if self._handed is None:
                return Outcome(OutcomeStatus.COMPLETED, duration, None, detail)
            told = f"handed over {self._handed}"
            return Outcome(OutcomeStatus.HANDED_OVER, duration, None, f"{detail}; {told}" if detail else told)
        if _is_graph_interrupt(error) or self._interrupts_graph(error):
            return Outcome(OutcomeStatus.FAILED, duration, SUSPENDED, detail)
        if isinstance(error, Unfinished):
            return Outcome(OutcomeStatus.UNKNOWN, duration, describe_error(error, self.call.secrets), detail)
        if isinstance(error, AscendError):
            error.half_way = True
        return Outcome(OutcomeStatus.FAILED, duration, describe_error(error, self.call.secrets), detail)

    def _interrupts_graph(self, error: BaseException) -> bool:
        """Return whether the caller of this call interrupts its graph now, because a call inside the body is pending."""
        return self.call.call_id is not None and isinstance(error, ActionPendingError) and error.repeatable

    def _settled(self, failure: Exception | None, outcome: Outcome, error: BaseException | None) -> None:
        self._unsettled = False
        self._reap(False)
        if failure is not None:
            _log.error(
                "The outcome (%s) of action %s could not be recorded; it will show as unknown: %s",
                outcome.status.value,
                self.permit.action_id,
                failure,
            )
        if self._observer is not None:
            self._observer.end(outcome, error)


class _Reaped(Execution):
    """A call whose work may be dropped before it is settled. Most calls cannot be dropped. A finaliser would run for
    each of them, and Python discards what a signal handler raises in a finaliser. So a call has this class only while
    it needs it."""

    __slots__ = ()

    def __del__(self) -> None:
        # Work that was never awaited, iterated or entered; or a loop that was stopped.
        if not self._unsettled or sys.is_finalizing() or self._is_copy():
            return
        before = hold() if self._in_sections else ELSEWHERE
        try:
            self._dropped()
        finally:
            release(before)

    def _dropped(self) -> None:
        outcome = self._outcome
        if outcome is None and not self.begun:
            outcome = Outcome(
                OutcomeStatus.FAILED, error=f"{NOT_STARTED}it was given up before its first step"
            )
        elif outcome is None:
            outcome = Outcome(OutcomeStatus.UNKNOWN, detail="it was given up before it ended")
        self._leave()
        failure = run(settle(self.permit, outcome, beside=True), self._plane)
        self._settled(failure, outcome, None)


def _is_graph_interrupt(error: BaseException) -> bool:
    """Return whether LangGraph leaves a tool with this exception to run it again from its beginning. Does not import it."""
    return any(
        kind.__name__ == "GraphInterrupt" and kind.__module__ == "langgraph.errors"
        for kind in type(error).__mro__
    )
