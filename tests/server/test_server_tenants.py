"""Nobody sees, changes, or can even find out about what another organization has, whatever they hold and ask."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import requests
from organization_of_things import (
    PATHS,
    POLICY_OF_THINGS,
    Things,
    bodies,
    credentials,
    everything_of,
    filled,
    queries,
)
from serving import Serving, serving
from tenant_work import WatchedStore
from world import Clock, eventually

from ascend_guard.api.endpoint import Access, Endpoint, segment
from ascend_guard.api.table import ENDPOINTS
from ascend_guard.engine.audit import verify
from ascend_guard.engine.keys import keys, revoke_key
from ascend_guard.server.access.tokens import LEEWAY, LocalIssuer
from ascend_guard.server.handling import ServerSettings

VICTIM = "victim"

ROUTES = [(endpoint, path) for endpoint in ENDPOINTS for path in (endpoint.path, *endpoint.aliases)]


class World:
    """A server with an organization full of things, and how often others have been made beside it."""

    def __init__(self, server: Serving, path: Path, clock: Clock) -> None:
        self.server = server
        self.path = path
        self.clock = clock
        self.session = requests.Session()
        self.things: Things = filled(server, VICTIM)
        self.ghosts = self.things.ghosts()
        self.others = 0

    def other(self) -> str:
        """The name of an organization nobody has used."""
        self.others += 1
        return f"mallory-{self.others}"

    def ask(
        self, method: str, path: str, credential: str, query: dict[str, str] | None = None, body: Any = None
    ) -> requests.Response:
        """One request."""
        headers = {"Authorization": f"Bearer {credential}"}
        return self.session.request(
            method, self.server.url + path, params=query, json=body, headers=headers, timeout=30
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all endpoints."""
    path, clock = tmp_path_factory.mktemp("tenants") / "a.db", Clock()
    with serving(
        path, POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True), clock=clock
    ) as server:
        yield World(server, path, clock)


def named(path: str, ids: dict[str, str]) -> list[tuple[str, list[str]]]:
    """A path with its parameters filled in by every thing they can name, and the identifiers that were used."""
    filled_in: list[tuple[str, list[str]]] = [(path, [])]
    for parameter in re.findall(r"{(\w+)}", path):
        filled_in = [
            (text.replace(f"{{{parameter}}}", segment(ids[what])), [*used, ids[what]])
            for text, used in filled_in
            for what in PATHS[parameter]
        ]
    return filled_in


def requests_of(endpoint: Endpoint, path: str, ids: dict[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """Every request to an endpoint that names these things."""
    for url, _ in named(path, ids):
        for query in queries(endpoint, ids):
            for body in bodies(endpoint, ids):
                yield url, query, body


_VOLATILE = [
    (re.compile(r'"(processing_time_ms|evaluation_time_ms)":[0-9.e-]+'), r'"\1":0'),
    (re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z"), "<time>"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"wh_[0-9a-zA-Z]+|whsec_[0-9a-zA-Z_-]+"), "<webhook>"),
    (re.compile(r"action_\d{8}_[0-9a-f]{16}"), "<correlation>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<hash>"),
    (re.compile(r"owkai_[0-9a-zA-Z_-]{4}"), "<key>"),
]


def numbers_in(*ids: dict[str, str]) -> re.Pattern[str]:
    """What matches the numbers of three digits or more among these identifiers: smaller ones are not only theirs."""
    numbers = {name for some in ids for name in some.values() if name.isdigit() and len(name) >= 3}
    return re.compile(rf"(?<!\d)({'|'.join(sorted(numbers))})(?!\d)")


def shown(text: str, ids: dict[str, str], numbers: re.Pattern[str] | None = None) -> str:
    """An answer without what differs between any two: times, random identifiers, and those that were asked for.

    Args:
        text: the answer.
        ids: the identifiers that were asked for.
        numbers: those among them that are numbers. All other numbers stay: they are the same for the same requests.
    """
    for what in sorted(ids, key=lambda what: -len(ids[what])):
        if not what.startswith("organization") and not ids[what].isdigit():
            text = text.replace(ids[what], f"<{what}>")
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return text if numbers is None else numbers.sub("<number>", text)


_OF_ITS_OWN = {"date", "content-length", "x-correlation-id", "x-ratelimit-remaining", "x-ratelimit-reset"}
"""Headers that differ between any two answers, or with the length of what was asked for."""


def steady(response: requests.Response) -> dict[str, str]:
    """An answer's headers; of those that always differ, only that they are there."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return {name: "" if name in _OF_ITS_OWN else value for name, value in headers.items()}


@pytest.mark.parametrize(("endpoint", "path"), ROUTES, ids=[f"{e.method} {path}" for e, path in ROUTES])
def test_another_organization_is_as_if_it_were_not(endpoint: Endpoint, path: str, world: World) -> None:
    """By no endpoint, and with nothing that one organization gives out, is anything of another read, changed or told."""
    # Of two new organizations one asks for what is there, the other for what nothing has: they get the same answers.
    things, ghosts = world.things, world.ghosts
    numbers = numbers_in(things, ghosts)
    before = everything_of(world.path, VICTIM)
    real_one, ghost_one = world.other(), world.other()
    given, ghost_given = credentials(world.server, real_one), credentials(world.server, ghost_one)
    for who, credential in given.items():
        world.clock.ahead += 70.0 if endpoint.access in (Access.PERSON, Access.PERSON_ADMIN) else 0.0
        pairs = zip(
            requests_of(endpoint, path, things), requests_of(endpoint, path, dict(ghosts)), strict=True
        )
        for (url, query, body), (ghost_url, ghost_query, ghost_body) in pairs:
            real = world.ask(endpoint.method, url, credential, query, body)
            ghost = world.ask(endpoint.method, ghost_url, ghost_given[who], ghost_query, ghost_body)
            assert real.status_code < 500
            said = shown(real.text.replace(real_one, "<me>"), things, numbers)
            unsaid = shown(ghost.text.replace(ghost_one, "<me>"), ghosts, numbers)
            same = (real.status_code, said) == (ghost.status_code, unsaid)
            assert same, f"{who} can tell {url} {body} from {ghost_url}:\n{said}\n{unsaid}"
            assert things.mark not in said, f"{who} reads of {VICTIM} at {url}"
            assert things.mark not in ghost.text
            assert steady(real) == steady(ghost)
    assert everything_of(world.path, VICTIM) == before


def well_formed(things: Things) -> dict[str, str]:
    """Identifiers that nothing has, of the form that the others have: what is no identifier at all is answered sooner."""
    ghosts = dict(things.ghosts())
    for what, name in things.items():
        if name.startswith(("wh_", "cmd_", "dlv_")):
            ghosts[what] = name[:4] + "".join("0123456789abcdef"[-1 - int(sign, 16)] for sign in name[4:])
    return ghosts


def test_another_organizations_identifier_is_as_much_work_as_nobodys(tmp_path: Path) -> None:
    """The store is asked the same questions, which find as much: there is nothing by which an answer could take longer."""
    store, clock = WatchedStore(tmp_path / "a.db", durability="process"), Clock()
    clock.ahead = 1.0  # the store keeps true time
    compared = 0
    with serving(store, POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True)) as server:
        world = World(server, tmp_path / "a.db", clock)
        things, ghosts = world.things, well_formed(world.things)
        for who in ("an admin's key", "an agent's key", "a person who is admin"):
            # Two of them, so that what one has made for the first of two requests is not found by the second.
            given = [credentials(server, world.other())[who] for _ in range(2)]
            for endpoint, path in ROUTES:
                for real, ghost in zip(
                    requests_of(endpoint, path, things), requests_of(endpoint, path, ghosts), strict=True
                ):
                    work, said = [], []
                    for credential, (url, query, body) in zip(given, (real, ghost), strict=True):
                        store.asked.clear()
                        said.append(world.ask(endpoint.method, url, credential, query, body))
                        work.append(list(store.asked))
                    if said[0].status_code in (401, 429) or real == ghost:
                        continue
                    assert work[0] == work[1], (who, endpoint.method, real, said[0].text)
                    assert said[0].status_code == said[1].status_code
                    compared += bool(work[0])
    assert compared > 300


def test_numbers_around_those_of_another_organization_tell_nothing(world: World) -> None:
    """Every number there is, asked for one after the other, is answered like one that nothing has."""
    last = world.server.store.read(lambda reader: max(reader.head(VICTIM).seq, reader.last_action(VICTIM)))
    key = world.server.key(None, "admin", world.other())
    before = everything_of(world.path, VICTIM)
    numbered = [
        "/api/v1/actions/{}",
        "/api/v1/actions/{}/status",
        "/api/sdk/approval/{}",
        "/api/registry/models/{}",
        "/api/v1/supply-chain/components/{}",
    ]
    for path in numbered:
        answers = {
            world.ask("GET", path.format(number), key).json()["detail"].replace(str(number), "#")
            for number in [*range(0, last + 20, 7), *map(int, filter(str.isdigit, world.things.values()))]
        }
        assert len(answers) == 1, answers
    assert everything_of(world.path, VICTIM) == before


class Beside(Serving):
    """A server on which something may happen before each request of one organization, and what was answered.

    Attributes:
        between: makes it happen.
        answers: method, path, status, text and steady headers of each answer.
    """

    def __init__(self, server: Serving, between: Callable[[], None]) -> None:
        super().__init__(server.url, server.server)
        self.between = between
        self.answers: list[tuple[str, str, int, str, dict[str, str]]] = []

    def key(self, *arguments: Any, **options: Any) -> str:
        self.between()
        return super().key(*arguments, **options)

    def ask(
        self, method: str, path: str, credential: str, body: Any = None, **headers: str
    ) -> requests.Response:
        self.between()
        answer = super().ask(method, path, credential, body, **headers)
        self.answers.append((method, path, answer.status_code, answer.text, steady(answer)))
        return answer


def busy(server: Serving) -> Callable[[], None]:
    """What makes two other organizations do one thing more each, of every kind in turn, and now and then makes a new one."""
    others = ("crowd", "throng")
    keys_of = {name: server.key(None, "admin", name) for name in others}
    turn = itertools.count()

    def act() -> None:
        number = next(turn)
        if number % 20 == 0:
            server.key(None, "agent", f"newcomer-{number}")
        for name in others:
            called = f"marked-alone-{name}-{number}"
            asked = {"agent_id": called, "agent_name": called, "action_type": "refund", "resource": "r"}
            stop = {"reason": "ten characters"}
            kinds: list[tuple[str, Any]] = [
                ("/api/v1/actions/submit", asked),
                ("/api/v1/actions/submit", asked | {"action_type": "orders_read"}),
                ("/api/v1/actions/submit", asked | {"action_type": "orders_delete"}),
                ("/api/registry/agents", {"agent_id": called}),
                ("/api/registry/models", {"model_id": called}),
                ("/api/registry/mcp-servers", {"server_name": called}),
                (
                    "/api/v1/supply-chain/components",
                    {"component_id": called, "component_name": "c", "component_type": "tool"},
                ),
                (
                    "/api/v1/resource-classifications",
                    {"resource_type": called, "resource_id": "r", "sensitivity_level": "low"},
                ),
                ("/api/registry/commands", {"command_type": "RATE_LIMIT", "reason": "r"}),
                (f"/api/billing/kill-switch/{name}/trigger", stop),
                (f"/api/billing/kill-switch/{name}/release", stop),
            ]
            path, body = kinds[number % len(kinds)]
            assert server.ask("POST", path, keys_of[name], body).ok, path
            server.key(called, "agent", name)

    return act


def life(server: Serving, clock: Clock, beside: bool) -> tuple[Things, list[str]]:
    """Everything that an organization can ask for, and every answer; while others are busy, or alone."""
    me = "alone"
    world = Beside(server, busy(server) if beside else lambda: None)
    things = filled(world, me, padding=3)
    # Organizations are numbered among each other, for there is no other name for them all.
    named_by = dict(things) | {"organization_number": me}
    given = credentials(world, me)
    admin = given["an admin's key"]
    listed = ["/api/audit/logs?limit=500", "/api/v1/actions?limit=500", "/api/alerts?limit=500"]
    for writes in (False, True, False):
        for endpoint, path in ROUTES:
            if (endpoint.method != "GET") != writes or endpoint.name in _OF_ITS_OWN_TIME:
                continue
            people = endpoint.access in (Access.PERSON, Access.PERSON_ADMIN)
            clock.ahead += 70.0
            for url, query, body in requests_of(endpoint, path, named_by):
                who = given["a person who is admin"] if people else admin
                world.ask(endpoint.method, f"{url}?{urlencode(query)}" if query else url, who, body)
        for path in listed:
            world.ask("GET", path, admin)
    said = [
        f"{method} {shown(path, things)} {status} {headers} {shown(text, things)}"
        for method, path, status, text, headers in world.answers
    ]
    headers = {"Authorization": f"Bearer {admin}", "Last-Event-ID": "0"}
    with requests.get(server.url + "/api/v1/stream", headers=headers, stream=True, timeout=30) as stream:
        assert stream.status_code == 200
        stop = {"reason": "the end of it all"}
        assert world.ask("POST", f"/api/billing/kill-switch/{me}/trigger", admin, stop).ok
        event: list[str] = []
        numbered = 0
        for line in stream.iter_lines(decode_unicode=True):
            event.append(line)
            if line:
                continue
            if any(
                part.startswith("id: ") for part in event
            ):  # the others, and when they come, are of no record
                numbered += 1
                said += [shown(part, things) for part in event]
                if any("the end of it all" in part for part in event):
                    break
            event = []
        assert numbered > 3
    return things, said


_OF_ITS_OWN_TIME = {"update_webhook", "test_webhook", "list_deliveries"}
"""What depends on when a delivery is tried."""


def test_beside_busy_organizations_every_answer_is_as_alone(tmp_path: Path) -> None:
    """The same requests get the same answers with the same numbers, whatever others do before each of them."""
    # So no identifier tells of others: not those of actions, audit events, alerts, keys, agents, models, servers, components
    # and classifications, and not those on the stream.
    told: list[list[str]] = []
    numbers: list[dict[str, str]] = []
    for beside in (False, True):
        clock, settings = Clock(), ServerSettings(private_webhooks=True)
        path = tmp_path / f"{beside}.db"
        with serving(path, POLICY_OF_THINGS, settings=settings, clock=clock) as server:
            things, said = life(server, clock, beside)
            told.append(said)
            numbers.append({what: name for what, name in things.items() if name.isdigit()})
            heads = {head.organization: head for head in server.store.read(lambda reader: reader.heads())}
            assert server.store.snapshot(lambda reader: verify(reader, server.store.secret)).ok
            if beside:
                assert min(heads["crowd"].seq, heads["crowd"].last_action) > 50
                assert len(heads) > 5
    alone, among = told
    assert len(alone) > 300
    for line, beside_line in zip(alone, among, strict=True):
        assert line == beside_line
    for some in numbers:
        del some["organization_number"]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 8


def test_the_owner_reads_what_nobody_else_does(world: World) -> None:
    """The test above looks in the right places: with the organization's own admin nearly every path finds something."""
    key = world.server.key(None, "admin", VICTIM)
    found = [
        world.ask("GET", url, key).ok
        for endpoint, path in ROUTES
        if endpoint.method == "GET"
        for url, used in named(path, world.things)
        if used
    ]
    assert found.count(True) > len(found) * 0.8


def test_the_stream_of_one_organization_says_nothing_of_another(world: World) -> None:
    """Decisions and kill switches of an organization are not on another one's stream, and not on one that comes back."""
    mallory = world.other()
    key, own = world.server.key(None, "admin", mallory), world.server.key(None, "admin", VICTIM)
    headers = {"Authorization": f"Bearer {key}", "Last-Event-ID": "0"}
    with requests.get(
        world.server.url + "/api/v1/stream", headers=headers, stream=True, timeout=30
    ) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        heard = [next(lines)]
        for agent in ("someone", None):
            stop = {"reason": f"{world.things.mark} stop", **({"agent_id": agent} if agent else {})}
            assert world.ask("POST", f"/api/billing/kill-switch/{VICTIM}/trigger", own, None, stop).ok
            assert world.ask("POST", f"/api/billing/kill-switch/{VICTIM}/release", own, None, stop).ok
        asked = {
            "agent_id": "a",
            "agent_name": "A",
            "action_type": "refund",
            "resource": f"{world.things.mark} live",
        }
        action = world.ask("POST", "/api/v1/actions/submit", own, None, asked).json()["action_id"]
        approver = world.server.token(organization=VICTIM)
        no = {"reason": f"{world.things.mark} no"}
        assert world.ask("POST", f"/api/actions/{action}/deny", approver, None, no).ok
        stop = {"reason": "the end of it all"}
        assert world.ask("POST", f"/api/billing/kill-switch/{mallory}/trigger", key, None, stop).ok
        while not any("the end of it all" in line for line in heard):
            heard.append(next(lines))
    assert not any(world.things.mark in line for line in heard)


# --- within one organization ---------------------------------------------------------------------------------------


def test_a_key_made_for_an_agent_does_nothing_for_another(tmp_path: Path) -> None:
    """With agent A's key nothing of agent B changes, and no action or command of B's is read, or told from none."""
    path = tmp_path / "a.db"
    with serving(path, POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True)) as server:
        things = filled(server, "acme")
        ghosts = things.ghosts()
        numbers = numbers_in(things, ghosts)
        key = server.key("mallory", "agent", "acme")
        world = requests.Session()
        headers = {"Authorization": f"Bearer {key}"}
        before = everything_of(path, "acme")
        for endpoint, route in ROUTES:
            if endpoint.access in (Access.PERSON, Access.PERSON_ADMIN) or not _is_anothers(endpoint, route):
                continue
            for (url, query, body), (ghost_url, *_) in zip(
                requests_of(endpoint, route, things), requests_of(endpoint, route, ghosts), strict=True
            ):
                if body is not None and _is_own(endpoint, body):
                    continue
                real = world.request(
                    endpoint.method, server.url + url, params=query, json=body, headers=headers
                )
                assert real.status_code in (200, 403, 404), (url, real.text)
                text = shown(real.text, things, numbers)
                if real.ok:
                    assert endpoint.name in _SHARED or not json.loads(text).get("actions"), (url, text)
                else:
                    ghost = world.request(
                        endpoint.method, server.url + ghost_url, params=query, json=body, headers=headers
                    )
                    if endpoint.name not in _SHARED:
                        assert ghost.status_code == real.status_code, url
                        assert shown(ghost.text, ghosts, numbers) == text, url
                    assert things.mark not in text, (url, text)
        assert everything_of(path, "acme") == before


_SHARED = {"get_mcp_server", "get_component", "get_component_impact", "get_kill_switch", "list_actions"}
"""What every key of an organization may look at, and what is asked for by agent and shows no other's."""


def _is_anothers(endpoint: Endpoint, route: str) -> bool:
    return "{" in route or endpoint.name in (
        *("heartbeat", "scan_output", "evaluate_policy", "register_agent"),
        *("get_kill_switch", "list_actions", "list_audit_log", "list_alerts"),
    )


def _is_own(endpoint: Endpoint, body: dict[str, Any]) -> bool:
    return body.get("agent_id") == "mallory" and "action_id" not in body


def test_lists_show_a_key_its_own_agents_things(tmp_path: Path) -> None:
    """Whatever list a key made for an agent asks for, no text that another agent wrote in an action is in it."""
    with serving(
        tmp_path / "a.db", POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True)
    ) as server:
        things = filled(server, "acme", padding=0)
        key = server.key("mallory", "agent", "acme")
        for path in (
            *("/api/v1/actions", "/api/agent-activity", "/api/registry/agents", "/api/audit/logs"),
            *("/audit/logs", "/api/alerts", "/api/v1/output-filter/findings", "/api/registry/models"),
            *("/api/webhooks", "/api/v1/orchestration/stats"),
        ):
            answer = server.ask("GET", path, key)
            assert answer.status_code in (200, 403)
            assert things.mark not in answer.text, path


def test_the_stream_of_an_agents_key_is_that_agents(tmp_path: Path) -> None:
    """A key made for an agent hears of its own decisions and switches and of those for everybody, not of others'."""
    with serving(tmp_path / "a.db", POLICY_OF_THINGS) as server:
        key = server.key("a")
        headers = {"Authorization": f"Bearer {key}"}
        with requests.get(server.url + "/api/v1/stream", headers=headers, stream=True, timeout=30) as stream:
            lines = stream.iter_lines(decode_unicode=True)
            heard = [next(lines)]
            admin = server.key(None, "admin")
            for agent in ("b", "a"):
                asked = {"agent_id": agent, "agent_name": agent, "action_type": "refund", "resource": agent}
                action = server.ask("POST", "/api/v1/actions/submit", server.key(agent), asked).json()
                assert server.deny(action["action_id"], reason=f"for {agent} only").ok
                stop = {"reason": f"switched off: {agent}", "agent_id": agent}
                assert server.ask("POST", "/api/billing/kill-switch/local/trigger", admin, stop).ok
            while not any("switched off: a" in line for line in heard):
                heard.append(next(lines))
        assert any("for a only" in line for line in heard)
        assert not any("for b only" in line or "switched off: b" in line for line in heard)


def test_a_revoked_key_is_nobodys(tmp_path: Path) -> None:
    """A key that was taken back is refused at once on the replica that learns of it, like one that never was."""
    with serving(tmp_path / "a.db") as server:
        key = server.key("a")
        assert server.ask("GET", "/api/v1/actions", key).ok
        info = server.store.read(lambda reader: keys(reader, "local"))[0]
        server.store.write(lambda tx: revoke_key(tx, "local", info.key_id, by="test"))
        eventually(lambda: server.ask("GET", "/api/v1/actions", key).status_code == 401)
        never = server.ask("GET", "/api/v1/actions", "owkai_" + "x" * 43)
        assert server.ask("GET", "/api/v1/actions", key).text == never.text


def test_a_stream_ends_with_its_key(tmp_path: Path) -> None:
    """A stream whose key was revoked ends, as does one whose token has expired; another goes on and hears what happens."""

    def listen(server: Serving, credential: str) -> Iterator[str]:
        headers = {"Authorization": f"Bearer {credential}"}
        answer = requests.get(server.url + "/api/v1/stream", headers=headers, stream=True, timeout=30)
        assert answer.status_code == 200
        return iter(answer.iter_lines(decode_unicode=True))

    with serving(tmp_path / "a.db") as server:
        admin = server.key(None, "admin")
        revoked, lasting = server.key("a"), server.key("b")
        issuer = LocalIssuer(server.store.secret)
        claims = jwt.decode(server.token(), options={"verify_signature": False})
        brief = claims | {"exp": int(time.time()) - LEEWAY + 2}
        streams = [
            listen(server, credential)
            for credential in (revoked, jwt.encode(brief, issuer._private, algorithm="EdDSA"), lasting)
        ]
        assert [next(lines) for lines in streams] == ["event: ready"] * 3
        info = next(
            info for info in server.store.read(lambda reader: keys(reader, "local")) if info.agent_id == "a"
        )
        server.store.write(lambda tx: revoke_key(tx, "local", info.key_id, by="test"))
        for lines in streams[:2]:
            assert all("after the others" not in line for line in lines)  # until the server ends it
        stop = {"reason": "after the others have gone"}
        assert server.ask("POST", "/api/billing/kill-switch/local/trigger", admin, stop).ok
        assert any("after the others have gone" in line for line in streams[2])
