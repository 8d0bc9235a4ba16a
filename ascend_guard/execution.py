"""The part every face shares: run a tool's body between ``authorize`` and ``settle``, in the caller's frame.

There is one ``Execution`` per call. Its steps come in a sync and an async form that differ only in the driver they use.
"""

from __future__ import annotations

import logging
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from . import telemetry
from ._scope import Running, current, enter, leave
from .calls import BoundCall
from .drivers import ControlPlane, arun, run
from .errors import AscendError
from .flow import authorize, check_running, settle
from .interrupts import ELSEWHERE, hold, release
from .model import Outcome, OutcomeStatus, Permit
from .redaction import scrub

_log = logging.getLogger("ascend_guard")
_LONGEST_ERROR = 500


class Execution:
    """One governed call from permit to outcome.

    Args:
        call: the bound call.
        plane: what decides.
    """

    __slots__ = (
        "_approved",
        "_entered",
        "_in_sections",
        "_inside",
        "_observer",
        "_outer",
        "_plane",
        "_running",
        "_span",
        "_started",
        "_unsettled",
        "call",
        "permit",
    )

    permit: Permit

    def __init__(self, call: BoundCall, plane: ControlPlane) -> None:
        self.call = call
        self._observer = telemetry.observe(call.action)
        self._plane = plane if self._observer is None else self._observer.watch(plane)
        self._in_sections = getattr(plane, "in_sections", False)
        self._entered = self._inside = self._unsettled = False
        self._span: object = None

    # --- before --------------------------------------------------------------------------------------------------

    def authorize(self) -> None:
        """Get the permit. Raises ``AscendError``, and then nothing may run."""
        before = hold() if self._in_sections else ELSEWHERE
        error: BaseException | None = None
        try:
            self._begin(run(authorize(self.call), self._plane))
        except BaseException as raised:
            self._refused(raised)
            error = raised
        try:
            release(before, error)
        except BaseException as interrupt:
            if error is None:  # it has a permit, which nobody will use
                self.settle(interrupt)
            raise

    async def aauthorize(self) -> None:
        """The same on the event loop."""
        try:
            self._begin(await arun(authorize(self.call), self._plane))
        except BaseException as error:
            self._refused(error)
            raise

    def _begin(self, permit: Permit) -> None:
        self.permit = permit
        self._approved = self.call.approved if permit.result.decided_by else None
        self._running: Running = self.call.running(permit.action_id)
        self._started = perf_counter()
        self._unsettled = True

    def _refused(self, error: BaseException) -> None:
        if self._observer is not None:
            self._observer.end(None, error)

    # --- during --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Governed calls made from here link to this one."""
        if self._approved is not None:
            approved, self._approved = self._approved, None
            approved()
        self._outer = current()
        self._entered = self._inside = True
        enter(self._running)
        if self._observer is not None:
            self._span = self._observer.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._observer is not None and self._span is not None:
            span, self._span = self._span, None
            self._observer.leave(span)
        leave(self._running, self._outer)
        self._inside = False

    def check(self) -> None:
        """Between two chunks: raises ``KillSwitchError`` unless the kill switch is known to be off."""
        run(check_running(self.call, self.permit), self._plane)

    async def acheck(self) -> None:
        """The same on the event loop."""
        await arun(check_running(self.call, self.permit), self._plane)

    # --- after ---------------------------------------------------------------------------------------------------

    def settle(self, error: BaseException | None = None, detail: str | None = None) -> None:
        """Record the outcome, once. Never raises an ``Exception`` of its own: the tool has acted.

        An interrupt that comes meanwhile, from a signal handler, is raised when the outcome is on its way.
        """
        before, interrupt = ELSEWHERE, None
        if self._in_sections:
            try:
                before = hold(soon_again=True)
            except BaseException as raised:
                interrupt = raised
        try:
            if self._unsettled:
                outcome = self._outcome(error, detail)
                failure: Exception | None = None
                try:
                    failure = run(settle(self.permit, outcome), self._plane)
                finally:
                    self._settled(failure, outcome, error)
        except BaseException as raised:
            interrupt = raised
        release(before, interrupt)

    async def asettle(self, error: BaseException | None = None, detail: str | None = None) -> None:
        """The same on the event loop."""
        if not self._unsettled:
            return
        outcome = self._outcome(error, detail)
        failure: Exception | None = None
        try:
            failure = await arun(settle(self.permit, outcome), self._plane)
        finally:
            self._settled(failure, outcome, error)

    def _outcome(self, error: BaseException | None, detail: str | None) -> Outcome:
        duration = perf_counter() - self._started
        if self._inside:  # an interrupt came before it was left
            self._leave()
        if not self._entered and error is not None:
            return Outcome(
                OutcomeStatus.FAILED, 0.0, f"not started: {describe_error(error, self.call.secrets)}", detail
            )
        if error is None:
            return Outcome(OutcomeStatus.COMPLETED, duration, None, detail)
        if isinstance(error, AscendError):
            error.half_way = True
        return Outcome(OutcomeStatus.FAILED, duration, describe_error(error, self.call.secrets), detail)

    def _settled(self, failure: Exception | None, outcome: Outcome, error: BaseException | None) -> None:
        self._unsettled = False
        if failure is not None:
            _log.error(
                "The outcome (%s) of action %s could not be recorded; it will show as unknown: %s",
                outcome.status.value,
                self.permit.action_id,
                failure,
            )
        if self._observer is not None:
            self._observer.end(outcome, error)


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
