"""A request means what it says, or is refused: slips, doubles, lost bodies and contradictions change nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from organization_of_things import POLICY_OF_THINGS
from serving import Serving, serving
from world import Clock

from ascend_guard.api import misspellings
from ascend_guard.api.actions import McpSubmitBody, SubmitBody
from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.api.table import BY_NAME, ENDPOINTS

SUBMIT = "/api/v1/actions/submit"
STRICT = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None and not endpoint.tolerant]
BODILESS = [one for one in ENDPOINTS if one.body is None and one.method != "GET"]
ACTION = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", "resource": "r"}
SCOPE = (
    *("resource", "description", "resource_id", "tool_name", "action_details", "parameters", "context"),
    *("risk_indicators", "session_id", "orchestration_session_id", "parent_action_id", "orchestration_depth"),
    *("mcp_server_name", "model_id"),
)
"""The submit fields that docs/server.md lists."""


class World:
    """A server, who asks, and what its log has."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self.key = server.key("a")
        self.admin = server.key(None, "admin")
        self.session = requests.Session()

    def send(self, method: str, path: str, body: bytes | None, who: str, **headers: str) -> requests.Response:
        """One request of these bytes."""
        sent = {"Authorization": f"Bearer {who}", **headers}
        return self.session.request(method, self.server.url + path, data=body, headers=sent, timeout=30)

    def ask(
        self, endpoint: Endpoint, body: bytes | None, query: str = "", **headers: str
    ) -> requests.Response:
        """One request to an endpoint, by somebody whom it admits; every name in its path is 1."""
        people = (Access.PERSON, Access.PERSON_ADMIN)
        who = self.server.token(role="admin") if endpoint.access in people else self.admin
        path = endpoint.path.replace("{organization_id}", "local")
        return self.send(endpoint.method, re.sub(r"{\w+}", "1", path) + query, body, who, **headers)

    def submit(self, **more: Any) -> requests.Response:
        """An action of agent a's."""
        return self.send("POST", SUBMIT, json.dumps(ACTION | more).encode(), self.key)

    def pending(self, **more: Any) -> str:
        """One that waits."""
        answer = self.submit(action_type="refund", **more).json()
        assert answer["status"] == "pending", answer
        return str(answer["action_id"])

    def shown(self, action: str) -> dict[str, Any]:
        """As a person sees it."""
        found: dict[str, Any] = self.server.ask(
            "GET", f"/api/v1/actions/{action}", self.server.token()
        ).json()
        return found

    def log(self) -> int:
        """How many records there are."""
        return self.server.store.read(lambda reader: reader.count_log("local"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all."""
    path = tmp_path_factory.mktemp("strict") / "a.db"
    with serving(path, POLICY_OF_THINGS, clock=Clock()) as server:
        yield World(server)


def refused(answer: requests.Response, status: int = 422) -> str:
    """What a refusal says."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    return str(answer.json()["detail"])


def body_of(endpoint: Endpoint) -> dict[str, Any]:
    """The smallest body that an endpoint's type takes."""
    samples = {
        "agent_id": "1", "reason": "a reason of some length", "runner": "0" * 32, "digest": "ab" * 32,
        "running": "ab" * 32, "url": "https://x.example/", "events": ["*"], "command_type": "BLOCK",
        "outcomes": [{"action_id": "1", "status": "completed"}], "component_type": "model", "component_ids": [],
        "worker_agent_ids": ["w"], "mcp_server_ids": [1],
    }  # fmt: skip
    needed = [field for field in msgspec.structs.fields(endpoint.body) if field.required]
    return {field.encode_name: samples.get(field.encode_name, "x") for field in needed}


# --- the mechanism holds for the whole table ---------------------------------------------------------------------------


def structs(info: Any) -> Iterator[type]:
    """The types in a body's type that are objects with named fields."""
    if isinstance(info, msgspec.inspect.StructType):
        yield info.cls
        for field in info.fields:
            yield from structs(field.type)
    for inner in getattr(info, "types", ()):
        yield from structs(inner)
    for part in ("item_type", "value_type", "type"):
        if isinstance(getattr(info, part, None), msgspec.inspect.Type):
            yield from structs(getattr(info, part))


@pytest.mark.parametrize("endpoint", STRICT, ids=lambda endpoint: endpoint.name)
def test_every_other_body_has_no_room(endpoint: Endpoint) -> None:
    """Each body of the table that is not named tolerant has no room for other fields, and neither has what is in it."""
    for kind in structs(msgspec.inspect.type_info(endpoint.body)):
        assert kind.__struct_config__.forbid_unknown_fields, kind  # type: ignore[attr-defined]


def test_who_is_tolerant() -> None:
    """Submissions, reports, heartbeats and scans are tolerant; nothing that decides, stops, grants or configures."""
    assert {endpoint.name for endpoint in ENDPOINTS if endpoint.tolerant} == {
        *("submit_action", "submit_mcp_action", "evaluate_policy", "complete_action", "fail_action"),
        *("heartbeat", "scan_output"),
    }


def slipped(name: str, draw: st.DataObject) -> str:
    """A name as somebody might write it by mistake."""
    at = draw.draw(st.integers(0, len(name) - 1))
    kind = draw.draw(st.sampled_from(["left out", "doubled", "case", "camel", "hyphen", "plural", "swapped"]))
    return {
        "left out": name[:at] + name[at + 1 :],
        "doubled": name[:at] + name[at] + name[at:],
        "case": name.title(),
        "camel": re.sub(r"_(\w)", lambda found: found[1].upper(), name),
        "hyphen": name.replace("_", "-"),
        "plural": name + "s",
        "swapped": name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
    }[kind]


def test_a_slip_in_any_decision_is_refused(world: World) -> None:
    """A misspelt field of any body that decides or configures is a 422 that names the right one, and nothing is recorded."""
    seen: Counter[str] = Counter()

    @given(st.data())
    @settings(deadline=None)
    def slip(data: st.DataObject) -> None:
        endpoint = data.draw(st.sampled_from(STRICT))
        fields = endpoint.body.__struct_encode_fields__
        field = data.draw(st.sampled_from(fields))
        name = slipped(field, data)
        if name in fields or not name:
            return
        before = world.log()
        body = body_of(endpoint)
        value = body.pop(field, 1)
        said = refused(world.ask(endpoint, json.dumps({name: value} | body).encode()))
        assert "has no field" in said
        assert "Nothing was done" in said
        assert world.log() == before
        seen[endpoint.name] += 1
        if len(field) > 4:
            assert f"`{misspellings.nearest(name, fields)}`" in said
            seen["nearest"] += misspellings.nearest(name, fields) == field

    slip()
    assert len(seen) > 10
    assert seen["nearest"] > sum(seen.values()) // 4


@given(st.sampled_from(STRICT), st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.data())
def test_any_unknown_field_is_refused(
    world: World, endpoint: Endpoint, name: str, data: st.DataObject
) -> None:
    """So is a field of any other name, whatever its value; a name is shown shortened, and without control characters."""
    if name in endpoint.body.__struct_encode_fields__:
        return
    value = data.draw(st.sampled_from([None, False, True, 0, "", {}, [], {"amount": 1}]))
    said = refused(world.ask(endpoint, json.dumps(body_of(endpoint) | {name: value}).encode()))
    assert said.isprintable()
    assert len(said) < 1_500


@pytest.mark.parametrize(
    "edit",
    ["argument", "Arguments", "action_details", "modified_arguments", "args", "parameters", "argumentş"],
)
def test_an_edit_under_another_name(world: World, edit: str) -> None:
    """An approval whose arguments are misnamed approves nothing, and says `arguments`."""
    action = world.pending()
    said = refused(world.server.approve(action, **{edit: {"amount": 8.0}}))
    assert "Did you mean `arguments`?" in said
    assert world.shown(action)["status"] == "pending"


@pytest.mark.parametrize(
    "verdict", [{"approved": False}, {"approved": True}, {"decision": "denied"}, {"status": "no"}]
)
@pytest.mark.parametrize("path", ["approve", "deny"])
def test_a_verdict_in_the_body(world: World, verdict: dict[str, Any], path: str) -> None:
    """The path says what is decided; a body that says it too is refused, whether it agrees or not."""
    action = world.pending()
    token = world.server.token()
    for prefix in ("/api/actions", "/api/governance/workflows"):
        said = refused(world.server.ask("POST", f"{prefix}/{action}/{path}", token, verdict))
        assert "Only the path says which decision it is" in said
    assert world.shown(action)["status"] == "pending"


@pytest.mark.parametrize("name", ["agent", "agentId", "agent-id", "agents", "AGENT_ID"])
@pytest.mark.parametrize("how", ["trigger", "release"])
def test_a_switch_for_one_agent_only(world: World, name: str, how: str) -> None:
    """A switch for one agent whose name is in a misnamed field, or in the query, is neither turned nor released for all."""
    path = f"/api/billing/kill-switch/local/{how}"
    because = {"reason": "because of an incident"}
    on = world.server.ask("POST", "/api/billing/kill-switch/local/trigger", world.admin, because)
    try:
        assert on.status_code == 200
        said = refused(world.server.ask("POST", path, world.admin, because | {name: "b"}))
        assert "Did you mean `agent_id`?" in said
        refused(world.server.ask("POST", f"{path}?{name}=b", world.admin, because))
        refused(world.server.ask("POST", f"{path}?agent_id=b", world.admin, because))
        if how == "release":
            refused(world.server.ask("POST", path, world.admin, because | {"agent_id": None}))
        status = world.server.ask("GET", "/api/sdk/kill-switch/status", world.admin).json()
        assert (status["blocked"], status["agent_id"]) == (True, None)
    finally:
        world.server.ask("POST", "/api/billing/kill-switch/local/release", world.admin, because)


@pytest.mark.parametrize(
    "query", ["agent=a", "agentId=a", "agent_id=", "agent_id=a&agent_id=b", "agent_ids=a", "agent_id=%ff"]
)
def test_the_switch_of_which_agent(world: World, query: str) -> None:
    """Whoever asks for one agent's switch in a way that names none is not told the organization's."""
    answer = world.server.ask("GET", f"/api/sdk/kill-switch/status?{query}", world.admin)
    refused(answer)


def test_a_filter_is_not_ignored(world: World) -> None:
    """A misspelt filter of a list is refused; what resembles none, such as what breaks caches, is let pass."""
    for query in (
        "Status=pending",
        "statuss=pending",
        "agentid=a",
        "limits=3",
        "status=pending&status=denied",
        "status=",
        "agent_id=",
        "limit=",
    ):
        refused(world.server.ask("GET", f"/api/v1/actions?{query}", world.admin))
    assert world.server.ask("GET", "/api/v1/actions?_=17&utm_source=x&limit=3", world.admin).ok


# --- names that are given twice ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arguments", "comments"])
def test_an_approval_says_each_thing_once(world: World, name: str) -> None:
    """An approval with a name twice approves nothing, wherever in it the name is."""
    action = world.pending()
    bodies = [
        b'{"%b": null, "%b": null}' % (name.encode(), name.encode()),
        b'{"arguments": {"amount": 1.0, "amount": 1000.0}}',
        b'{"arguments": {"to": [{"iban": "a", "iban": "b"}]}}',
        b'{"arguments": {"amount": 1.0, "am\\u006funt": 1000.0}}',
    ]
    for body in bodies:
        answer = world.send("POST", f"/api/actions/{action}/approve", body, world.server.token())
        assert "twice" in refused(answer)
    assert world.shown(action)["status"] == "pending"


inner = st.sampled_from(["amount", "to", "é", "", "a b"])


@given(
    st.lists(st.sampled_from([*SubmitBody.__struct_encode_fields__, "extra"]), max_size=3),
    st.lists(inner),
    st.data(),
)
def test_a_submission_says_each_thing_once(
    world: World, more: list[str], path: list[str], data: st.DataObject
) -> None:
    """A submission with a name twice, at any depth, is refused, and decided otherwise."""
    given_ = list(ACTION.items()) + [(name, None) for name in dict.fromkeys(more) if name not in ACTION]
    given_ = [
        pair for pair in given_ if pair[0] not in ("detached", "repeatable", "excluded", "vouched_decorators")
    ]
    double = data.draw(st.booleans())
    text = '"amount": 1, "amount": 2' if double else '"amount": 1, "Amount": 2'
    for name in path:
        text = f"{json.dumps(name)}: {{{text}}}"
    pairs = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in given_ if name != "action_details"]
    pairs.insert(data.draw(st.integers(0, len(pairs))), f'"action_details": {{{text}}}')
    answer = world.send("POST", SUBMIT, f"{{{', '.join(pairs)}}}".encode(), world.key)
    if double:
        assert "`amount` occurs twice" in refused(answer)
    else:
        assert answer.status_code == 200, answer.text


# --- submissions -------------------------------------------------------------------------------------------------------


NEAR_MISSES = """
parent_actionid mcp_server modelid modelId Model_ID model parent_id toolName tool mcpServerName
mcp_servername mcp_server_nam sessionId session params args arguments action_detail riskIndicators
contxt resourceId orchestrationDepth depth orchestration_sesion_id parentActionId ｍodel_id mоdel_id
descripton parameter
"""


@pytest.mark.parametrize("name", NEAR_MISSES.split())
def test_a_near_miss_of_what_is_judged(world: World, name: str) -> None:
    """A submission that misnames a field by which it is judged is refused with the right name, and not recorded."""
    before = world.log()
    for path in (SUBMIT, "/api/governance/policies/evaluate-realtime"):
        said = refused(world.send("POST", path, json.dumps(ACTION | {name: "x"}).encode(), world.admin))
        if path == SUBMIT:
            found = re.search(r"Did you mean `(\w+)`\?", said)
            assert found, said
            assert found[1] in SCOPE
    assert world.log() == before


@pytest.mark.parametrize("name", ["agentId", "agent", "actionType", "action_typ", "agentName"])
def test_a_near_miss_of_what_is_needed(world: World, name: str) -> None:
    """A misspelt field that is needed is named, instead of only the one that is missing."""
    field = misspellings.meant(name, tuple(ACTION))
    assert field is not None
    body = {known: value for known, value in ACTION.items() if known != field} | {name: "x"}
    said = refused(world.send("POST", SUBMIT, json.dumps(body).encode(), world.key))
    assert f"Did you mean `{field}`?" in said


@given(st.sampled_from(SCOPE), st.data())
def test_a_slip_in_a_submission(world: World, field: str, data: st.DataObject) -> None:
    """One slip in any of the listed fields is refused, in any spelling."""
    name = slipped(field, data)
    absent = {known: value for known, value in ACTION.items() if known != field}
    if field == "resource":
        absent["description"] = "d"
    if name in SubmitBody.__struct_encode_fields__:
        return
    answer = world.send("POST", SUBMIT, json.dumps(absent | {name: "x"}).encode(), world.key)
    assert "has no field" in refused(answer)


ADDED = """
sdk_version timestamp metadata user_id request_id risk_score risk_level action_id resource_type
agent_type nonce tags priority environment source organization_id trace_id justification cost tenant
severity created_at
"""


@pytest.mark.parametrize("name", [*ADDED.split(), "x" * 300, "", "\U0001f600"])
@pytest.mark.parametrize("value", [None, 1, {"deep": [1, {"x": 2}]}])
def test_what_clients_add_is_let_pass(world: World, name: str, value: Any) -> None:
    """Fields of other names are ignored in a submission, as before: published clients send more than the documents say."""
    assert world.submit(**{name: value}).status_code == 200


def test_too_much_that_is_unknown(world: World) -> None:
    """A body of nothing but unknown fields costs no comparison of each with every known one."""
    assert world.submit(**{f"extra{number}": number for number in range(50)}).status_code == 200
    refused(world.submit(**{f"extra{number}": number for number in range(20_000)}))


@pytest.mark.parametrize(
    "name", [name for name in SubmitBody.__struct_fields__ if name not in McpSubmitBody.__struct_fields__]
)
def test_an_mcp_call_is_judged_by_all_it_says(world: World, name: str) -> None:
    """What only the other submission knows is refused in one of a tool on an MCP server, not dropped."""
    body = {"mcp_server": "files", "namespace": "fs", "verb": "read", "resource": "/x", name: "x"}
    refused(world.send("POST", "/api/v1/mcp/actions/submit", json.dumps(body).encode(), world.key))


@pytest.mark.parametrize(
    ("field", "value", "shows"),
    [
        ("model_id", "gpt-none", "MODEL"),
        ("parent_action_id", 999_999, "parent"),
        ("orchestration_depth", 6, "orchestration_depth"),
    ],
)
def test_an_mcp_call_has_a_model_and_a_parent(world: World, field: str, value: Any, shows: str) -> None:
    """A model and a parent that are named with a call of an MCP tool are judged as with any other action."""
    world.send("POST", "/api/registry/mcp-servers", b'{"server_name": "files"}', world.admin)
    body = {"mcp_server": "files", "namespace": "fs", "verb": "read", "resource": "/x", field: value}
    answer = world.send("POST", "/api/v1/mcp/actions/submit", json.dumps(body).encode(), world.key)
    assert answer.status_code in (403, 422), answer.text
    assert shows.lower() in answer.text.lower()


@pytest.mark.parametrize(
    "kind", ["", " ", "orders_read ", "\torders_read", "orders\nread", "x" * 256, 7, None, ["orders_read"]]
)
def test_an_action_type_that_is_none(world: World, kind: Any) -> None:
    """What cannot be the type of an action is refused with the documented code."""
    for path in (SUBMIT, "/api/governance/policies/evaluate-realtime"):
        answer = world.send("POST", path, json.dumps(ACTION | {"action_type": kind}).encode(), world.key)
        refused(answer)
        assert answer.json()["error_code"] == "INVALID_ACTION_TYPE"


# --- bodies that are not there -----------------------------------------------------------------------------------------

OPTIONAL = [endpoint for endpoint in ENDPOINTS if endpoint.body_optional]
REQUIRED = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None and not endpoint.body_optional]


def test_whose_body_may_be_left_out() -> None:
    """No approval, submission, switch or registration goes without a body; denials and reports may."""
    assert {endpoint.name for endpoint in OPTIONAL} == {
        *("deny_action", "clear_denial", "complete_action", "fail_action"),
        *(
            "activate_agent",
            "suspend_agent",
            "deactivate_agent",
            "activate_mcp_server",
            "deactivate_mcp_server",
        ),
    }


@pytest.mark.parametrize("endpoint", REQUIRED, ids=lambda endpoint: endpoint.name)
def test_a_body_that_is_missing(world: World, endpoint: Endpoint) -> None:
    """An endpoint that acts on a body refuses a request without one, and records nothing."""
    before = world.log()
    for body in (None, b""):
        answer = world.ask(endpoint, body)
        assert "none arrived" in refused(answer, 400)
        assert answer.json()["error_code"] == "MISSING_REQUIRED_FIELD"
    assert world.log() == before


def test_an_approval_without_a_body(world: World) -> None:
    """A person who approves says so with a body, be it empty: one that was lost may have had other arguments."""
    action = world.pending()
    path = f"/api/actions/{action}/approve"
    assert "{} to name nothing" in refused(world.send("POST", path, None, world.server.token()), 400)
    assert world.send("POST", path, b"{}", world.server.token()).ok


def chunks_of_nothing() -> Iterator[bytes]:
    """A body that is announced, and in which nothing is."""
    yield from ()


@pytest.mark.parametrize("endpoint", OPTIONAL, ids=lambda endpoint: endpoint.name)
def test_a_body_that_was_announced(world: World, endpoint: Endpoint) -> None:
    """Where a body may be left out, one that the head announces must be there."""
    answer = world.ask(endpoint, chunks_of_nothing())  # type: ignore[arg-type]
    assert "none arrived" in refused(answer, 400)
    assert world.ask(endpoint, None).status_code != 400


@pytest.mark.parametrize("endpoint", BODILESS, ids=lambda endpoint: endpoint.name)
def test_a_body_where_none_is_taken(world: World, endpoint: Endpoint) -> None:
    """What is said to an endpoint that takes no body is refused, not ignored; an empty object says nothing."""
    before = world.log()
    said = refused(world.ask(endpoint, b'{"acknowledged": false}'))
    assert "takes no body" in said
    refused(world.ask(endpoint, None, "?dry_run=true"))
    assert world.log() == before
    assert world.ask(endpoint, b"{}").status_code not in (400, 422)


def test_a_question_in_the_body(world: World) -> None:
    """A question with its filter in the body is not answered as if it had none."""
    status = BY_NAME["get_kill_switch"]
    refused(world.ask(status, b'{"agent_id": "a"}'))
    assert world.ask(status, b"{}").ok


# --- contradictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "body"),
    [
        ("complete", {"status": "failed"}),
        ("complete", {"unknown": True}),
        ("complete", {"error": "it broke"}),
        ("complete", {"failed_at": "2026-01-01T00:00:00Z"}),
        ("complete", {"action_id": "999999"}),
        ("complete", {"action_id": 999999}),
        ("complete", {"action_id": {"x": 1}}),
        ("complete", {"unkown": True}),
        ("fail", {"status": "completed"}),
        ("fail", {"completed_at": "2026-01-01T00:00:00Z"}),
        ("fail", {"action_id": "0"}),
        ("fail", {"Status": "completed"}),
    ],
    ids=str,
)
def test_a_report_that_contradicts_its_path(world: World, how: str, body: dict[str, Any]) -> None:
    """A report whose body says otherwise than its path is refused, and the right one can be made after it."""
    action = world.submit().json()["action_id"]
    path = f"/api/agent-action/{action}/{how}"
    refused(world.send("POST", path, json.dumps(body).encode(), world.key))
    assert world.shown(action)["outcome"] is None
    outcome = {"complete": "completed", "fail": "failed"}[how]
    body = {"action_id": action, "status": outcome, f"{outcome}_at": "2026-01-01T00:00:00Z", "extra": 1}
    assert world.send("POST", path, json.dumps(body).encode(), world.key).ok
    assert world.shown(action)["outcome"] == outcome


def test_all_that_a_person_says_is_kept(world: World) -> None:
    """A comment and a reason under several names are all recorded."""
    action = world.pending(session_id="said")
    said = {"comments": "Charged twice.", "comment": "Charged twice.", "reason": "See the ticket."}
    assert world.server.deny(action, **said).json()["comments"] == "Charged twice.\nSee the ticket."


# --- the documented words ----------------------------------------------------------------------------------------------


def test_filters_by_the_published_words(world: World) -> None:
    """`pending_approval`, `auto_approved` and `executed` list what they say, and each total agrees."""
    key = world.server.key("words")

    def submit(kind: str, **more: Any) -> str:
        body = {"agent_id": "words", "agent_name": "W", "action_type": kind, "resource": "r", **more}
        return str(world.server.ask("POST", SUBMIT, key, body).json()["action_id"])

    auto, ran, failed = submit("orders_read"), submit("orders_read"), submit("orders_read")
    waits, agreed = submit("refund", session_id="1"), submit("refund", session_id="2")
    submit("x_delete")
    assert world.server.approve(agreed).ok
    assert world.server.ask("POST", f"/api/agent-action/{ran}/complete", key, {}).ok
    assert world.server.ask("POST", f"/api/agent-action/{agreed}/complete", key, {}).ok
    assert world.server.ask("POST", f"/api/agent-action/{failed}/fail", key, {}).ok
    expected = {
        "pending_approval": [waits],
        "pending": [waits],
        "auto_approved": [failed, ran, auto],
        "approved": [agreed, failed, ran, auto],
        "executed": [agreed, ran],
    }
    for path in ("/api/v1/actions", "/api/agent-activity"):
        for word, actions in expected.items():
            page = world.server.ask("GET", f"{path}?status={word}", key).json()
            assert [action["action_id"] for action in page["actions"]] == actions, word
            assert page["total"] == len(actions)
            few = world.server.ask("GET", f"{path}?status={word}&limit=1", key).json()
            assert (len(few["actions"]), few["has_more"]) == (1, len(actions) > 1)
    refused(world.server.ask("GET", "/api/v1/actions?status=done", key))


@pytest.mark.parametrize(("kind", "decision"), [("orders_read", "approved"), ("x_delete", "denied")])
def test_the_policys_decision_is_in_the_story(world: World, kind: str, decision: str) -> None:
    """What the policy decided at once, the trail shows as decided by `auto`, after it was submitted; no person did."""
    shown = world.shown(world.submit(action_type=kind).json()["action_id"])
    steps = [(step["event"], step["actor"]) for step in shown["audit_trail"]]
    assert steps[:2] == [("submitted", "a"), (decision, "auto")]
    person = world.shown(approved_by_ann(world))["audit_trail"]
    assert [step["actor"] for step in person if step["event"] == "approved"] == ["ann@example.com"]


def approved_by_ann(world: World) -> str:
    """An action that a person approved."""
    action = world.pending(session_id="ann")
    world.server.approve(action)
    return action


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/registry/agents/nobody", None),
        ("PUT", "/api/registry/agents/nobody", {"environment": "x"}),
        ("DELETE", "/api/registry/agents/nobody", None),
        ("POST", "/api/registry/agents/nobody/suspend", {}),
        ("GET", "/api/agents/health/nobody", None),
        ("PUT", "/api/v1/supply-chain/agents/nobody/dependencies", {"component_ids": []}),
    ],
)
def test_an_agent_that_is_not_registered(world: World, method: str, path: str, body: Any) -> None:
    """Who asks for an agent that is not registered gets the documented code; of other things, the usual one."""
    answer = world.server.ask(method, path, world.admin, body)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "AGENT_NOT_FOUND")
    other = world.server.ask("GET", "/api/registry/mcp-servers/nobody", world.admin)
    assert (other.status_code, other.json()["error_code"]) == (404, "NOT_FOUND")


# --- changes of nothing, and refusals by the policy --------------------------------------------------------------------

CHANGES = [one for one in ENDPOINTS if one.method == "PUT" and one.name != "update_webhook"]


@pytest.mark.parametrize("endpoint", CHANGES, ids=lambda endpoint: endpoint.name)
def test_a_change_of_nothing(world: World, endpoint: Endpoint) -> None:
    """A change that names nothing is refused, not reported as done."""
    before = world.log()
    for body in (b"{}", b" { } "):
        answer = world.ask(endpoint, body)
        assert answer.status_code in (400, 422), answer.text
    assert world.log() == before


@pytest.mark.parametrize("name", ["url", "events", "secret", "active"])
def test_a_change_to_nothing(world: World, name: str) -> None:
    """A webhook's field that is changed to null is refused, not left as it is."""
    refused(world.ask(BY_NAME["update_webhook"], json.dumps({name: None}).encode()))


def test_outcomes_that_contradict_themselves(world: World) -> None:
    """Of several outcomes, one that says two things is refused, and the others are recorded."""
    actions = [world.submit().json()["action_id"] for _ in range(3)]
    items: list[dict[str, Any]] = [{"action_id": action, "status": "completed"} for action in actions]
    items[0]["unknown"] = True
    items[1]["error"] = "it broke"
    answer = world.server.ask("POST", "/api/v1/actions/outcomes", world.key, {"outcomes": items}).json()
    assert answer["recorded"] == 1
    assert [one["action_id"] for one in answer["refused"]] == actions[:2]
    assert [world.shown(action)["outcome"] for action in actions] == [None, None, "completed"]


def test_a_nested_slip(world: World) -> None:
    """A misspelt field inside a list is found, and the right one is named."""
    items = [{"action_id": "1", "status": "completed", "unkown": True}]
    said = refused(world.server.ask("POST", "/api/v1/actions/outcomes", world.key, {"outcomes": items}))
    assert "Did you mean `unknown`?" in said
    weak = {"component_id": "c", "component_name": "c", "component_type": "model"}
    weak |= {"vulnerabilities": [{"vulnerability_id": "v", "severity": "low", "fixed": "1"}]}  # type: ignore[dict-item]
    said = refused(world.server.ask("POST", "/api/v1/supply-chain/components", world.admin, weak))
    assert "Did you mean `fixed_version`?" in said


@pytest.mark.parametrize("size", [400, 1_000, 1_000_000])
@pytest.mark.parametrize("letter", ["a", "é", "\ufdfa"])
def test_names_without_end(world: World, size: int, letter: str) -> None:
    """A name as long as a body may be is let pass or refused like a short one, and not kept in memory to be recognised."""
    name = letter * (size // (len(json.dumps(letter)) - 2))
    before = misspellings._meant.cache_info().currsize
    assert world.submit(**{name: 1}).status_code == 200
    assert (
        len(refused(world.server.approve(world.pending(session_id=f"{size}{letter}"), **{name: 1}))) < 1_000
    )
    assert misspellings._meant.cache_info().currsize <= before + (len(name) <= misspellings.LONGEST) * 2
