"""The spans of one governed call.

``execute_tool {tool}`` lasts from the call to its outcome. It contains ``ascend.submit``, ``ascend.wait`` and
``ascend.claim``, and the spans of the tool's body. If a framework has already opened such a span for the call, that span is
used, and the framework ends it.

A span is current only while the control plane works or a step of the body runs, never across a ``yield``: it
cannot leak into the caller's context.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from time import perf_counter, time_ns
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import NoOpTracer, Span, StatusCode, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from ascend_guard._version import __version__
from ascend_guard.errors import (
    ActionPendingError,
    AscendError,
    AuthorizationDeniedError,
    KillSwitchError,
    TimeoutError,
)
from ascend_guard.flow import AwaitDecision, Begin, CheckKillSwitch, Claim, ControlPlane, Effect, Submit
from ascend_guard.model import ActionResult, AgentAction, Decision, Outcome

from . import attribute_names
from .content import arguments_of, captures_content
from .failing import swallow
from .instruments import Instruments, instruments_of
from .joining import describe, join

__all__ = ["Observer", "start"]

P = ParamSpec("P")
R = TypeVar("R")

_CHILDREN: dict[type[Effect[Any]], tuple[str, str]] = {
    Submit: ("ascend.submit", "submit"),
    AwaitDecision: ("ascend.wait", "wait"),
    Claim: ("ascend.claim", "start"),
}
"""The span of an effect, and the stage at which the kill switch stops the call during it."""

# Reentrant: a generator that is collected while it is held may settle a governed call.
_lock = threading.RLock()
_tracer: tuple[TracerProvider | None, Tracer | None] = (None, None)


def start(
    action: AgentAction, tracers: TracerProvider | None, meters: MeterProvider | None
) -> Observer | None:
    """Begin to observe a call; None when both providers discard everything (``OTEL_SDK_DISABLED``)."""
    tracer, instruments = _tracer_of(tracers), instruments_of(meters)
    if tracer is None and instruments is None:
        return None
    return Observer(action, tracer, instruments)


def harmless(method: Callable[P, R]) -> Callable[P, R | None]:
    """Catch every exception of the method; the result is then None."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            swallow(error)
            return None

    return guarded


class Observer:
    """Observes one governed call. None of its methods raises.

    Args:
        action: the action.
        tracer: creates the spans; None when only metrics are in use.
        instruments: take the measurements; None when only spans are in use.
    """

    __slots__ = (
        "_action",
        "_began",
        "_deciding",
        "_edited",
        "_ended",
        "_instruments",
        "_own",
        "_result",
        "_span",
        "_stage",
        "_steps",
        "_tracer",
        "_verdict",
        "_waited",
    )

    def __init__(self, action: AgentAction, tracer: Tracer | None, instruments: Instruments | None) -> None:
        self._action = action
        self._tracer = tracer
        self._instruments = instruments
        self._span: Span | None = None
        self._own = True
        self._steps: list[Step] = []
        self._result: ActionResult | None = None
        self._edited: frozenset[str] = frozenset()
        self._verdict: str | None = None
        self._stage: str | None = None
        self._deciding: float | None = None
        self._waited: float | None = None
        self._ended = False
        self._began = perf_counter()
        if tracer is not None:
            self._open(tracer)

    # --- for the runner of the call --------------------------------------------------------------------------

    def watch(self, plane: ControlPlane) -> ControlPlane:
        """Return the same control plane with observation of its work."""
        return _Watched(plane, self)

    @harmless
    def enter(self) -> object:
        """Note that a step of the tool's body begins, in this context: its spans are children of this call's span.

        Returns:
            The argument for ``leave``.
        """
        if self._verdict is None:
            self._decide(None)
        return None if self._span is None else otel.attach(trace.set_span_in_context(self._span))

    @harmless
    def leave(self, token: Any) -> None:
        """Note that the step ended: restore the previous current span."""
        if isinstance(token, contextvars.Token):
            # otel.detach would log an error if a coroutine is finalised in another context than its own.
            token.var.reset(token)
        elif token is not None:
            otel.detach(token)

    @harmless
    def end(self, outcome: Outcome | None, error: BaseException | None) -> None:
        """Note that the call was refused (``outcome`` is None), or has settled. A second call does nothing."""
        if self._ended:
            return
        self._ended = True
        error_type = None if error is None else type(error).__name__
        if self._verdict is None:
            self._decide(error if outcome is None else None)
        self._measure(error, error_type)
        # Ending a span may run a slow exporter: the decision's spans end only now that nothing waits for it.
        for step in self._steps:
            step.close()
        if self._span is not None:
            self._tell(self._span, outcome, error, error_type)
            if self._own:
                self._span.end()

    # --- for the watched control plane ----------------------------------------------------------------------

    def begin(self, effect: Effect[Any]) -> Step:
        """Note that the control plane starts on this effect, in this context."""
        step = Step()
        self._enter_step(step, effect)
        return step

    def finish(self, step: Step, effect: Effect[Any], reply: object, error: BaseException | None) -> None:
        """Note that it answered, or failed."""
        self.leave(step.token)
        self._learn(step.seconds(), effect, reply, error)
        step.tell(reply, error)

    @harmless
    def _enter_step(self, step: Step, effect: Effect[Any]) -> None:
        if self._span is None or self._tracer is None:
            return
        context = trace.set_span_in_context(self._span)
        child = _CHILDREN.get(type(effect))
        if child is not None:
            step.span = self._tracer.start_span(child[0], context)
            self._steps.append(step)
            context = trace.set_span_in_context(step.span, context)
        step.token = otel.attach(context)

    @harmless
    def _learn(self, seconds: float, effect: Effect[Any], reply: object, error: BaseException | None) -> None:
        if isinstance(effect, CheckKillSwitch):
            self._learn_of_kill_switch(effect, reply, error)
            return
        if isinstance(error, KillSwitchError) and type(effect) in _CHILDREN:
            self._stage = _CHILDREN[type(effect)][1]
        if isinstance(effect, AwaitDecision):
            self._waited = seconds
        elif isinstance(effect, Submit | Claim):
            self._deciding = (self._deciding or 0.0) + seconds
        # A claim's answer adds nothing except that the approval could be claimed.
        if isinstance(reply, ActionResult) and not (isinstance(effect, Claim) and reply.is_approved()):
            self._result = reply
            self._edited |= frozenset(reply.modified_arguments or ())

    def _learn_of_kill_switch(
        self, effect: CheckKillSwitch, reply: object, error: BaseException | None
    ) -> None:
        blocked = error is not None or getattr(reply, "blocked", True) is not False
        if blocked:
            self._stage = effect.stage
        elif effect.stage == "stream" or isinstance(effect, Begin):
            return  # in every call and between chunks: they would displace the span's other events
        if self._span is not None and self._span.is_recording():
            self._span.add_event(
                "ascend.kill_switch",
                {
                    attribute_names.KILL_SWITCH_STAGE: effect.stage,
                    attribute_names.KILL_SWITCH_BLOCKED: blocked,
                },
            )

    # --- the call's span ------------------------------------------------------------------------------------

    @harmless
    def _open(self, tracer: Tracer) -> None:
        attributes = describe(self._action)
        current = trace.get_current_span()
        if join(current, attributes):
            self._span, self._own = current, False
            return
        self._span = span = tracer.start_span(
            f"{attribute_names.EXECUTE_TOOL} {self._action.tool_name}", attributes=attributes
        )
        if not getattr(span, "attributes", True):
            span.set_attributes(attributes)  # a sampler did not pass them on

    @harmless
    def _tell(
        self, span: Span, outcome: Outcome | None, error: BaseException | None, error_type: str | None
    ) -> None:
        if not span.is_recording():
            return
        attributes: dict[str, AttributeValue] = {}
        result = self._result
        # Only for a refusal: a tool's error may be of any kind, or come from a governed call inside this one.
        refusal = error if outcome is None and isinstance(error, AscendError) else None
        rule = None if refusal is None else refusal.rule
        message: str | None = None
        if self._verdict is not None:
            attributes[attribute_names.DECISION] = self._verdict
        if result is not None:
            attributes[attribute_names.ACTION_ID] = result.action_id
            attributes[attribute_names.RISK_SCORE] = result.risk_score
            attributes[attribute_names.RISK_LEVEL] = str(result.risk_level)
            rule = result.policy_matched or rule
        if rule is not None:
            attributes[attribute_names.POLICY_RULE] = rule
        if outcome is not None:
            attributes[attribute_names.OUTCOME] = str(outcome.status)
        if error_type is not None:
            attributes[attribute_names.ERROR_TYPE] = error_type
        if captures_content():
            if outcome is not None:
                message = outcome.error
            elif refusal is not None:
                message = refusal.reason
            attributes[attribute_names.TOOL_ARGUMENTS] = arguments_of(self._action, self._edited)
            if result is not None and result.decided_by is not None:
                attributes[attribute_names.DECIDED_BY] = result.decided_by
        span.set_attributes(attributes)
        if error is not None:
            span.set_status(StatusCode.ERROR, message)  # no message without content: it may quote arguments

    # --- metrics --------------------------------------------------------------------------------------------

    @harmless
    def _decide(self, error: BaseException | None) -> None:
        self._verdict = self._judge(error)
        if self._instruments is not None:
            risk_level = None if self._result is None else str(self._result.risk_level)
            self._instruments.decided(
                self._action, self._verdict, risk_level, self._deciding, self._waited, self._exemplar()
            )

    def _judge(self, error: BaseException | None) -> str:
        if error is None:
            return "approved"
        if isinstance(error, KillSwitchError):
            return "blocked"
        if isinstance(error, ActionPendingError):
            return "pending"
        if isinstance(error, AuthorizationDeniedError):
            return "denied"
        undecided = self._result is not None and self._result.status is Decision.PENDING
        gave_up = isinstance(error, TimeoutError) or not isinstance(error, AscendError)
        return "pending" if undecided and gave_up else "error"

    @harmless
    def _measure(self, error: BaseException | None, error_type: str | None) -> None:
        if self._instruments is None:
            return
        context = self._exemplar()
        # The stage distinguishes it from a kill-switch error of a governed call inside this one.
        if self._stage is not None and isinstance(error, KillSwitchError):
            self._instruments.blocked(self._action, self._stage, context)
        if self._own:
            self._instruments.executed(self._action, perf_counter() - self._began, error_type, context)

    def _exemplar(self) -> Context | None:
        return None if self._span is None else trace.set_span_in_context(self._span)


class Step:
    """One effect in progress."""

    __slots__ = ("_began", "_ended", "span", "token")

    def __init__(self) -> None:
        self.span: Span | None = None
        self.token: object = None
        self._ended: int | None = None
        self._began = perf_counter()

    def seconds(self) -> float:
        """Return how long it took; the time is fixed at the first call."""
        self._ended = time_ns()
        return perf_counter() - self._began

    @harmless
    def tell(self, reply: object, error: BaseException | None) -> None:
        """Put its result on its span."""
        if self.span is None:
            return
        if isinstance(reply, ActionResult):
            self.span.set_attribute(attribute_names.DECISION, str(reply.status))
        if error is not None:
            self.span.set_attribute(attribute_names.ERROR_TYPE, type(error).__name__)
            self.span.set_status(StatusCode.ERROR)

    @harmless
    def close(self) -> None:
        """End its span, with the time at which it was over."""
        if self.span is not None:
            self.span.end(self._ended)


class _Watched:
    """A control plane whose work is observed."""

    __slots__ = ("_observer", "_plane", "agent_id", "agent_name", "digest_key")

    def __init__(self, plane: ControlPlane, observer: Observer) -> None:
        self._plane = plane
        self._observer = observer
        self.digest_key: bytes = plane.digest_key
        self.agent_id: str = plane.agent_id
        self.agent_name: str = plane.agent_name

    def perform(self, effect: Effect[R]) -> R:
        step = self._observer.begin(effect)
        try:
            reply = self._plane.perform(effect)
        except BaseException as error:
            self._observer.finish(step, effect, None, error)
            raise
        self._observer.finish(step, effect, reply, None)
        return reply

    async def aperform(self, effect: Effect[R]) -> R:
        step = self._observer.begin(effect)
        try:
            reply = await self._plane.aperform(effect)
        except BaseException as error:
            self._observer.finish(step, effect, None, error)
            raise
        self._observer.finish(step, effect, reply, None)
        return reply


def _tracer_of(provider: TracerProvider | None) -> Tracer | None:
    global _tracer
    known = _tracer
    if provider is None or known[0] is provider:
        return None if provider is None else known[1]
    with _lock:
        if _tracer[0] is not provider:
            tracer = provider.get_tracer("ascend_guard", __version__)
            _tracer = (provider, None if isinstance(tracer, NoOpTracer) else tracer)
        return _tracer[1]
