"""What every entry point shares: run a tool's body between ``authorize`` and ``settle``, in the caller's frame.

There is one ``Execution`` for one permit. Its steps have a sync and an async form that differ only in the driver they use.
It keeps these rules, whoever uses it:

1. A body is entered only by ``with execution:``, and the last check is made there, synchronously, the first time and the
   first time after ``defer()`` (promises 1, 2 and 4).
2. Nothing is entered after the outcome is recorded, and one outcome is recorded (promise 3).
3. An execution that is collected without an outcome records one: "not started" when its body never began, ``unknown``
   when it did (promise 5).
4. An exception at any point of entering or leaving, an interrupt included, leaves the context as it was before: no later
   call of the thread counts as made inside this one.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from . import telemetry
from ._scope import Running, current, enter, leave, restore
from .calls import BoundCall
from .drivers import ControlPlane, arun, run
from .errors import AscendError, ConflictError
from .flow import authorize, begin, check_running, settle
from .model import AgentAction, Outcome, OutcomeStatus, Permit
from .redaction import scrub

_log = logging.getLogger("ascend_guard")
_LONGEST_ERROR = 500


class Execution:
    """One governed call from permit to outcome.

    Args:
        call: the bound call.
        plane: what decides.

    Attributes:
        acted: some of the body has run, or may have.
        begun: the last check has been passed, and again since ``defer()``.
        permit: what ``authorize`` got.
    """

    __slots__ = (
        "_approved",
        "_handed",
        "_observer",
        "_outcome",
        "_outer",
        "_over",
        "_plane",
        "_running",
        "_span",
        "_started",
        "acted",
        "begun",
        "call",
        "permit",
    )

    permit: Permit

    def __init__(self, call: BoundCall, plane: ControlPlane) -> None:
        self._over = self.begun = self.acted = False
        self._handed: str | None = None
        self._outcome: Outcome | None = None
        self._running: Running | None = None
        self._outer: Running | None = None
        self.call = call
        self._approved = call.approved
        self._observer = telemetry.observe(call.action)
        self._plane = plane if self._observer is None else self._observer.watch(plane)

    # --- before --------------------------------------------------------------------------------------------------

    def authorize(self) -> None:
        """Get the permit. Raises ``AscendError``, and then nothing may run."""
        try:
            self.permit = run(authorize(self.call), self._plane)
        except BaseException as error:
            self._refused(error)
            raise

    async def aauthorize(self) -> None:
        """The same on the event loop."""
        try:
            self.permit = await arun(authorize(self.call), self._plane)
        except BaseException as error:
            self._refused(error)
            raise

    def _refused(self, error: BaseException) -> None:
        if self._observer is not None:
            self._observer.end(None, error)

    # --- during --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """The last check, the first time; then the body's frame. Governed calls made from here link to this one.

        Raises:
            AscendError: the body must not run. Settle with this error: it is recorded as not started.
            ConflictError: the call has its outcome; its permit is used.
        """
        if self._over:
            raise self.used_up()
        running = self._running
        if running is None:
            running = self._running = self.call.running(self.permit.action_id)
        outer = current()
        if outer is running:  # leaving was interrupted
            outer = self._outer
        self._outer = outer
        self._span: object = None
        try:
            enter(running)
            if self._observer is not None:
                self._span = self._observer.enter()
            if not self.begun:
                self._begin()
            return self
        except BaseException:
            restore(outer)  # a C function, called first: no interrupt can come before it
            if self._observer is not None:
                self._observer.leave(self._span)
            raise

    def _begin(self) -> None:
        approved, self._approved = self._approved, None
        if approved is not None and self.permit.result.decided_by:
            approved()
        run(begin(self.call, self.permit), self._plane)
        self._started = perf_counter()
        self.begun = self.acted = True

    def defer(self) -> None:
        """The body handed work back that has not started: the last check is made again before its first step."""
        self.begun = False
        with suppress(Exception):  # arguments that cannot be read any more block at the first step
            self.call.rebase()

    def hand_over(self, what: str) -> None:
        """The body handed something back that cannot be followed: when all goes well, that is the outcome.

        Args:
            what: what it is, in words.
        """
        self._handed = what

    def used_up(self) -> ConflictError:
        """The error for a second use of this permit."""
        return used_up(self.call.action, self.permit.action_id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        running = self._running
        if running is not None:
            leave(running, self._outer)
        if self._observer is not None:
            self._observer.leave(self._span)

    def check(self) -> None:
        """Before a deferred first step, and between two chunks: raises ``KillSwitchError`` unless the kill switch is
        known to be off. Unlike the last check this one may ask a server."""
        run(check_running(self.call, self.permit, begun=self.begun), self._plane)

    async def acheck(self) -> None:
        """The same on the event loop."""
        await arun(check_running(self.call, self.permit, begun=self.begun), self._plane)

    # --- after ---------------------------------------------------------------------------------------------------

    def settle(
        self, error: BaseException | None = None, detail: str | None = None, *, beside: bool = False
    ) -> None:
        """Record the outcome, once. Never raises an ``Exception``: the tool has acted.

        Args:
            error: what left the body; None when it ended well.
            detail: how it ended, when that is worth saying.
            beside: block on nothing, as in ``flow.Settle``: for finalisers, callbacks and what is being closed.
        """
        if self._over:
            return
        outcome = self._ended(error, detail)
        try:
            failure = run(settle(self.permit, outcome, beside=beside), self._plane)
        except BaseException:  # given up while it was recorded: __del__ sees to the outcome
            if self._observer is not None:
                self._observer.end(outcome, error)
            raise
        self._settled(failure, outcome, error)

    async def asettle(self, error: BaseException | None = None, detail: str | None = None) -> None:
        """The same on the event loop."""
        if self._over:
            return
        outcome = self._ended(error, detail)
        try:
            failure = await arun(settle(self.permit, outcome), self._plane)
        except BaseException:  # given up while it was recorded: __del__ sees to the outcome
            if self._observer is not None:
                self._observer.end(outcome, error)
            raise
        self._settled(failure, outcome, error)

    def _ended(self, error: BaseException | None, detail: str | None) -> Outcome:
        self._step_out()
        outcome = self._outcome = self._outcome_of(error, detail)
        return outcome

    def _step_out(self) -> None:
        running = self._running
        if running is not None and current() is running:  # entering or leaving was interrupted
            restore(self._outer)

    def _outcome_of(self, error: BaseException | None, detail: str | None) -> Outcome:
        if not self.begun:
            why = "closed by the caller" if error is None else describe_error(error, self.call.secrets)
            return Outcome(OutcomeStatus.FAILED, error=f"not started: {why}", detail=detail)
        duration = perf_counter() - self._started
        if error is None:
            if self._handed is None:
                return Outcome(OutcomeStatus.COMPLETED, duration, None, detail)
            told = f"handed over {self._handed}"
            return Outcome(OutcomeStatus.HANDED_OVER, duration, None, f"{detail}; {told}" if detail else told)
        if isinstance(error, AscendError):
            error.half_way = True
        return Outcome(OutcomeStatus.FAILED, duration, describe_error(error, self.call.secrets), detail)

    def _settled(self, failure: Exception | None, outcome: Outcome, error: BaseException | None) -> None:
        self._over = True
        if failure is not None:
            _log.error(
                "The outcome (%s) of action %s could not be recorded; it will show as unknown: %s",
                outcome.status.value,
                self.permit.action_id,
                failure,
            )
        if self._observer is not None:
            self._observer.end(outcome, error)

    def __del__(self) -> None:
        # Where the outcome could be lost: work that was never awaited, iterated or entered; a loop that was stopped; an
        # interrupt while settling.
        if not hasattr(self, "permit") or self._over or sys.is_finalizing():
            return
        outcome = self._outcome
        if outcome is None and not self.begun:
            outcome = Outcome(
                OutcomeStatus.FAILED, error="not started: it was given up before its first step"
            )
        elif outcome is None:
            outcome = Outcome(OutcomeStatus.UNKNOWN, detail="it was given up before it ended")
        self._step_out()
        failure = run(settle(self.permit, outcome, beside=True), self._plane)
        self._settled(failure, outcome, None)


def used_up(action: AgentAction, action_id: str) -> ConflictError:
    """The error for a second use of a permit."""
    return ConflictError(
        f"Blocked: the permit of {action.action_type} by {action.tool_name} (action {action_id}) has been used. "
        f"A permit is good for one run: call the governed tool again.",
        action_id=action_id,
        reason="the permit has been used",
    )


def describe_error(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Type and message of an exception, without the call's secrets and on one line."""
    name = type(error).__name__
    try:
        message: Any = str(error)
    except Exception:
        return name
    text = scrub(message, secrets).encode("utf-8", "backslashreplace").decode()
    text = " ".join(text.split())
    return f"{name}: {text[:_LONGEST_ERROR]}" if text else name
