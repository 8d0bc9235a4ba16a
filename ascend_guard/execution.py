"""The part every face shares: run a tool's body between ``authorize`` and ``settle``, in the caller's frame.

There is one ``Execution`` per call. Its steps come in a sync and an async form that differ only in the driver they use.
"""

from __future__ import annotations

import logging
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from . import telemetry
from ._scope import Running, enter, leave
from .calls import BoundCall
from .drivers import ControlPlane, arun, run
from .errors import ActionPendingError, AscendError
from .flow import authorize, begin, check_running, settle
from .model import NOT_STARTED, SUSPENDED, Outcome, OutcomeStatus, Permit
from .redaction import scrub

_log = logging.getLogger("ascend_guard")
_LONGEST_ERROR = 500


class Unfinished(Exception):
    """The body began, and it cannot be known how it ended: settled with this, the outcome is ``unknown``."""


class Execution:
    """One governed call from permit to outcome.

    Args:
        call: the bound call.
        plane: what decides.
    """

    __slots__ = (
        "_approved",
        "_begun",
        "_observer",
        "_plane",
        "_running",
        "_span",
        "_started",
        "_token",
        "call",
        "permit",
    )

    permit: Permit

    def __init__(self, call: BoundCall, plane: ControlPlane) -> None:
        self.call = call
        self._observer = telemetry.observe(call.action)
        self._plane = plane if self._observer is None else self._observer.watch(plane)

    # --- before --------------------------------------------------------------------------------------------------

    def authorize(self) -> None:
        """Get the permit. Raises ``AscendError``, and then nothing may run."""
        try:
            self._permitted(run(authorize(self.call), self._plane))
        except BaseException as error:
            self._refused(error)
            raise

    async def aauthorize(self) -> None:
        """The same on the event loop."""
        try:
            self._permitted(await arun(authorize(self.call), self._plane))
        except BaseException as error:
            self._refused(error)
            raise

    def _permitted(self, permit: Permit) -> None:
        self._begun = False
        self.permit = permit
        self._approved = self.call.approved if permit.result.decided_by else None
        self._running: Running = self.call.running(permit.action_id)
        self._started = perf_counter()

    def _refused(self, error: BaseException) -> None:
        if self._observer is not None:
            self._observer.end(None, error)

    # --- during --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """The last check, the first time; then the body's frame. Governed calls made from here link to this one.

        Raises:
            AscendError: the body must not run. Settle with this error: it is recorded as not started.
        """
        if self._approved is not None:
            approved, self._approved = self._approved, None
            approved(self.permit)
        self._token = enter(self._running)
        if self._observer is not None:
            self._span = self._observer.enter()
        if not self._begun:
            try:
                run(begin(self.call, self.permit), self._plane)
            except BaseException:
                self.__exit__(None, None, None)
                raise
            self._begun = True
        return self

    @property
    def begun(self) -> bool:
        """Whether the last check was passed, so that the body may have acted."""
        return self._begun

    def defer(self) -> None:
        """The body handed work back that has not started: the last check is made again before its first step."""
        self._begun = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._observer is not None:
            self._observer.leave(self._span)
        leave(self._token)

    def check(self) -> None:
        """Between two chunks: raises ``KillSwitchError`` unless the kill switch is known to be off."""
        run(check_running(self.call, self.permit), self._plane)

    async def acheck(self) -> None:
        """The same on the event loop."""
        await arun(check_running(self.call, self.permit), self._plane)

    # --- after ---------------------------------------------------------------------------------------------------

    def settle(self, error: BaseException | None = None, detail: str | None = None) -> None:
        """Record the outcome. Never raises an ``Exception``: the tool has acted."""
        outcome = self._outcome(error, detail)
        failure: Exception | None = None
        try:
            failure = run(settle(self.permit, outcome), self._plane)
        finally:
            self._settled(failure, outcome, error)

    async def asettle(self, error: BaseException | None = None, detail: str | None = None) -> None:
        """The same on the event loop."""
        outcome = self._outcome(error, detail)
        failure: Exception | None = None
        try:
            failure = await arun(settle(self.permit, outcome), self._plane)
        finally:
            self._settled(failure, outcome, error)

    def _outcome(self, error: BaseException | None, detail: str | None) -> Outcome:
        if not self._begun:
            why = "closed by the caller" if error is None else describe_error(error, self.call.secrets)
            return Outcome(OutcomeStatus.FAILED, error=NOT_STARTED + why)
        duration = perf_counter() - self._started
        if error is None:
            return Outcome(OutcomeStatus.COMPLETED, duration, None, detail)
        if _is_graph_interrupt(error) or self._interrupts_graph(error):
            return Outcome(OutcomeStatus.FAILED, duration, SUSPENDED, detail)
        if isinstance(error, Unfinished):
            return Outcome(OutcomeStatus.UNKNOWN, duration, describe_error(error, self.call.secrets), detail)
        if isinstance(error, AscendError):
            error.half_way = True
        return Outcome(OutcomeStatus.FAILED, duration, describe_error(error, self.call.secrets), detail)

    def _interrupts_graph(self, error: BaseException) -> bool:
        """Whether the caller of this call interrupts its graph now, because something inside the body is pending."""
        return self.call.call_id is not None and isinstance(error, ActionPendingError) and error.repeatable

    def _settled(self, failure: Exception | None, outcome: Outcome, error: BaseException | None) -> None:
        if failure is not None:
            _log.error(
                "The outcome (%s) of action %s could not be recorded; it will show as unknown: %s",
                outcome.status.value,
                self.permit.action_id,
                failure,
            )
        if self._observer is not None:
            self._observer.end(outcome, error)


def _is_graph_interrupt(error: BaseException) -> bool:
    """Whether this is how LangGraph leaves a tool, to run it again from its beginning; told without importing it."""
    return any(
        kind.__name__ == "GraphInterrupt" and kind.__module__ == "langgraph.errors"
        for kind in type(error).__mro__
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
