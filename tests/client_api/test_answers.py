"""What an answer means. What could be read in two ways is never an approval."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import SCHEDULES

from ascend_guard.api.actions import DecisionBody
from ascend_guard.client.api.answers import decision_of, items_of, kill_switch_of, page_of
from ascend_guard.errors import ServerError
from ascend_guard.model import ActionResult, Decision, RiskLevel

APPROVING = {"approved", "auto_approved", "executed", "allowed"}
DENYING = {"denied", "rejected"}
PENDING = {"pending", "pending_approval", "escalated", "timeout", "requires_modification"}
KNOWN = sorted(APPROVING | DENYING | PENDING)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    *("action_id", "id", "status", "decision", "execution_allowed", "requires_approval", "success"),
    *("risk_score", "risk_level", "reason", "claimed", "modified_arguments", "metadata", "decided_by"),
]
PLAUSIBLE = st.one_of(
    st.sampled_from(KNOWN), st.sampled_from([True, False, None, 12, "12", 0, 3.5, 100.1, -1, "low"]), JSON
)
BODIES = st.dictionaries(st.sampled_from([*NAMES, "other"]), PLAUSIBLE, max_size=9) | st.builds(
    lambda good, more: {**good, **more},
    st.fixed_dictionaries({"id": st.integers(1, 99), "status": st.sampled_from(KNOWN)}),
    st.dictionaries(st.sampled_from(NAMES), PLAUSIBLE, max_size=2),
)


def raw(body: Any) -> bytes:
    return json.dumps(body).encode()


def approves(body: Any) -> bool:
    """Whether an answer approves, said again from the documents and without the code under test."""
    if not isinstance(body, dict):
        return False
    words = [body.get(name) for name in ("status", "decision") if body.get(name) is not None]
    return (
        bool(words)
        and all(isinstance(word, str) and word in APPROVING for word in words)
        and (body.get("action_id") or body.get("id")) is not None
        and body.get("execution_allowed") in (None, True)
        and body.get("requires_approval") in (None, False)
        and body.get("success") in (None, True)
    )


@given(body=BODIES)
@settings(max_examples=SCHEDULES)
def test_only_a_plain_approval_approves(body: dict[str, Any]) -> None:
    """Whatever is in an answer: approved means that everything in it says so."""
    try:
        result = decision_of(raw(body))
    except ServerError:
        return
    assert result.is_approved() <= approves(body)
    assert type(result) is ActionResult
    assert result.action_id
    assert 0 <= result.risk_score <= 100


@given(
    body=st.binary(max_size=200)
    | BODIES.map(raw).flatmap(lambda whole: st.integers(0, len(whole)).map(lambda n: whole[:n]))
)
@settings(max_examples=SCHEDULES)
@example(b'{"id": 1, "status": "approved"')
@example(b"[" * 100_000)
@example(b'{"id":1,"status":"approved","x":' + b"[" * 100_000)
@example(b'{"id": 1, "status": "approved", "risk_score": NaN}')
@example(b"\xff")
def test_no_bytes_do_harm(body: bytes) -> None:
    """A result or a ``ServerError``, and an approval only from whole JSON."""
    try:
        result = decision_of(body)
    except ServerError:
        return
    assert result.is_approved() <= approves(json.loads(body))


@pytest.mark.parametrize("word", KNOWN)
@pytest.mark.parametrize("name", ["status", "decision"])
def test_every_known_word_is_understood(word: str, name: str) -> None:
    """Of either kind of server, under either name."""
    meant = decision_of(raw({"id": 5, name: word})).status
    assert meant is (
        Decision.APPROVED if word in APPROVING else Decision.DENIED if word in DENYING else Decision.PENDING
    )


@given(word=st.text(max_size=12).filter(lambda word: word not in KNOWN))
@example("Approved")
@example("approved ")
@example("")
@example("completed")
def test_an_unknown_word_is_a_failure(word: str) -> None:
    """Not pending: nobody would ever decide it."""
    with pytest.raises(ServerError):
        decision_of(raw({"id": 5, "status": word}))


@given(st.sampled_from(KNOWN), st.sampled_from(KNOWN))
def test_contradictions_are_failures(status: str, decision: str) -> None:
    """Status and decision must mean the same."""
    groups = [group for group in (APPROVING, DENYING, PENDING) if {status, decision} <= group]
    try:
        decision_of(raw({"id": 5, "status": status, "decision": decision}))
    except ServerError:
        assert not groups
    else:
        assert groups


@pytest.mark.parametrize(
    "more",
    [
        {"execution_allowed": False},
        {"requires_approval": True},
        {"success": False},
        {"execution_allowed": "true"},
        {"execution_allowed": 1},
        {"risk_score": 101},
        {"risk_score": -0.5},
        {"risk_score": "3"},
        {"risk_score": True},
        {"risk_level": "severe"},
        {"claimed": "yes"},
        {"claimed": None},
        {"modified_arguments": [1]},
        {"metadata": []},
        {"decision": 1},
        {"reason": {}},
    ],
)
def test_an_approval_that_is_not_well_formed_is_none(more: dict[str, Any]) -> None:
    """Each of these alone spoils it."""
    with pytest.raises(ServerError):
        decision_of(raw({"id": 5, "status": "approved", **more}))


@pytest.mark.parametrize(
    ("names", "asked", "fits"),
    [
        ({"id": 12, "action_id": "act_1"}, "12", True),
        ({"id": 12, "action_id": "act_1"}, "act_1", True),
        ({"id": 12, "action_id": "act_1"}, "act_2", False),
        ({"id": 12, "action_id": "act_1"}, "13", False),
        ({"id": 12}, "12", True),
        ({"id": 12}, "13", False),
        ({"action_id": "12"}, "13", False),
        ({"id": 12}, "act_1", True),  # REST API document, "Get Action Status": the answer has the number only
        ({"id": "x"}, "12", False),
    ],
)
def test_an_answer_is_about_the_action_asked_for(names: dict[str, Any], asked: str, fits: bool) -> None:
    """Another action's approval is not this one's."""
    body = raw({**names, "status": "approved"})
    if fits:
        assert decision_of(body, asked).is_approved()
    else:
        with pytest.raises(ServerError):
            decision_of(body, asked)


def test_the_documented_answer() -> None:
    """The REST API document's own example, field by field."""
    said = {
        "id": 12345,
        "action_id": "act_abc123xyz",
        "status": "approved",
        "risk_score": 3.5,
        "risk_level": "low",
        "summary": "Action approved - low risk database read",
        "created_at": "2025-12-16T10:30:00Z",
        "cvss_vector": "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N",
        "nist_controls": ["AC-3", "AU-12"],
        "mitre_techniques": [],
    }
    result = decision_of(raw(said))
    assert int(result.action_id) == 12345
    assert result.metadata["action_id"] == "act_abc123xyz"
    assert result.reason == said["summary"]
    assert result.timestamp == said["created_at"]
    assert result.metadata["nist_controls"] == ["AC-3", "AU-12"]
    assert (result.risk_score, result.risk_level) == (3.5, RiskLevel.LOW)


def test_our_own_servers_answer() -> None:
    """Everything the wire type has arrives: as a field of the result, or in its metadata."""
    body = DecisionBody(
        id=7, action_id="7", status="pending", decision="pending", success=True, execution_allowed=False,
        requires_approval=True, risk_score=55.0, risk_level="medium", reason="r", summary="s", message="m",
        timestamp="t", created_at="c", updated_at="u", pending_approvers=["finance"], quorum=2,
        mcp_governance={"server_registered": True}, metadata={"own": 1}, modified_arguments={"amount": 5},
    )  # fmt: skip
    result = decision_of(msgspec.json.encode(body))
    assert result.is_pending()
    assert result.modified_arguments == {"amount": 5}
    assert result.timestamp == "t"
    assert result.metadata["pending_approvers"] == ["finance"]
    assert result.metadata["mcp_governance"] == {"server_registered": True}
    assert result.metadata["own"] == 1


@pytest.mark.parametrize(
    ("score", "level"), [(0, "low"), (39.9, "low"), (40, "medium"), (70, "high"), (90, "critical"), (100, "critical")]
)  # fmt: skip
def test_a_missing_level_follows_from_the_score(score: float, level: str) -> None:
    """The bands at 40, 70 and 90."""
    assert decision_of(raw({"id": 5, "status": "denied", "risk_score": score})).risk_level == level


@given(
    st.dictionaries(st.sampled_from(["blocked", "active", "is_active", "reason"]), st.booleans() | JSON)
    | st.dictionaries(st.sampled_from(["blocked", "active", "is_active"]), st.booleans())
)
@settings(max_examples=SCHEDULES)
def test_the_kill_switch_is_off_only_when_everything_says_so(body: dict[str, Any]) -> None:
    """Under whatever names a server gives; anything but true and false is an error."""
    flags = [body[name] for name in ("blocked", "active", "is_active") if name in body]
    try:
        state = kill_switch_of(raw(body))
    except ServerError:
        return
    assert flags
    assert all(flag is True or flag is False for flag in flags)
    assert state.blocked is any(flags)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"true", b"{}", b'{"blocked": 0}', b'{"blocked": "false"}',
                                  b'{"blocked": null, "active": false}'])  # fmt: skip
def test_a_kill_switch_that_does_not_say_is_an_error(body: bytes) -> None:
    """The caller takes it for on."""
    with pytest.raises(ServerError):
        kill_switch_of(body)


def test_the_documented_kill_switch() -> None:
    """Both examples of the REST API document."""
    assert kill_switch_of(b'{"blocked": false, "reason": null}').blocked is False
    on = kill_switch_of(b'{"blocked": true, "reason": "Kill-switch activated"}')
    assert (on.blocked, on.reason) == (True, "Kill-switch activated")


def test_the_documented_page() -> None:
    """The REST API document's list of actions."""
    listed = {
        "actions": [
            {
                "id": 12345,
                "agent_id": "my-agent",
                "action_type": "database_read",
                "status": "approved",
                "risk_level": "low",
                "created_at": "2025-12-16T10:30:00Z",
            }
        ],
        "total": 150,
        "limit": 50,
        "offset": 0,
        "has_more": True,
    }
    page = page_of(raw(listed))
    assert [action.action_id for action in page.actions] == ["12345"]
    assert page.actions[0].metadata["agent_id"] == "my-agent"
    assert (page.total, page.limit, page.offset, page.has_more) == (150, 50, 0, True)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"actions": [], "total": "1", "limit": 1, "offset": 0, "has_more": false}']
)
def test_what_is_no_page_is_a_failure(body: bytes) -> None:
    """Not an empty list: somebody would take it for one."""
    with pytest.raises(ServerError):
        page_of(body)


@pytest.mark.parametrize(("body", "found"), [(b"[]", []), (b'{"webhooks": [{"id": 1}]}', [{"id": 1}])])
def test_lists_come_bare_or_named(body: bytes, found: list[Any]) -> None:
    """As servers differ."""
    assert items_of(body, "webhooks") == found


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'{"webhooks": {}}', b"7"])
def test_what_is_no_list_is_a_failure(body: bytes) -> None:
    """Commands that are not read are commands not obeyed."""
    with pytest.raises(ServerError):
        items_of(body, "webhooks")
