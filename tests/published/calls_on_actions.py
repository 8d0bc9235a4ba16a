"""What the SDK's methods about actions, people, policy and the audit trail must give."""

from __future__ import annotations

import json
from typing import Any

from published_shop import Shop, unique, until, waiting

RISK_LEVELS = {"low", "medium", "high", "critical"}


def evaluate_action(shop: Shop) -> None:
    """Allowed, denied and pending arrive as such, with a reason, a risk and a number for an id."""
    words = {"allowed": "approved", "denied": "denied", "pending": "pending_approval"}
    for action_type, parameters, decided in (
        ("customer_read", None, "allowed"),
        ("refund", {"amount": 20}, "allowed"),
        ("refund", {"amount": 900}, "pending"),
        ("customer_delete", None, "denied"),
        ("no.rule.knows.this", None, "denied"),
    ):
        said = shop.sdk.call(
            "evaluate_action", action_type, "crm", parameters=parameters, wait_for_decision=False
        )
        assert said["decision"] == decided, said
        assert int(said["action_id"]) > 0
        assert said["execution_allowed"] is (decided == "allowed")
        assert 0 <= said["risk_score"] <= 100
        assert said["risk_level"] in RISK_LEVELS
        for lists in ("policy_violations", "conditions", "required_approvers"):
            assert isinstance(said[lists], list)
        if shop.newer:
            assert said["status"] == words[decided]
            assert said["raw_status"] in (decided, words[decided])
    denied = shop.sdk.call("evaluate_action", "customer_delete", "crm")
    assert "Deletes are off." in denied["reason"]
    pending = shop.refund()
    assert pending["approval_request_id"]
    assert pending["expires_at"]
    assert "finance" in pending["required_approvers"]


def evaluate_action_waits(shop: Shop) -> None:
    """Without being told otherwise it waits: for a yes, and for a no."""
    for decide, decided in ((shop.approve_next, "allowed"), (shop.deny_next, "denied")):
        order = unique("order")
        shop.sdk.ask(
            "evaluate_action", "refund", "stripe", parameters={"amount": 900, "order": order}, timeout=50
        )
        decide(order)
        said = shop.sdk.answer()["result"]
        assert said["decision"] == decided
        assert said["execution_allowed"] is (decided == "allowed")


def evaluate_action_newer(shop: Shop) -> None:
    """What 2.7.1 added arrives as arguments and context; 2.5.2 does not know it."""
    words = {"tool_name": "postgresql", "description": "Monthly report", "business_justification": "Audit"}
    if not shop.newer:
        assert shop.sdk.fail("evaluate_action", "customer_read", "crm", **words)["raised"] == "TypeError"
        return
    said = shop.sdk.call("evaluate_action", "customer_read", "crm", parameters={"page": 3}, **words)
    kept = shop.ann.get(f"/api/v1/actions/{said['action_id']}")
    assert kept["action_details"] == {
        "page": 3,
        "tool_name": "postgresql",
        "description": "Monthly report",
    }
    assert kept["context"]["business_justification"] == "Audit"


def submit_action(shop: Shop) -> None:
    """The older name, in each of its forms: an ``AgentAction``, a dictionary, keywords."""
    fields = {"action_type": "refund", "resource": "stripe", "action_details": {"amount": 30}}
    whole = {"agent_id": shop.agent, "agent_name": "Shop", **fields}
    for said in (
        shop.sdk.call("submit_agent_action", **whole),
        shop.sdk.call("submit_action", whole),
        shop.sdk.call("submit_action", action_type="refund", resource="stripe", parameters={"amount": 30}),
        shop.sdk.call("submit_action", "refund", "stripe", {"amount": 30}),
    ):
        assert said["decision"] == "allowed", said
        kept = shop.ann.get(f"/api/v1/actions/{said['action_id']}")
        assert (kept["agent_id"], kept["agent_name"]) == (shop.agent, "Shop")
        assert kept["action_details"] == {"amount": 30}


def evaluate_actions(shop: Shop) -> None:
    """Many at once: each has its own decision, and one that is not even sent is counted as failed."""
    said = shop.sdk.call(
        "evaluate_actions",
        [
            {"action_type": "customer_read", "resource": "crm"},
            {"action_type": "customer_delete", "resource": "crm"},
            {"action_type": "refund", "resource": "stripe", "parameters": {"amount": 900}},
            {"action_type": "customer_read", "resource": ""},
        ],
    )
    assert (said["total"], said["succeeded"], said["failed"]) == (4, 3, 1)
    decided = {
        each["action_type"]: each["decision"]["decision"] for each in said["results"] if each["succeeded"]
    }
    assert decided == {"customer_read": "allowed", "customer_delete": "denied", "refund": "pending"}
    ids = {each["decision"]["action_id"] for each in said["results"] if each["succeeded"]}
    assert len(ids) == 3


def get_action_status(shop: Shop) -> None:
    """The decision as it stands: pending, then whose it was."""
    for decide, decided in ((shop.ann.approve, "allowed"), (shop.ann.deny, "denied")):
        asked = shop.refund()["action_id"]
        before = shop.sdk.call("get_action_status", asked)
        assert (before["action_id"], before["decision"]) == (asked, "pending")
        assert before["execution_allowed"] is False
        decide(asked)
        after = shop.sdk.call("get_action_status", asked)
        assert (after["action_id"], after["decision"]) == (asked, decided)
        assert after["execution_allowed"] is (decided == "allowed")
        if decided == "allowed":
            assert after["approved_by"] == "ann@example.com"
            assert after["approved_at"]
    assert shop.sdk.fail("get_action_status", "999999999")["status_code"] == 404


def wait_for_decision(shop: Shop) -> None:
    """Waiting ends with a person's decision, or with a time-out when there is none."""
    for decide, decided in ((shop.ann.approve, "allowed"), (shop.ann.deny, "denied")):
        asked = shop.refund()["action_id"]
        shop.sdk.ask("wait_for_decision", asked, timeout=30, poll_interval=0.2)
        decide(asked)
        assert shop.sdk.answer()["result"]["decision"] == decided
    late = shop.sdk.fail("wait_for_decision", shop.refund()["action_id"], timeout=1, poll_interval=0.2)
    assert late["raised"] == "TimeoutError"
    if shop.newer:
        asked = shop.refund()["action_id"]
        shop.ann.approve(asked)
        said = shop.sdk.call("wait_escalated", asked, timeout=30, poll_interval=0.2)
        assert (said["decision"]["decision"], said["told"]) == ("allowed", [])


def wait_for_approval(shop: Shop) -> None:
    """The older name waits the same, without a time-out: with one it is the package's own mistake."""
    asked = shop.refund()["action_id"]
    shop.sdk.ask("wait_for_approval", asked, poll_interval=0.2)
    shop.ann.approve(asked)
    assert shop.sdk.answer()["result"]["decision"] == "allowed"
    assert shop.sdk.fail("wait_for_approval", asked, timeout=5)["raised"] == "TypeError"


def check_approval(shop: Shop) -> None:
    """An approval under the id that the pending action gave: pending, approved by whom, denied by whom and why."""
    asked = shop.refund()
    before = shop.sdk.call("check_approval", asked["approval_request_id"])
    assert (before["approved"], before["denied"], before["pending"]) == (False, False, True)
    shop.ann.approve(asked["action_id"])
    after = shop.sdk.call("check_approval", asked["approval_request_id"])
    assert (after["approved"], after["denied"], after["pending"]) == (True, False, False)
    assert after["approver"] == "ann@example.com"
    assert after["timestamp"]
    refused = shop.refund()
    shop.ann.deny(refused["action_id"])
    denied = shop.sdk.call("check_approval", refused["approval_request_id"])
    assert (denied["approved"], denied["denied"], denied["pending"]) == (False, True, False)
    assert denied["approver"] == "ann@example.com"
    assert "Not this one." in denied["comments"]


def get_action_details(shop: Shop) -> None:
    """The whole action, whatever has become of it, with its story."""
    for decide, status in (
        (lambda _: None, "pending"),
        (shop.ann.approve, "approved"),
        (shop.ann.deny, "denied"),
    ):
        asked = shop.refund()["action_id"]
        decide(asked)
        said = shop.sdk.call("get_action_details", asked)
        assert {name: said[name] for name in ("action_id", "agent_id", "agent_name", "action_type")} == {
            "action_id": asked,
            "agent_id": shop.agent,
            "agent_name": "Shop",
            "action_type": "refund",
        }
        assert (said["resource"], said["resource_id"], said["status"]) == ("stripe", "orders/7", status)
        assert said["created_at"]
        assert all({"timestamp", "event", "actor"} <= set(entry) for entry in said["audit_trail"])
        assert len(said["audit_trail"]) >= (1 if status == "pending" else 2)
    assert shop.sdk.fail("get_action_details", "999999999")["status_code"] == 404


def list_actions(shop: Shop) -> None:
    """The agent's own actions, newest first, page by page and by status."""
    agent = unique("paging")
    client = shop.another(agent)
    asked = [
        shop.sdk.call("evaluate_action", action_type, "crm", _as=client, wait_for_decision=False)["action_id"]
        for action_type in ("a_read", "b_read", "c_delete", "d_read", "e_read")
    ]
    pages = [shop.sdk.call("list_actions", limit=2, offset=offset, _as=client) for offset in (0, 2, 4)]
    assert [len(page["actions"]) for page in pages] == [2, 2, 1]
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert [(page["total"], page["limit"], page["offset"]) for page in pages] == [
        (5, 2, 0),
        (5, 2, 2),
        (5, 2, 4),
    ]
    seen = [str(action["id"]) for page in pages for action in page["actions"]]
    assert seen == asked[::-1]
    assert {action["agent_id"] for page in pages for action in page["actions"]} == {agent}
    denied = shop.sdk.call("list_actions", status="denied", _as=client)
    assert [str(action["id"]) for action in denied["actions"]] == [asked[2]]


def log_action_completed(shop: Shop) -> None:
    """The outcome of an action that was allowed is recorded; one that was denied has none."""
    asked = shop.read()["action_id"]
    said = shop.sdk.call("log_action_completed", asked, result={"rows": 3}, duration_ms=12)
    assert "logged_locally" not in said, said
    assert shop.ann.get(f"/api/v1/actions/{asked}")["outcome"] == "completed"
    denied = shop.sdk.call("evaluate_action", "customer_delete", "crm")["action_id"]
    assert shop.sdk.call("log_action_completed", denied)["logged_locally"] is True
    assert shop.ann.get(f"/api/v1/actions/{denied}")["outcome"] != "completed"


def log_action_failed(shop: Shop) -> None:
    """The same for a failure, told as a text or as an object."""
    for error in ("the database was away", {"code": "E1", "message": "the database was away"}):
        asked = shop.read()["action_id"]
        said = shop.sdk.call("log_action_failed", asked, error, duration_ms=3)
        assert "logged_locally" not in said, said
        kept = shop.ann.get(f"/api/v1/actions/{asked}")
        assert kept["outcome"] == "failed"
        assert "the database was away" in json.dumps(kept)


def evaluate_policy(shop: Shop) -> None:
    """What would be decided, in the policy's words, without an action of it."""
    client = shop.another(unique("curious"))
    for action_type, decided in (
        ("customer_read", "allow"),
        ("customer_delete", "deny"),
        ("file.write", "require_approval"),
    ):
        said = shop.sdk.call(
            "evaluate_policy", action_type, "crm", risk_score=5.0, context={"a": 1}, _as=client
        )
        assert said["decision"] == decided
        assert isinstance(said["matched_policies"], list)
        assert isinstance(said["violations"], list)
        assert 0 <= said["risk_score"] <= 100
        assert said["evaluation_time_ms"] >= 0
    assert shop.sdk.call("list_actions", _as=client)["total"] == 0


def query_audit_log(shop: Shop) -> None:
    """The audit trail, newest first, page by page."""
    for _ in range(3):
        shop.read()
    pages = [shop.admin("query_audit_log", limit=2, offset=offset) for offset in (0, 2)]
    for page in pages:
        assert len(page["events"]) == 2
        assert page["total"] >= 4
        assert page["page_size"] == 2
        for event in page["events"]:
            assert event["event_id"]
            assert event["event_type"]
            assert event["timestamp"]
            assert isinstance(event["details"], dict)
    assert [page["page"] for page in pages] == [1, 2]
    ids = [event["event_id"] for page in pages for event in page["events"]]
    assert len(set(ids)) == 4


def get_resource_classification(shop: Shop) -> None:
    """How sensitive a kind of resource is; nothing of a kind that nobody classified."""
    kind = unique("table")
    assert shop.sdk.call("get_resource_classification", kind) is None
    given = {
        "resource_type": kind,
        "resource_id": "customers",
        "sensitivity_level": "confidential",
        "compliance_tags": ["gdpr"],
        "metadata": {"owner": "crm"},
    }
    shop.ida.make("/api/v1/resource-classifications", given)
    assert shop.sdk.call("get_resource_classification", kind) == given


def trigger_kill_switch(shop: Shop, organization: int) -> None:
    """An admin's key stops the organization and lets it go on; an agent's own may do neither."""
    reason = "An exercise of the whole shop."
    assert shop.sdk.fail("trigger_kill_switch", organization, reason)["raised"] == "AuthorizationError"
    try:
        stopped = shop.admin("trigger_kill_switch", organization, reason)
        assert stopped["success"] is True
        assert stopped["blocked"] is True
        refused = shop.sdk.fail("evaluate_action", "customer_read", "crm")
        assert (refused["raised"], refused["status_code"]) == ("HTTPError", 402)
        assert shop.sdk.fail("release_kill_switch", organization, reason)["raised"] == "AuthorizationError"
    finally:
        released = shop.admin("release_kill_switch", organization, reason)
    assert released["success"] is True
    assert released["blocked"] is False
    shop.read()
    assert shop.sdk.fail("trigger_kill_switch", organization, "short")["raised"] == "ValidationError"


def kill_switch_polling(shop: Shop, organization: int) -> None:
    """A polling client is stopped by the switch, says why, and goes on after it."""
    client = {"api_key": shop.admin_key, "environment": unique("polling")}
    reason = "An exercise of the polled switch."

    def polled(do: str, *args: Any) -> Any:
        return shop.sdk.call(do, *args, _as=client)

    polled("start_kill_switch_polling", 0.2)
    try:
        assert polled("is_blocked") is False
        assert polled("until_blocked", False) == {"blocked": False, "decision": "allowed"}
        try:
            shop.admin("trigger_kill_switch", organization, reason)
            said = polled("until_blocked", True)
            assert said["blocked"] is True
            assert said["raised"] == "KillSwitchError"
            assert reason in said["reason"]
        finally:
            shop.admin("release_kill_switch", organization, reason)
        assert polled("until_blocked", False) == {"blocked": False, "decision": "allowed"}
    finally:
        polled("stop_kill_switch_polling")
    polled("close")


def get_pending_commands(shop: Shop) -> None:
    """Commands to an agent and to all, until it acknowledges them; one that blocks has done so already."""
    client = shop.another(unique("agent"))
    agent = client["agent_id"]

    def waiting_commands() -> list[dict[str, Any]]:
        commands: list[dict[str, Any]] = shop.sdk.call("get_pending_commands", _as=client)
        return [one for one in commands if one["reason"].endswith(agent)]

    def told(path: str, command_type: str, broadcast: bool) -> dict[str, Any]:
        shop.ida.make(path, {"command_type": command_type, "reason": f"An exercise of {agent}"})
        (one,) = waiting_commands()
        assert (one["command_type"], one["is_broadcast"]) == (command_type, broadcast)
        assert one["target_type"] in ("agent", "organization")
        assert {"parameters", "status", "issued_by", "issued_via", "created_at", "expires_at"} <= set(one)
        assert shop.sdk.call("ack_command", one["command_id"], _as=client) is True
        assert waiting_commands() == []
        return one

    told("/api/registry/commands", "RATE_LIMIT", True)
    told(f"/api/registry/agents/{agent}/commands", "BLOCK", False)
    refused = shop.sdk.fail("evaluate_action", "customer_read", "crm", _as=client)
    assert (refused["raised"], refused["status_code"]) == ("HTTPError", 402)
    shop.read()
    told(f"/api/registry/agents/{agent}/commands", "UNBLOCK", False)
    assert shop.sdk.call("evaluate_action", "customer_read", "crm", _as=client)["decision"] == "allowed"
    assert shop.sdk.fail("ack_command", unique("nobody-sent-this"))["raised"] == "AuthorizationError"
    assert shop.sdk.fail("get_pending_commands", agent)["raised"] == "AuthorizationError"


def pending_then_seen(shop: Shop) -> None:
    """A person sees what waits: the arguments, the agent, and the rule that asks."""
    order = unique("order")
    shop.sdk.call(
        "evaluate_action",
        "refund",
        "stripe",
        parameters={"amount": 900, "order": order},
        wait_for_decision=False,
    )
    kept = shop.ann.get(f"/api/v1/actions/{waiting(shop.ann, order)}")
    assert kept["action_details"] == {"amount": 900, "order": order}
    assert (kept["agent_id"], kept["status"], kept["policy_matched"]) == (
        shop.agent,
        "pending",
        "big-refunds",
    )
    until(lambda: kept["reason"] != "")
