"""Every endpoint of the API, once: the clients send by these rows, the server answers by them, OpenAPI is made of them."""

from __future__ import annotations

from . import actions, outcomes, system
from .endpoint import Access, Endpoint
from .registry_table import REGISTRY

ACTIONS: tuple[Endpoint, ...] = (
    Endpoint(
        "submit_action", "POST", "/api/v1/actions/submit", actions.DecisionBody, actions.SubmitBody,
        refuses=(402, 403, 409), tolerant=True,
        summary="Decide an action. Idempotency-Key makes a resent one the same action.",
    ),
    Endpoint(
        "submit_mcp_action", "POST", "/api/v1/mcp/actions/submit", actions.DecisionBody, actions.McpSubmitBody,
        refuses=(402, 403, 409), tolerant=True, summary="Decide a call of a tool on an MCP server.",
    ),
    Endpoint(
        "get_action_status", "GET", "/api/v1/actions/{action_id}/status", actions.DecisionBody,
        refuses=(402, 404), summary="The decision on an action as it stands.",
    ),
    Endpoint(
        "get_action", "GET", "/api/v1/actions/{action_id}", actions.ActionDetailBody,
        refuses=(404,), summary="An action with its arguments and its audit trail.",
    ),
    Endpoint(
        "list_actions", "GET", "/api/v1/actions", actions.ActionPage, query=actions.ActionsQuery,
        aliases=("/api/agent-activity",), summary="Actions, newest first.",
    ),
    Endpoint(
        "claim_action", "POST", "/api/v1/actions/{action_id}/claim", actions.DecisionBody, actions.ClaimBody,
        refuses=(402, 403, 404, 409), summary="Take the one permit an approval is good for.",
    ),
    Endpoint(
        "withdraw_action", "POST", "/api/v1/actions/{action_id}/withdraw", outcomes.OutcomeAnswer,
        actions.ReasonBody, refuses=(403, 404, 409), summary="An approved action will not be run; let nobody use it.",
    ),
    Endpoint(
        "detach_action", "POST", "/api/v1/actions/{action_id}/detach", outcomes.OutcomeAnswer, actions.DetachBody,
        refuses=(403, 404), summary="Nobody waits for this action any more; the same call later may take it up.",
    ),
    Endpoint(
        "complete_action", "POST", "/api/agent-action/{action_id}/complete", outcomes.OutcomeAnswer,
        outcomes.OutcomeBody, refuses=(403, 404, 409), body_optional=True, tolerant=True,
        summary="An action has completed.",
    ),
    Endpoint(
        "fail_action", "POST", "/api/agent-action/{action_id}/fail", outcomes.OutcomeAnswer, outcomes.OutcomeBody,
        refuses=(403, 404, 409), body_optional=True, tolerant=True, summary="An action has failed.",
    ),
    Endpoint(
        "report_outcomes", "POST", "/api/v1/actions/outcomes", outcomes.OutcomesAnswer, outcomes.OutcomesBody,
        refuses=(403,), summary="What came of several actions, in one request. Each counts for itself.",
    ),
    Endpoint(
        "evaluate_policy", "POST", "/api/governance/policies/evaluate-realtime", actions.EvaluateAnswer,
        actions.EvaluateBody, refuses=(403,), tolerant=True,
        summary="What would be decided; nothing is recorded as an action.",
    ),
    Endpoint(
        "approve_action", "POST", "/api/actions/{action_id}/approve", actions.DecidedAnswer, actions.ApproveBody,
        access=Access.PERSON, refuses=(403, 404, 409),
        aliases=("/api/governance/workflows/{action_id}/approve",), summary="Approve an action.",
    ),
    Endpoint(
        "deny_action", "POST", "/api/actions/{action_id}/deny", actions.DecidedAnswer, actions.DenyBody,
        access=Access.PERSON, refuses=(403, 404, 409), body_optional=True,
        aliases=("/api/governance/workflows/{action_id}/deny",), summary="Deny an action.",
    ),
    Endpoint(
        "clear_denial", "POST", "/api/actions/{action_id}/clear-denial", actions.DecidedAnswer, actions.ClearBody,
        access=Access.PERSON, refuses=(403, 404, 409), body_optional=True,
        summary="End a person's denial: the same call made again asks people anew.",
    ),
    Endpoint(
        "get_approval", "GET", "/api/sdk/approval/{approval_id}", actions.ApprovalBody,
        refuses=(404,), summary="How an approval stands.",
    ),
    Endpoint(
        "get_kill_switch", "GET", "/api/sdk/kill-switch/status", actions.KillSwitchBody, query=actions.KillQuery,
        refuses=(403,), summary="Whether agents are stopped. Anything but an answer counts as stopped.",
    ),
    Endpoint(
        "trigger_kill_switch", "POST", "/api/billing/kill-switch/{organization_id}/trigger", actions.KillAnswer,
        actions.KillBody, access=Access.ADMIN, refuses=(404,), summary="Stop an agent, or all of them.",
    ),
    Endpoint(
        "release_kill_switch", "POST", "/api/billing/kill-switch/{organization_id}/release", actions.KillAnswer,
        actions.ReleaseBody, access=Access.ADMIN, refuses=(404,), summary="Let them go on.",
    ),
)  # fmt: skip

SYSTEM: tuple[Endpoint, ...] = (
    Endpoint(
        "health", "GET", "/health", system.HealthBody, access=Access.PUBLIC, summary="That the server lives.",
    ),
    Endpoint(
        "ready", "GET", "/ready", system.HealthBody, access=Access.PUBLIC, refuses=(503,),
        summary="That the server can record decisions.",
    ),
    Endpoint(
        "deployment_info", "GET", "/api/deployment-info", system.DeploymentBody, access=Access.PUBLIC,
        summary="What this server is, and its features.",
    ),
    Endpoint(
        "list_audit_log", "GET", "/api/audit/logs", system.AuditPage, query=system.AuditQuery,
        aliases=("/audit/logs",), refuses=(403,), summary="The audit trail, newest first.",
    ),
    Endpoint(
        "configure_webhook", "POST", "/api/sdk/webhooks/configure", system.WebhookAnswer, system.WebhookBody,
        access=Access.ADMIN, status=201, aliases=("/api/webhooks/configure", "/api/webhooks"),
        summary="Send events to an address.",
    ),
    Endpoint(
        "list_webhooks", "GET", "/api/webhooks", system.Webhooks, access=Access.ADMIN, query=system.Page,
        aliases=("/api/sdk/webhooks/configure", "/api/webhooks/configure"), summary="The organization's webhooks.",
    ),
    Endpoint(
        "update_webhook", "PUT", "/api/webhooks/{webhook_id}", system.WebhookAnswer, system.WebhookChange,
        access=Access.ADMIN, refuses=(404,), summary="Change a webhook.",
    ),
    Endpoint(
        "delete_webhook", "DELETE", "/api/webhooks/{webhook_id}", system.Done, access=Access.ADMIN,
        refuses=(404,), summary="Forget a webhook.",
    ),
    Endpoint(
        "test_webhook", "POST", "/api/webhooks/{webhook_id}/test", system.WebhookTest, access=Access.ADMIN,
        refuses=(404,), summary="Send a test event now.",
    ),
    Endpoint(
        "list_deliveries", "GET", "/api/webhooks/{webhook_id}/deliveries", system.Deliveries, access=Access.ADMIN,
        query=system.Page, refuses=(404,), summary="What was sent to a webhook, and how that went.",
    ),
)  # fmt: skip

ENDPOINTS: tuple[Endpoint, ...] = (*ACTIONS, *SYSTEM, *REGISTRY)
BY_NAME: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
