"""The types of the system: actions, decisions, permits and outcomes.

Field names are the Ascend API's own (SDK document, "AgentAction Model" and "ActionResult Response").
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn

from msgspec import Struct, field

__all__ = [
    "ActionResult",
    "ActionType",
    "AgentAction",
    "Decision",
    "Edit",
    "KillSwitchState",
    "Killed",
    "Outcome",
    "OutcomeStatus",
    "Permit",
    "RiskLevel",
    "RunningCall",
]

NOT_STARTED = "not started: "
"""The beginning of the recorded error of an action whose permit was taken and whose body never began."""

SUSPENDED = "Suspended: something inside it waits; the graph runs it again when it is resumed"
"""The recorded error of an action inside which a graph was interrupted."""

ALREADY_RAN = "already_ran"
"""In a result's metadata: this call has begun before (``Submit.once``), as ``action_id``, and ended as ``outcome``."""

MAX_ORCHESTRATION_DEPTH = 5
"""The deepest nesting of governed calls (SDK document, "Multi-agent orchestration": depth 0..5)."""


def iso(seconds: float) -> str:
    """Return seconds since the epoch in the API's time format: ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Decision(StrEnum):
    """The control plane's decision on an action."""

    APPROVED = "approved"
    DENIED = "denied"
    PENDING = "pending"


class ActionType(StrEnum):
    """The standard action types (SDK document, "Standard Action Types"). Any other text is an action type as well."""

    DATABASE_READ = "database_read"
    DATABASE_WRITE = "database_write"
    DATABASE_DELETE = "database_delete"
    DATABASE_SCHEMA = "database_schema"
    FILE_READ = "file_read"
    FILE_WRITE = "file_write"
    FILE_DELETE = "file_delete"
    FILE_EXECUTE = "file_execute"
    HTTP_REQUEST = "http_request"
    API_CALL = "api_call"
    EMAIL_SEND = "email_send"
    WEBHOOK_TRIGGER = "webhook_trigger"
    PROCESS_SPAWN = "process_spawn"
    CONFIG_CHANGE = "config_change"
    CREDENTIAL_ACCESS = "credential_access"
    MODEL_INFERENCE = "model_inference"
    PROMPT_INJECTION = "prompt_injection"
    DATA_EXTRACTION = "data_extraction"
    TRANSACTION = "transaction"
    PAYMENT_PROCESS = "payment_process"
    REFUND = "refund"


class RiskLevel(StrEnum):
    """Bands of the risk score: CVSS 3.1's qualitative bands times ten (40, 70, 90)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


_LEVELS = ((40.0, RiskLevel.LOW), (70.0, RiskLevel.MEDIUM), (90.0, RiskLevel.HIGH))


def level_of(score: float) -> RiskLevel:
    """Return the band of a score of 0 to 100."""
    return next((level for below, level in _LEVELS if score < below), RiskLevel.CRITICAL)


class OutcomeStatus(StrEnum):
    """The outcome of a started action. An action that never reported back is ``unknown``; one whose tool returned work that
    cannot be followed to its end is ``handed_over``."""

    COMPLETED = "completed"
    FAILED = "failed"
    HANDED_OVER = "handed_over"
    UNKNOWN = "unknown"


class AgentAction(Struct, frozen=True, omit_defaults=True):
    """A call of a tool, as submitted for a decision.

    Args:
        agent_id: unique agent identifier.
        agent_name: human-readable agent name.
        action_type: action category, such as ``database_write`` or ``refund``.
        resource: what the action does or acts on, as text or as a path.
        tool_name: the tool or service.
        resource_id: target resource identifier.
        action_details: the call's named arguments, redacted, as plain JSON data. Policies see them as ``args``.
        context: execution context (``environment``, and the values of the caller's scope).
        risk_indicators: pre-computed risk signals (``data_classification``, ...).
        model_id: the registered id of the agent's model.
        mcp_server_name: the registered name of the tool's MCP server.
        session_id: the conversation this call belongs to.
        orchestration_session_id: groups a root call with every call inside it.
        parent_action_id: the governed call in which this one was made.
        orchestration_depth: 0 for a root call, at most 5.
        excluded: names of arguments that were passed to the tool, but excluded from the decision and the record.
        vouched_decorators: decorators between ``governed`` and the tool for which its developer vouches.
    """

    agent_id: str
    agent_name: str
    action_type: str
    resource: str
    tool_name: str
    resource_id: str | None = None
    action_details: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    risk_indicators: dict[str, Any] = field(default_factory=dict)
    model_id: str | None = None
    mcp_server_name: str | None = None
    session_id: str | None = None
    orchestration_session_id: str | None = None
    parent_action_id: int | None = None
    orchestration_depth: int = 0
    excluded: tuple[str, ...] = ()
    vouched_decorators: tuple[str, ...] = ()


class ActionResult(Struct, frozen=True, omit_defaults=True):
    """The control plane's answer to an action.

    Args:
        action_id: unique identifier; ``int(action_id)`` works.
        status: approved, denied or pending.
        risk_score: 0 to 100.
        risk_level: low, medium, high or critical.
        reason: explanation of the decision.
        policy_matched: name of the rule that decided.
        timestamp: ISO 8601, UTC.
        metadata: additional answer data (``pending_approvers``, ``cvss_vector``, ...).
        claimed: the only permit of this approval was taken in the same step.
        modified_arguments: argument values that an approver changed; they replace the caller's.
        decided_by: the person who decided, or None.
    """

    action_id: str
    status: Decision
    risk_score: float = 0.0
    risk_level: RiskLevel = RiskLevel.LOW
    reason: str = ""
    policy_matched: str | None = None
    timestamp: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    claimed: bool = False
    modified_arguments: dict[str, Any] | None = None
    decided_by: str | None = None

    @property
    def decision(self) -> Decision:
        """Same as ``status``, kept for compatibility with the published SDK."""
        return self.status

    @property
    def mcp_governance(self) -> dict[str, Any] | None:
        """The result of the registry of MCP servers, if a server was named (SDK document, "Model & MCP Governance")."""
        return self.metadata.get("mcp_governance")

    @property
    def model_governance(self) -> dict[str, Any] | None:
        """The result of the model registry, if the agent has a model."""
        return self.metadata.get("model_governance")

    def is_approved(self) -> bool:
        """True when the action may run."""
        return self.status is Decision.APPROVED

    def is_denied(self) -> bool:
        """True when the action was denied."""
        return self.status is Decision.DENIED

    def is_pending(self) -> bool:
        """True when a person has yet to decide."""
        return self.status is Decision.PENDING


class KillSwitchState(Struct, frozen=True, omit_defaults=True):
    """Whether an agent is stopped.

    Args:
        blocked: True when it is stopped.
        reason: the reason, as written by the person who turned the switch on.
        agent_id: the agent that it stops; None for every agent of the organization.
        activated_at: ISO 8601, UTC.
        activated_by: who turned it on.
    """

    blocked: bool
    reason: str | None = None
    agent_id: str | None = None
    activated_at: str | None = None
    activated_by: str | None = None


class RunningCall(Struct, frozen=True, omit_defaults=True):
    """A call that had begun, or was at its last check, when a kill switch was turned on.

    Args:
        action_id: its action.
        agent_id: its agent.
        begun: it had passed its last check, so it may act. False: it was held there, and is blocked when it continues.
        since: when it reached its last check, or claimed its permit, ISO 8601, UTC.
        pid: its process id; None when it runs behind HTTP or on another machine.
        state: the state of its process: ``running``, ``sleeping``, ``stopped`` (it continues when resumed), ``ended``,
            ``unknown``.
    """

    action_id: str
    agent_id: str
    begun: bool
    since: str
    pid: int | None = None
    state: str = "unknown"


class Killed(KillSwitchState, frozen=True, omit_defaults=True):
    """A kill switch that was turned on. No call that it stops passes its last check any more.

    Args:
        running: the calls that had begun, and may still act.
        recorded: the audit trail has it. False: the next process that writes to the database records it.
        remark: further information for people, such as that the disk is full.
    """

    running: tuple[RunningCall, ...] = ()
    recorded: bool = True
    remark: str | None = None


class Edit(Struct, frozen=True):
    """An argument that an approver changed, as it may be shown: plain JSON data, redacted.

    Args:
        before: the agent's value.
        after: the value that runs.
    """

    before: Any
    after: Any


class Permit:
    """The right to run one call once, with exactly these arguments.

    It contains the real arguments, including secrets. So it is no structure whose fields a library would print or
    encode, and it cannot be pickled: only ``permit.parameters`` shows them.

    Args:
        action_id: the action.
        digest: the keyed digest of the arguments that will run, in hexadecimal.
        result: the decision.
        parameters: the named arguments that will run, including an approver's edits.
        edits: the arguments that an approver changed, by name.
    """

    __slots__ = ("_parameters", "action_id", "digest", "edits", "result")

    action_id: str
    digest: str
    result: ActionResult
    edits: dict[str, Edit]

    def __init__(
        self,
        action_id: str,
        digest: str,
        result: ActionResult,
        parameters: dict[str, Any] | None = None,
        edits: dict[str, Edit] | None = None,
    ) -> None:
        fill = object.__setattr__
        fill(self, "action_id", action_id)
        fill(self, "digest", digest)
        fill(self, "result", result)
        fill(self, "_parameters", {} if parameters is None else parameters)
        fill(self, "edits", {} if edits is None else edits)

    @classmethod
    def of(
        cls,
        result: ActionResult,
        digest: str,
        parameters: dict[str, Any],
        edited: Collection[str] | None,
        asked: dict[str, Any],
        running: dict[str, Any],
    ) -> Permit:
        """Return the permit of a decision.

        Args:
            result, digest, parameters: see the class.
            edited: names of the arguments that an approver changed.
            asked: the agent's arguments, as they may be shown.
            running: the arguments that run, as they may be shown.
        """
        edits = {name: Edit(asked.get(name), running.get(name)) for name in edited} if edited else {}
        return cls(result.action_id, digest, result, parameters, edits)

    @property
    def edited(self) -> frozenset[str]:
        """Names of the arguments that an approver changed."""
        return frozenset(self.edits)

    @property
    def parameters(self) -> dict[str, Any]:
        """The named arguments that will run, by parameter name."""
        parameters: dict[str, Any] = self._parameters  # type: ignore[attr-defined]  # set in __init__ only
        return parameters

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A permit is immutable: {name!r} cannot be set.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"A permit is immutable: {name!r} cannot be deleted.")

    def __repr__(self) -> str:
        return f"Permit(action_id={self.action_id!r}, digest={self.digest[:12]!r}...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("action_id", self.action_id), ("digest", f"{self.digest[:12]}...")]

    def __copy__(self) -> Permit:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Permit:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "A permit cannot be pickled: it is valid for one run, in this process. Pass its action_id instead."
        )


class Outcome(Struct, frozen=True, omit_defaults=True):
    """The outcome of a started call.

    Args:
        status: completed, failed or handed_over; unknown when it was lost.
        duration: seconds that the tool ran.
        error: type and redacted message of the exception, when it failed.
        detail: a note on how it ended (a stream closed early, ...), or None.
    """

    status: OutcomeStatus
    duration: float = 0.0
    error: str | None = None
    detail: str | None = None
