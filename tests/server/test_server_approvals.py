"""People decide, each once, and only those who were asked; an agent never approves itself."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from recorded import trail_of
from serving import Serving, serving
from world import Clock, eventually

from ascend_guard.api.table import BY_NAME
from ascend_guard.server.access.tokens import LEEWAY, LOCAL_ISSUER, LocalIssuer

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: money, actions: ["pay*"], effect: require_approval, approvers: [finance], quorum: 2, timeout: 30m}
  - {name: abroad, actions: ["*_abroad"], effect: require_approval, approvers: [legal, security], timeout: 30m}
  - {name: refunds, actions: [refund], effect: require_approval, approvers: [finance], timeout: 30m}
  - {name: vips, resources: ["vip/*"], effect: deny, reason: Not for VIPs.}
  - {name: shared, resources: ["shared/*"], effect: require_approval, quorum: 2, timeout: 30m}
  - {name: huge, actions: [refund], when: args.amount > 1000.0, effect: deny, reason: Too much.}
"""

DIGEST, RUNNER = "ab" * 32, "cd" * 16

APPROVING = [
    path.replace("{action_id}", "{}")
    for name in ("approve_action", "deny_action", "clear_denial")
    for path in (BY_NAME[name].path, *BY_NAME[name].aliases)
]


class World:
    """A server whose time can be put ahead, with an agent and people."""

    def __init__(self, server: Serving, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.key = server.key("a")
        self.issuer = LocalIssuer(server.store.secret)

    def submit(self, action_type: str = "refund", **more: Any) -> str:
        """A pending action of agent a's, bound to its digest."""
        body = {"agent_id": "a", "agent_name": "A", "action_type": action_type, "resource": "r", **more}
        body.setdefault("action_details", {"amount": 7.0})
        body.setdefault("session_id", uuid.uuid4().hex)  # another call, so that no earlier denial answers it
        own = {"digest": DIGEST, "runner": RUNNER}
        answer = self.server.ask("POST", "/api/v1/actions/submit", self.key, own | body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "pending"
        return str(answer.json()["action_id"])

    def person(self, user: str, *groups: str, role: str = "approver") -> str:
        """A person's token."""
        return self.server.token(user, role, groups)

    def approve(self, action: str, token: str, **body: Any) -> requests.Response:
        """A person's yes."""
        return self.server.ask("POST", f"/api/actions/{action}/approve", token, body)

    def deny(self, action: str, token: str, **body: Any) -> requests.Response:
        """A person's no."""
        return self.server.ask("POST", f"/api/actions/{action}/deny", token, body or None)

    def claim(self, action: str, runner: str = RUNNER, **edited: Any) -> requests.Response:
        """Take the permit; ``edited`` describes a call that an approver edited."""
        body = {"digest": DIGEST, "running": DIGEST, "runner": runner, **edited}
        return self.server.ask("POST", f"/api/v1/actions/{action}/claim", self.key, body)

    def status(self, action: str) -> str:
        """As it is kept."""
        row = self.server.store.read(lambda reader: reader.action("local", int(action)))
        assert row is not None
        return row.status

    def story(self, action: str) -> list[str]:
        """Its audit records' events."""
        return self.server.store.read(
            lambda reader: [record.event for record in trail_of(reader, action)], latest=True
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all."""
    clock = Clock()
    with serving(tmp_path_factory.mktemp("approvals") / "a.db", POLICY, clock=clock) as server:
        yield World(server, clock)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What calls give that are made at the same moment."""
    gate, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def work(number: int, call: Callable[[], Any]) -> None:
        gate.wait(20)
        answers[number] = call()

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


# --- who may decide --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", APPROVING)
@pytest.mark.parametrize("agent", ["a", None])
@pytest.mark.parametrize("role", ["agent", "admin"])
def test_no_key_approves(world: World, path: str, agent: str | None, role: str) -> None:
    """An API key of any kind, however it is sent, is a 401 at every approving endpoint, and decides nothing."""
    world.clock.ahead += 70.0
    key = world.server.key(agent, role)
    action = world.submit()
    url = world.server.url + path.format(action)
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}"},
        {"Authorization": f"BEARER   {key}"},
        {"X-API-Key": key},
        {"x-api-key": key, "Authorization": f"Bearer {key}"},
        {"Authorization": f"Bearer {key}.{key}.{key}"},
        {"Authorization": f"Basic {key}"},
        {"X-API-Key": key, "Authorization": "Bearer a.b.c"},
        {"X-API-Key": world.person("ann@example.com", "finance")},
        {"X-API-Key": key, "Authorization": f"Bearer {world.person('ann@example.com', 'finance')}"},
        {"X-Forwarded-User": "ann@example.com", "X-API-Key": key},
        {},
    ):
        answer = requests.post(url, json={}, headers=headers, timeout=20)
        assert answer.status_code == 401, headers
        assert answer.json()["error_code"] == "INVALID_API_KEY"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert world.status(action) == "pending"


@pytest.mark.parametrize("spelling", ["{}/", "/{}", "{}%2f", "{}%0a", "{}%00", "{}/..", "{};x"])
@pytest.mark.parametrize("path", APPROVING)
def test_no_spelling_of_the_path_lets_a_key_in(world: World, path: str, spelling: str) -> None:
    """A path that nearly is an approving one decides nothing."""
    world.clock.ahead += 2.0
    action = world.submit()
    url = world.server.url + spelling.format(path.format(action))
    answer = requests.post(url, json={}, headers={"X-API-Key": world.key}, timeout=20)
    assert answer.status_code in (401, 404, 405)
    assert world.status(action) == "pending"


@pytest.mark.parametrize("path", APPROVING)
def test_a_viewer_only_looks(world: World, path: str) -> None:
    """A person who is a viewer gets a 403, of whatever groups they are."""
    action = world.submit()
    token = world.person("vic@example.com", "finance", role="viewer")
    refused = world.server.ask("POST", path.format(action), token, {})
    assert (refused.status_code, refused.json()["error_code"]) == (403, "FORBIDDEN")
    assert world.server.ask("GET", f"/api/v1/actions/{action}", token).ok
    assert world.status(action) == "pending"


def test_a_person_of_another_organization_finds_nothing(world: World) -> None:
    """An approver of another organization gets the answer for an action that does not exist."""
    world.server.key(None, "agent", "elsewhere")
    action = world.submit()
    token = world.server.token("eve@example.com", "admin", ("finance", "legal"), "elsewhere")
    for path in APPROVING:
        real = world.server.ask("POST", path.format(action), token, {})
        ghost = world.server.ask("POST", path.format(999_999_999), token, {})
        assert real.status_code == ghost.status_code == 404
        assert real.text.replace(action, "#") == ghost.text.replace("999999999", "#")
    assert world.status(action) == "pending"


def test_people_do_not_act(world: World) -> None:
    """A person of any role cannot submit, claim, withdraw or settle: those are an agent's."""
    action = world.submit()
    body = {"agent_id": "a", "agent_name": "A", "action_type": "orders_read", "resource": "r"}
    mcp = {"mcp_server": "s", "namespace": "n", "verb": "v", "resource": "r"}
    before = world.server.store.read(lambda reader: reader.heads())
    for role in ("viewer", "approver", "admin"):
        token = world.person(f"{role}@example.com", "finance", role=role)
        for path, sent in (
            ("/api/v1/actions/submit", body),
            ("/api/v1/mcp/actions/submit", mcp),
            (f"/api/v1/actions/{action}/claim", {"digest": DIGEST, "running": DIGEST, "runner": RUNNER}),
            (f"/api/v1/actions/{action}/withdraw", {"reason": "no more"}),
            (f"/api/v1/actions/{action}/detach", {"runner": RUNNER}),
            (f"/api/agent-action/{action}/complete", {}),
            (f"/api/agent-action/{action}/fail", {}),
        ):
            assert world.server.ask("POST", path, token, sent).status_code == 403, path
    assert world.server.store.read(lambda reader: reader.heads()) == before


def _token(world: World, **claims: Any) -> str:
    now = int(time.time())
    standard = {
        "iss": LOCAL_ISSUER,
        "aud": LOCAL_ISSUER,
        "sub": "ann@example.com",
        "role": "approver",
        "groups": ["finance"],
        "organization": "local",
        "iat": now - 3600,
        "exp": now + 3600,
    }
    return jwt.encode(standard | claims, world.issuer._private, algorithm="EdDSA")


def test_a_token_that_has_expired(world: World) -> None:
    """An approver's token is good until its end and the few seconds two clocks may differ, and not after."""
    action = world.submit()
    over = _token(world, exp=int(time.time()) - LEEWAY - 5)
    refused = world.approve(action, over)
    assert (refused.status_code, world.status(action)) == (401, "pending")
    assert "expired" in refused.json()["detail"]
    assert world.approve(action, _token(world)).ok


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "root"},
        {"role": ["approver"]},
        {"role": None},
        {"organization": ""},
        {"organization": ["local"]},
        {"organization": None},
        {"sub": ""},
        {"sub": "key:1"},
        {"sub": "KEY:1"},
        {"sub": "a\nb"},
        {"sub": "system"},
        {"iss": "https://evil.example.com"},
        {"aud": "another"},
        {"nbf": 4_000_000_000},
        {"exp": None},
    ],
    ids=str,
)
def test_odd_tokens_are_nobodys(world: World, claims: dict[str, Any]) -> None:
    """A token that is signed but says what no person's token says signs nobody in."""
    world.clock.ahead += 2.0
    action = world.submit()
    token = _token(world, **{name: value for name, value in claims.items() if value is not None})
    if None in claims.values():
        held = jwt.decode(token, options={"verify_signature": False})
        left = {name: value for name, value in held.items() if claims.get(name, 1) is not None}
        token = jwt.encode(left, world.issuer._private, algorithm="EdDSA")
    assert world.approve(action, token).status_code == 401
    assert world.status(action) == "pending"


@given(st.data())
def test_a_token_that_was_changed(world: World, data: st.DataObject) -> None:
    """Any one character of a token changed, taken out or added, and it signs nobody in."""
    world.clock.ahead += 2.0
    token = world.person("ann@example.com", "finance")
    place = data.draw(st.integers(0, len(token) - 2))  # the last one's lowest bits may say nothing
    instead = data.draw(st.sampled_from(["", "A", "B", ".", "-", "=", "AA"]))
    changed = token[:place] + instead + token[place + 1 :]
    if changed != token:
        answer = world.server.ask("GET", "/api/v1/actions", changed)
        assert answer.status_code == 401


def test_tokens_of_other_makes(world: World) -> None:
    """Unsigned tokens and those signed with what is public sign nobody in."""
    claims = jwt.decode(_token(world), options={"verify_signature": False})
    public = world.issuer._public.public_bytes_raw()
    forged = [
        jwt.encode(claims, None, algorithm="none"),  # type: ignore[arg-type]
        jwt.encode(claims, public, algorithm="HS256"),
        LocalIssuer(b"another secret").issue("ann@example.com", role="admin", groups=["finance"]),
        _token(world).rpartition(".")[0] + ".",
    ]
    for token in forged:
        assert world.server.ask("GET", "/api/v1/actions", token).status_code == 401


# --- how many must agree ---------------------------------------------------------------------------------------------

GROUPS = ["finance", "legal", "security", "sales"]
people = st.dictionaries(
    st.sampled_from([f"p{number}@example.com" for number in range(5)]),
    st.sets(st.sampled_from(GROUPS), max_size=3),
    min_size=1,
)


@given(people, st.data())
def test_every_rules_own_people_must_agree(
    world: World, who: dict[str, set[str]], data: st.DataObject
) -> None:
    """With two rules (two of finance, one of legal or security) an action is approved exactly when both have theirs."""
    action = world.submit("pay_abroad")
    given_: set[str] = set()
    for user in data.draw(st.lists(st.sampled_from(sorted(who)), max_size=8)):
        answer = world.approve(action, world.person(user, *who[user]))
        if world_decided := _enough(who, given_):
            assert answer.status_code == 409
        elif not who[user] & {"finance", "legal", "security"}:
            assert answer.status_code == 403
        else:
            given_.add(user)
            assert answer.status_code == 200, answer.text
            assert answer.json()["approvals"] == len(given_)
            assert answer.json()["status"] == ("approved" if _enough(who, given_) else "pending")
        assert world.status(action) == ("approved" if world_decided or _enough(who, given_) else "pending")
    kinds = [event for event in world.story(action) if event in ("approval", "approved")]
    assert kinds.count("approved") == int(_enough(who, given_))
    assert world.claim(action).status_code == (200 if _enough(who, given_) else 409)


def _enough(who: dict[str, set[str]], given_: set[str]) -> bool:
    finance = [user for user in given_ if "finance" in who[user]]
    return len(finance) >= 2 and any(who[user] & {"legal", "security"} for user in given_)


@given(st.integers(0, 4))
def test_the_same_person_counts_once(world: World, clicks: int) -> None:
    """However often one person agrees, by whichever path, it is one agreement."""
    action = world.submit("pay_here")
    for path in itertools.islice(itertools.cycle(APPROVING[:2]), clicks):
        answer = world.server.ask("POST", path.format(action), world.person("ann@example.com", "finance"), {})
        assert (answer.json()["status"], answer.json()["approvals"]) == ("pending", 1)
    assert world.approve(action, world.person("bob@example.com", "finance")).json()["status"] == (
        "approved" if clicks else "pending"
    )


def test_the_same_person_with_two_tokens_at_once_counts_once(world: World) -> None:
    """Ann, clicking in eight windows at the same moment, is one of the two who must agree."""
    action = world.submit("pay_here")
    tokens = [world.person("ann@example.com", "finance", "sales") for _ in range(8)]
    answers = together(*(lambda token=token: world.approve(action, token) for token in tokens))
    assert {answer.json()["status"] for answer in answers} == {"pending"}
    assert world.status(action) == "pending"


@pytest.mark.parametrize("round", range(5))
def test_approvers_who_click_together(world: World, round: int) -> None:
    """Of people who say yes at the same moment one decides, the others are told so; and there is one permit."""
    action = world.submit()
    tokens = [world.person(f"p{number}@example.com", "finance") for number in range(6)]
    answers = together(*(lambda token=token: world.approve(action, token) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    claims = together(*(lambda n=n: world.claim(action, f"{n:032x}") for n in range(6)))
    assert sorted(answer.status_code for answer in claims) == [200] + [409] * 5
    story = world.story(action)
    assert (story.count("approved"), story.count("started")) == (1, 1)


@pytest.mark.parametrize("round", range(5))
def test_a_yes_and_a_no_at_once(world: World, round: int) -> None:
    """Of a yes and a no at the same moment exactly one holds, and a permit there is only after the yes."""
    action = world.submit()
    ann, bob = world.person("ann@example.com", "finance"), world.person("bob@example.com", "finance")
    yes, no = together(lambda: world.approve(action, ann), lambda: world.deny(action, bob))
    assert {yes.status_code, no.status_code} == {200, 409}
    assert world.status(action) == ("approved" if yes.ok else "denied")
    assert world.claim(action).status_code == (200 if yes.ok else 409)


# --- edits, deadlines ------------------------------------------------------------------------------------------------


@given(st.floats(0, 5000, allow_subnormal=False))
def test_edited_arguments_are_judged_again(world: World, amount: float) -> None:
    """What an approver puts instead of the caller's values is judged like the caller's; what is denied changes nothing."""
    action = world.submit()
    answer = world.approve(action, world.person("ann@example.com", "finance"), arguments={"amount": amount})
    if amount > 1000.0:
        assert answer.status_code == 403
        assert "Too much" in answer.json()["detail"]
        assert world.status(action) == "pending"
        detail = world.server.ask("GET", f"/api/v1/actions/{action}", world.key).json()
        assert detail["modified_arguments"] is None
    else:
        assert answer.status_code == 200
        assert world.claim(action, **described(amount=amount)).json()["modified_arguments"] == {
            "amount": amount
        }


def described(resource: str = "r", **edits: Any) -> dict[str, Any]:
    """What our client sends with the claim of an edited call."""
    return {"resource": resource, "action_details": {"amount": 7.0} | edits, "modified_arguments": edits}


def test_an_edited_call_is_judged_as_it_will_run(world: World) -> None:
    """By the server's policy, on the resource as described: denied, held for more people, or run as the action says."""
    ann, bob = world.person("ann@example.com", "finance"), world.person("bob@example.com", "finance")
    denied, held = world.submit(), world.submit()
    for action in (denied, held):
        assert world.approve(action, ann, arguments={"amount": 8.0}).json()["status"] == "approved"
    refused = world.claim(denied, **described("vip/1", amount=8.0))
    assert refused.status_code == 403
    assert "Not for VIPs" in refused.json()["detail"]
    assert (world.status(denied), world.story(denied)[-1]) == ("denied", "withdrawn")
    asked = world.claim(held, **described("shared/1", amount=8.0)).json()
    assert (asked["status"], asked["claimed"], asked["quorum"]) == ("pending", False, 2)
    assert world.story(held)[-1] == "reopened"
    assert world.claim(held, **described("shared/1", amount=8.0)).status_code == 409
    assert world.approve(held, bob).json()["status"] == "approved"
    # The agent's process may describe it differently by now: what runs is what is judged last.
    assert world.claim(held, **described("shared/2", amount=8.0)).json()["claimed"] is True
    detail = world.server.ask("GET", f"/api/v1/actions/{held}", world.key).json()
    assert detail["resource"] == "shared/2"
    (started,) = [entry for entry in detail["audit_trail"] if entry["event"] == "started"]
    assert started["details"]["resource"] == "shared/2"
    assert started["details"]["arguments"] == {"amount": 8.0}
    assert started["details"]["edits"] == {"amount": 8.0}
    assert started["details"]["risk"]["score"] == detail["risk_score"]


@pytest.mark.parametrize(
    "claimed",
    [
        {},
        {"modified_arguments": {"amount": 8.0}},
        described(amount=9.0),
        described(amount=8.0) | {"action_details": {"amount": 8.0, "to": "x"}},
    ],
    ids=["an old client", "half", "other edits", "other arguments"],
)
def test_a_claim_that_does_not_describe_the_edited_call(world: World, claimed: dict[str, Any]) -> None:
    """Nothing runs: the approval is withdrawn, with the reason."""
    action = world.submit()
    ann = world.person("ann@example.com", "finance")
    assert world.approve(action, ann, arguments={"amount": 8.0}).ok
    assert world.claim(action, **claimed).status_code == 403
    assert world.story(action)[-1] == "withdrawn"
    assert world.claim(action, **described(amount=8.0)).status_code == 409


def test_only_a_person_clears_a_denial(world: World) -> None:
    """The denial answers the same call until an approver clears it; an API key or a viewer cannot."""
    ann = world.person("ann@example.com", "finance")
    action = world.submit(session_id="s")
    again = {"agent_id": "a", "agent_name": "A", "action_type": "refund", "resource": "r", "session_id": "s"}
    again |= {"action_details": {"amount": 7.0}, "digest": DIGEST, "runner": RUNNER}

    def submit() -> dict[str, Any]:
        answer: dict[str, Any] = world.server.ask("POST", "/api/v1/actions/submit", world.key, again).json()
        return answer

    clear = f"/api/actions/{action}/clear-denial"
    assert world.server.ask("POST", clear, ann, {}).status_code == 409  # it is pending
    assert world.deny(action, ann, comments="no").ok
    assert (submit()["status"], submit()["action_id"]) == ("denied", action)
    assert world.server.ask("POST", clear, world.key, {}).status_code in (401, 403)
    viewer = world.person("vic@example.com", "finance", role="viewer")
    assert world.server.ask("POST", clear, viewer, {}).status_code == 403
    assert submit()["action_id"] == action
    assert world.server.ask("POST", clear, ann, {"comments": "a mistake"}).ok
    assert world.server.ask("POST", clear, ann, {}).status_code == 409
    assert submit()["status"] == "pending"


def test_an_edit_sets_aside_what_was_agreed_before(world: World) -> None:
    """Two must agree; Ann did, Bob edits: Ann has to agree again, to the edited arguments."""
    action = world.submit("pay_here")
    ann, bob = world.person("ann@example.com", "finance"), world.person("bob@example.com", "finance")
    assert world.approve(action, ann).json()["approvals"] == 1
    edited = world.approve(action, bob, arguments={"amount": 8.0})
    assert (edited.json()["status"], edited.json()["approvals"]) == ("pending", 1)
    assert world.approve(action, bob).json()["status"] == "pending"
    assert world.approve(action, ann).json()["status"] == "approved"
    assert world.claim(action, **described(amount=8.0)).json()["modified_arguments"] == {"amount": 8.0}


@pytest.mark.parametrize(
    "edits", [{"x": 1}, {"amount": {"$type": "x"}}, {"amount": {"new": 1}}, {"amount": "\0" * 2**20}]
)
def test_edits_that_cannot_be(world: World, edits: dict[str, Any]) -> None:
    """An edit of what is not there, of another shape, or too large is refused and changes nothing."""
    action = world.submit()
    refused = world.approve(action, world.person("ann@example.com", "finance"), arguments=edits)
    assert refused.status_code in (413, 422)
    assert world.status(action) == "pending"


def test_an_edit_needs_a_client_that_follows_it(world: World) -> None:
    """What a caller of the plain API submitted cannot be edited, for it would run its own arguments all the same."""
    action = world.submit(digest=None, runner=None)
    ann = world.person("ann@example.com", "finance")
    refused = world.approve(action, ann, arguments={"amount": 8.0})
    assert (refused.status_code, world.status(action)) == (422, "pending")
    assert world.approve(action, ann).json()["status"] == "approved"


def test_a_stranger_to_the_rule_edits_nothing(world: World) -> None:
    """Whoever may not approve changes no arguments either, and sets aside nobody's agreement."""
    action = world.submit("pay_here")
    assert world.approve(action, world.person("ann@example.com", "finance")).ok
    edit = {"amount": 1.0}
    refused = world.approve(action, world.person("sam@example.com", "sales"), arguments=edit)
    assert refused.status_code == 403
    done = world.approve(action, world.person("bob@example.com", "finance"))
    assert done.json()["status"] == "approved"
    assert world.claim(action).json()["modified_arguments"] is None


def test_after_the_deadline_nobody_decides(tmp_path: Path) -> None:
    """An action whose deadline has passed is denied, whoever says what, and so is an approval that was not used in time."""
    clock = Clock()
    with serving(tmp_path / "a.db", POLICY, clock=clock) as server:
        world = World(server, clock)
        ann = world.person("ann@example.com", "finance")
        late, unused, more = world.submit(), world.submit(), world.submit("pay_here")
        assert world.approve(unused, ann).ok
        assert world.approve(more, ann).ok
        clock.ahead += 31 * 60.0
        assert world.approve(late, ann).status_code == 409
        assert world.approve(more, world.person("bob@example.com", "finance")).status_code == 409
        assert world.claim(unused).status_code in (403, 409)
        for action in (late, unused, more):
            eventually(lambda action=action: world.status(action) == "denied")
            assert world.claim(action).status_code == 409
            story = world.story(action)
            assert (story.count("expired"), story.count("started")) == (1, 0)


def test_what_is_decided_stays_decided(world: World) -> None:
    """A second decision is a 409 and changes nothing, whoever makes it and whichever it is."""
    ann, bob = world.person("ann@example.com", "finance"), world.person("bob@example.com", "finance")
    for decide, stays in ((world.approve, "approved"), (world.deny, "denied")):
        action = world.submit()
        assert decide(action, ann, comments="first").ok
        before = world.story(action)
        for again in (world.approve, world.deny):
            for token in (ann, bob):
                assert again(action, token).status_code == 409
        assert (world.status(action), world.story(action)) == (stays, before)


def test_a_no_stays_the_persons(world: World) -> None:
    """An agent that withdraws what a person denied does not put its words in the place of theirs."""
    action = world.submit()
    assert world.deny(action, world.person("ann@example.com", "finance"), reason="far too risky").ok
    before = world.story(action)
    assert world.server.ask("POST", f"/api/v1/actions/{action}/withdraw", world.key, {"reason": "mine"}).ok
    detail = world.server.ask("GET", f"/api/v1/actions/{action}", world.key).json()
    assert "far too risky" in detail["reason"]
    assert detail["decided_by"] == "ann@example.com"
    assert world.story(action) == before
