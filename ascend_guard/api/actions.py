"""Actions: submit, get, claim, withdraw, evaluate (REST API document, "Action Endpoints")."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ascend_guard.redaction.hidden import masks

from .endpoint import Endpoint
from .fields import Cursor, Limit, Number, Object, Offset, Prose, Text
from .outcomes import OutcomeAnswer

Depth = Annotated[int, Meta(ge=0, le=5)]
"""SDK document, "Multi-agent orchestration": ``orchestration_depth`` outside 0..5 is answered with 422."""

Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]

Runner = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
"""The random name of a process of agents."""


@masks("action_details", "parameters", "context", "risk_indicators")
class SubmitBody(Struct, omit_defaults=True):
    """The action that an agent submits, in either of its two forms: ``description`` and ``tool_name`` (REST API document),
    or ``resource`` (sent by the published SDK).

    ``parameters`` means the same as ``action_details``. ascend-guard's own client sends further fields: ``digest``
    binds the approval to the arguments that will run; ``identity`` identifies the same call in any order of its keys
    (by default ``digest``); ``runner`` is the process that will run the call and takes the permit with the answer;
    ``call_id`` distinguishes a repeated call from another call with the same arguments; ``once`` names a call that may
    begin at most once. ``excluded`` and ``vouched_decorators`` list the arguments that the client excluded, and the
    decorators for which the tool's developer vouches.
    """

    agent_id: Text
    agent_name: Text
    action_type: Text
    description: Prose | None = None
    tool_name: Annotated[str, Meta(max_length=255)] | None = None
    resource: Prose | None = None
    resource_id: Annotated[str, Meta(max_length=2_000)] | None = None
    action_details: Object | None = None
    parameters: Object | None = None
    context: Object | None = None
    risk_indicators: Object | None = None
    session_id: Annotated[str, Meta(max_length=255)] | None = None
    orchestration_session_id: Annotated[str, Meta(max_length=255)] | None = None
    parent_action_id: Number | None = None
    orchestration_depth: Depth | None = None
    mcp_server_name: Text | None = None
    model_id: Text | None = None
    digest: Hex | None = None
    detached: bool = False
    repeatable: bool = False
    runner: Runner | None = None
    call_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    identity: Hex | None = None
    excluded: Annotated[list[Text], Meta(max_length=1_000)] = []
    vouched_decorators: Annotated[list[Text], Meta(max_length=100)] = []
    once: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


@masks("parameters", "context", "risk_indicators")
class McpSubmitBody(Struct, omit_defaults=True):
    """A call of a tool on an MCP server (SDK document, "MCP governance")."""

    mcp_server: Text
    namespace: Text
    verb: Text
    resource: Prose
    action_type: Text | None = None
    description: Prose | None = None
    parameters: Object | None = None
    context: Object | None = None
    environment: Annotated[str, Meta(max_length=255)] = "production"
    tool_name: Annotated[str, Meta(max_length=255)] | None = None
    agent_id: Text | None = None
    agent_name: Text | None = None
    resource_id: Annotated[str, Meta(max_length=2_000)] | None = None
    risk_indicators: Object | None = None
    session_id: Annotated[str, Meta(max_length=255)] | None = None
    orchestration_session_id: Annotated[str, Meta(max_length=255)] | None = None
    parent_action_id: Number | None = None
    orchestration_depth: Depth | None = None
    model_id: Text | None = None


class DecisionBody(Struct, kw_only=True):
    """The decision on an action, with every field that any client reads.

    ``status`` is approved, denied or pending; ``decision`` is the same in the words of the published SDK: allowed, denied,
    pending.
    """

    id: int
    action_id: str
    status: str
    decision: str
    success: bool
    execution_allowed: bool
    requires_approval: bool
    risk_score: float
    risk_level: str
    reason: str
    summary: str
    message: str
    timestamp: str
    created_at: str
    updated_at: str
    correlation_id: str | None = None
    policy_matched: str | None = None
    policy_decision: str | None = None
    matched_policies: list[str] = field(default_factory=list)
    matched_smart_rules: list[str] = field(default_factory=list)
    policy_violations: list[str] = field(default_factory=list)
    denial_reason: str | None = None
    conditions: list[str] = field(default_factory=list)
    approval_request_id: str | None = None
    workflow_id: str | None = None
    pending_approvers: list[str] = field(default_factory=list)
    required_approvers: list[str] = field(default_factory=list)
    quorum: int | None = None
    expires_at: str | None = None
    approved_by: str | None = None
    approved_at: str | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    decided_by: str | None = None
    comments: str | None = None
    cvss_score: float | None = None
    cvss_severity: str | None = None
    cvss_vector: str | None = None
    nist_control: str | None = None
    nist_controls: list[str] = field(default_factory=list)
    nist_description: str | None = None
    mitre_tactic: str | None = None
    mitre_technique: str | None = None
    mitre_techniques: list[str] = field(default_factory=list)
    compliance_mapping: Object = field(default_factory=dict)
    mcp_governance: Object | None = None
    model_governance: Object | None = None
    enforcement_decision: str | None = None
    enforcement_decision_source: str | None = None
    risk_score_source: str | None = None
    alert_triggered: bool = False
    processing_time_ms: float | None = None
    metadata: Object = field(default_factory=dict)
    claimed: bool = False
    modified_arguments: Object | None = None


class TrailEntry(Struct):
    """One step in the history of an action."""

    timestamp: str
    event: str
    actor: str
    details: Object = field(default_factory=dict)


class ActionBody(Struct, kw_only=True):
    """An action in a list."""

    id: int
    action_id: str
    agent_id: str
    agent_name: str
    action_type: str
    tool_name: str
    resource: str
    description: str
    status: str
    risk_score: float
    risk_level: str
    reason: str
    policy_matched: str | None
    session_id: str | None
    orchestration_session_id: str | None
    parent_action_id: int | None
    orchestration_depth: int
    outcome: str | None
    created_at: str
    updated_at: str


class ActionDetailBody(ActionBody, kw_only=True):
    """An action with its submitted arguments and its audit trail.

    If an approver edited the call, ``resource`` and ``resource_id`` are those of the call that ran; the trail contains the
    arguments that ran."""

    resource_id: str | None = None
    action_details: Object = field(default_factory=dict)
    context: Object = field(default_factory=dict)
    decided_by: str | None = None
    expires_at: str | None = None
    quorum: int | None = None
    pending_approvers: list[str] = field(default_factory=list)
    approvals: list[Object] = field(default_factory=list)
    modified_arguments: Object | None = None
    error: str | None = None
    excluded: list[str] = field(default_factory=list)
    vouched_decorators: list[str] = field(default_factory=list)
    audit_trail: list[TrailEntry] = field(default_factory=list)


StatusWord = Literal["pending", "approved", "denied", "pending_approval", "auto_approved", "executed"]


class ActionsQuery(Struct, kw_only=True):
    """Filters for actions. ``pending_approval``: pending; ``auto_approved``: by the policy; ``executed``: completed."""

    limit: Limit = 50
    offset: Offset = 0
    cursor: Cursor | None = None
    status: StatusWord | None = None
    agent_id: str | None = None


class ActionPage(Struct):
    """Actions, newest first."""

    actions: list[ActionBody]
    total: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None = None


class ClaimBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Take the permit of an approved action: ``digest`` is the approved digest, ``running`` the digest of what will
    run, ``once`` as submitted. The other fields describe an edited call as it will run; it is judged again.
    ``modified_arguments``: the approver's values. When the call needs another approval than it has, the answer is
    ``pending``."""

    digest: Hex
    running: Hex
    runner: Runner
    resource: Prose | None = None
    resource_id: Annotated[str, Meta(max_length=2_000)] | None = None
    action_details: Object | None = None
    modified_arguments: Object | None = None
    once: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class DetachBody(Struct, forbid_unknown_fields=True):
    """The process that stops waiting."""

    runner: Runner


class ReasonBody(Struct, forbid_unknown_fields=True):
    """A reason, for the audit trail."""

    reason: Prose


@masks("action_details", "parameters", "context", "risk_indicators")
class EvaluateBody(Struct, omit_defaults=True):
    """A dry run: what would be decided. No action is recorded. It takes the fields of a submission, so that it is judged in
    the same way; a caller's own ``risk_score`` is ignored."""

    action_type: Text
    resource: Prose
    tool_name: Annotated[str, Meta(max_length=255)] | None = None
    agent_id: Text | None = None
    risk_score: float | None = None
    action_details: Object | None = None
    context: Object | None = None
    agent_name: Text | None = None
    description: Prose | None = None
    resource_id: Annotated[str, Meta(max_length=2_000)] | None = None
    parameters: Object | None = None
    risk_indicators: Object | None = None
    session_id: Annotated[str, Meta(max_length=255)] | None = None
    mcp_server_name: Text | None = None
    model_id: Text | None = None


class EvaluateAnswer(Struct):
    """What would be decided. ``always_denied``: with any arguments, resource and context."""

    decision: str
    matched_policies: list[Object]
    violations: list[str]
    risk_score: float
    risk_level: str
    reason: str
    evaluation_time_ms: float
    always_denied: bool = False


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "submit_action", "POST", "/api/v1/actions/submit", DecisionBody, SubmitBody,
        refuses=(402, 403, 409), tolerant=True,
        summary="Submit an action and get a decision. A resent request with the same Idempotency-Key is the same action.",
    ),
    Endpoint(
        "submit_mcp_action", "POST", "/api/v1/mcp/actions/submit", DecisionBody, McpSubmitBody,
        refuses=(402, 403, 409), tolerant=True, summary="Submit a call of an MCP server's tool and get a decision.",
    ),
    Endpoint(
        "get_action_status", "GET", "/api/v1/actions/{action_id}/status", DecisionBody,
        refuses=(402, 404), summary="Get the current decision on an action.",
    ),
    Endpoint(
        "get_action", "GET", "/api/v1/actions/{action_id}", ActionDetailBody,
        refuses=(404,), summary="Get an action with its arguments and its audit trail.",
    ),
    Endpoint(
        "list_actions", "GET", "/api/v1/actions", ActionPage, query=ActionsQuery,
        aliases=("/api/agent-activity",), summary="List actions, newest first.",
    ),
    Endpoint(
        "claim_action", "POST", "/api/v1/actions/{action_id}/claim", DecisionBody, ClaimBody,
        refuses=(402, 403, 404, 409), summary="Claim an approved action: take its one permit.",
    ),
    Endpoint(
        "withdraw_action", "POST", "/api/v1/actions/{action_id}/withdraw", OutcomeAnswer,
        ReasonBody, refuses=(403, 404, 409), summary="Withdraw an approved action that will not run.",
    ),
    Endpoint(
        "detach_action", "POST", "/api/v1/actions/{action_id}/detach", OutcomeAnswer, DetachBody,
        refuses=(403, 404), summary="Stop waiting for an action. A later identical call may resume it.",
    ),
    Endpoint(
        "evaluate_policy", "POST", "/api/governance/policies/evaluate-realtime", EvaluateAnswer,
        EvaluateBody, refuses=(403,), tolerant=True,
        summary="Evaluate the policy without submitting an action.",
    ),
)  # fmt: skip
