"""What holds for everything that an organization registers: each test runs for every row of ``registered_things``."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registered_things import (
    THINGS,
    Thing,
    admins_only,
    changes,
    enlarged,
    objects,
    path,
    registration,
    unlisted,
)
from registry_web import Web
from registry_world import POLICY
from starlette.testclient import TestClient
from support import PROFILE

from ascend_guard.api.table import BY_NAME
from ascend_guard.engine.keys import make_organization
from ascend_guard.engine.policy import parse_policy
from ascend_guard.server.app import Server
from ascend_guard.server.requests.pages import LARGEST_PAGE
from ascend_guard.store import projections
from ascend_guard.store.sqlite.store import SQLiteStore

EXAMPLES = {"quick": 20, "ci": 60, "full": 600}[PROFILE]

_NUMBERS = itertools.count()


def _those(things: Iterable[Thing]) -> pytest.MarkDecorator:
    listed = list(things)
    return pytest.mark.parametrize("thing", listed, ids=[thing.kind for thing in listed])


every_thing = _those(THINGS)
that_changes = _those(thing for thing in THINGS if thing.change is not None)
with_json = _those(thing for thing in THINGS if objects(BY_NAME[thing.register].body))


class Tenant:
    """An organization that no other test uses, with an admin's and an agent's key."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.name = f"tenant-{next(_NUMBERS)}"
        web.store.write(lambda tx: make_organization(tx, self.name, "enterprise", "t"))
        plain = {"User-Agent": "a test"}  # the published SDK gets 400 instead of 409
        self.admin = web.key(self.name, role="admin") | plain
        self.agent = web.key(self.name) | plain

    def ask(
        self, endpoint: str, which: str | int = "", body: Any = None, query: str = "", *, key: Any = None
    ) -> tuple[int, Any]:
        """Status and body of an answer, to the admin unless another key is given."""
        row = BY_NAME[endpoint]
        if body is None and row.body is not None:
            body = {}
        return self.web.ask(row.method, path(row, which) + query, key or self.admin, body)

    def register(self, thing: Thing, name: str, **more: Any) -> tuple[int, Any]:
        """Register a thing."""
        return self.ask(thing.register, body=registration(thing, name) | more)

    def number(self, thing: Thing, name: str) -> str | int:
        """What a path calls a thing; a number that nothing has for one that is not there."""
        if not thing.numbered:
            return name
        shown = self.ask(thing.list)[1][thing.shown]
        return next((row["id"] for row in shown if row[thing.key] == name), 2**40)

    def rows(self) -> dict[str, list[Any]]:
        """Every row of this organization."""
        return self.web.rows(self.name)

    def trail(self) -> list[dict[str, Any]]:
        """The bodies of its audit records."""
        return [
            json.loads(next(part for part in row if isinstance(part, bytes))) for row in self.rows()["log"]
        ]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One server for all tests."""
    store = SQLiteStore(tmp_path_factory.mktemp("things") / "web.db", durability="process")
    for name in ("ours", "theirs"):
        store.write(lambda tx, name=name: make_organization(tx, name, "enterprise", "t"))
    with TestClient(Server(store, parse_policy(POLICY)).app, raise_server_exceptions=False) as client:
        yield Web(store, client)


def test_every_endpoint_of_the_registry_is_listed() -> None:
    """A new kind of thing has a row; what only one kind does is named as that."""
    assert unlisted() == set()


@every_thing
def test_tenants_are_separate_and_every_write_is_recorded(web: Web, thing: Thing) -> None:
    """Any sequence of writes by two tenants does what a model of it says; each success has one record, by its caller."""
    seen: Counter[str] = Counter()
    # Registrations are frequent, so that the other writes find something.
    endpoints = st.sampled_from((*thing.writes, thing.register, thing.register))
    writes = st.tuples(endpoints, st.integers(0, 1), st.sampled_from(["a", "b"]))

    @settings(max_examples=EXAMPLES)
    @given(st.lists(writes, min_size=8, max_size=16))
    def run(steps: list[tuple[str, int, str]]) -> None:
        tenants = Tenant(web), Tenant(web)
        known: tuple[dict[str, None], dict[str, None]] = {}, {}
        for endpoint, whose, name in steps:
            tenant, other = tenants[whose], tenants[1 - whose]
            there = name in known[whose]
            before, untouched = tenant.rows(), other.rows()
            body: Any = {}
            if endpoint == thing.register:
                expected = BY_NAME[endpoint].status if thing.replaces or not there else 409
                body = registration(thing, name)
                known[whose].setdefault(name)
            else:
                expected = 200 if there else 404
                if endpoint == thing.change:
                    body = next(changes(thing))
                if endpoint == thing.delete:
                    known[whose].pop(name, None)
            status, answer = tenant.ask(endpoint, tenant.number(thing, name), body)
            assert status == expected, answer
            after = tenant.rows()
            added = len(after["log"]) - len(before["log"])
            if expected < 400:
                assert added == 1
                assert after["things"] != before["things"]
                assert after["bookkeeping"] == before["bookkeeping"]
                assert tenant.trail()[-1]["actor"].startswith("key:")
                seen[f"{endpoint} done"] += 1
            else:
                assert after == before
                seen[f"{endpoint} refused"] += 1
            assert other.rows() == untouched
        for tenant, names in zip(tenants, known, strict=True):
            shown = tenant.ask(thing.list)[1][thing.shown]
            assert [row[thing.key] for row in shown] == list(names)

    run()
    for endpoint in thing.writes:
        assert seen[f"{endpoint} done"] > 0, seen
        if not (endpoint == thing.register and thing.replaces):
            assert seen[f"{endpoint} refused"] > 0, seen


@every_thing
def test_a_misspelt_field_is_refused_with_the_nearest_name(web: Web, thing: Thing) -> None:
    """One letter too many in any field of any body: the answer names the field, and nothing changes."""
    tenant = Tenant(web)
    assert tenant.register(thing, "it")[0] < 300
    before = tenant.rows()
    refused: Counter[str] = Counter()
    bodies = [name for name in thing.writes if BY_NAME[name].body is not None]
    letters = st.sampled_from("xqz_")

    @settings(max_examples=EXAMPLES)
    @given(st.integers(0, 1000), st.integers(0, 1000), letters)
    def run(which: int, place: int, letter: str) -> None:
        for endpoint in bodies:
            fields = BY_NAME[endpoint].body.__struct_encode_fields__
            field = fields[which % len(fields)]
            at = place % (len(field) + 1)
            misspelt = field[:at] + letter + field[at:]
            status, answer = tenant.ask(endpoint, tenant.number(thing, "it"), {misspelt: "x"})
            assert status == 422, answer
            assert f"`{misspelt}`. Did you mean `{field}`?" in answer["detail"]
            refused[field] += 1
        assert tenant.rows() == before

    run()
    assert refused.total() >= EXAMPLES * len(bodies)


@every_thing
def test_a_refused_write_changes_no_row(web: Web, thing: Thing) -> None:
    """By its key, its tenant, its body or its name: every write is refused in each way that applies, without a trace."""
    tenant, stranger = Tenant(web), Tenant(web)
    assert tenant.register(thing, "it")[0] < 300
    number = tenant.number(thing, "it")
    before = web.rows(tenant.name, stranger.name)
    for endpoint in thing.writes:
        row = BY_NAME[endpoint]
        body = registration(thing, "new") if endpoint == thing.register else {}
        if endpoint == thing.change:
            body = next(changes(thing))
        refused = [tenant.ask(endpoint, number, body, key={"X-API-Key": "ask_wrong"})]
        if admins_only(row):
            refused.append(tenant.ask(endpoint, number, body, key=tenant.agent))
        else:
            assert thing.own, f"agents' keys may not write {thing.kind}"
        refused.append(tenant.ask(endpoint, number, [body]))
        refused.append(tenant.ask(endpoint, number, body, "?limit=1"))
        if endpoint != thing.register:
            refused.append(stranger.ask(endpoint, number, body))
            refused.append(tenant.ask(endpoint, 2**50 if thing.numbered else "nothing", body))
        assert all(400 <= status < 500 for status, _ in refused), (endpoint, refused)
        assert web.rows(tenant.name, stranger.name) == before, endpoint


@every_thing
@pytest.mark.parametrize("table", ["things", "log", "heads"])
def test_a_write_and_its_record_are_one(web: Web, thing: Thing, table: str) -> None:
    """When the database does not take all, nothing is there, and the caller learns that nothing was done."""
    tenant = Tenant(web)
    assert tenant.register(thing, "it")[0] < 300
    number = tenant.number(thing, "it")
    before = tenant.rows()
    with sqlite3.connect(web.store.path) as connection:
        for event in ("INSERT", "UPDATE", "DELETE"):
            connection.execute(
                f"CREATE TRIGGER no_{event} BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'a test'); END"
            )
    try:
        for endpoint in thing.writes:
            body = registration(thing, "new") if endpoint == thing.register else {}
            if endpoint == thing.change:
                body = next(changes(thing))
            assert tenant.ask(endpoint, number, body)[0] == 503, endpoint
            assert tenant.rows() == before, endpoint
    finally:
        for event in ("INSERT", "UPDATE", "DELETE"):
            connection.execute(f"DROP TRIGGER no_{event}")
        connection.close()
    assert tenant.register(thing, "new")[0] < 300


@every_thing
def test_pages_are_bounded_and_continue(web: Web, thing: Thing) -> None:
    """By rows and by bytes; following the cursors gives every thing once, in order, and nothing of another tenant."""
    tenant, stranger = Tenant(web), Tenant(web)
    names = [f"n{number}" for number in range(7)]
    for name in names:
        assert tenant.register(thing, name)[0] < 300
        assert stranger.register(thing, f"foreign-{name}")[0] < 300
    assert _followed(tenant, thing, 3) == [names[:3], names[3:6], names[6:]]
    for limit in ("0", "-1", "100000000", "x"):
        assert tenant.ask(thing.list, query=f"?limit={limit}")[0] == 422

    def enlarge(tx: Any) -> None:
        for record in tx.records(tenant.name, thing.kind):
            value = enlarged(thing, record.body, "x" * (LARGEST_PAGE // 2))
            put = [projections.thing(thing.kind, record.name, value)]
            tx.record("enlarged", organization=tenant.name, actor="a test", put=put)

    web.store.write(enlarge)
    pages = _followed(tenant, thing, 7)
    assert [name for page in pages for name in page] == names
    assert max(map(len, pages)) <= 2


def _followed(tenant: Tenant, thing: Thing, limit: int) -> list[list[str]]:
    """The names on each page of a list."""
    pages, cursor = [], ""
    while cursor is not None:
        status, page = tenant.ask(
            thing.list, query=f"?limit={limit}&cursor={cursor}" if cursor else f"?limit={limit}"
        )
        assert status == 200
        pages.append([row[thing.key] for row in page[thing.shown]])
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
    return pages


@that_changes
def test_every_field_can_be_changed_alone(web: Web, thing: Thing) -> None:
    """What a change does not name stays as it is; what it names is what a later look shows."""
    assert thing.change is not None
    assert thing.get is not None
    tenant = Tenant(web)
    assert tenant.register(thing, "it")[0] < 300
    for body in changes(thing):
        before = tenant.ask(thing.get, "it")[1]
        assert tenant.ask(thing.change, "it", body)[0] == 200
        after = tenant.ask(thing.get, "it")[1]
        ((field, value),) = body.items()
        assert after[field] == value
        derived = {"updated_at", "outdated", "has_vulnerabilities"}
        assert {name for name in after if after[name] != before[name]} <= {field, *derived}


@with_json
def test_a_callers_own_json_is_kept_without_secrets(web: Web, thing: Thing) -> None:
    """In every field of every body that takes any: the secret is in no row, under its name or by its shape."""
    tenant = Tenant(web)
    secrets = {"api_key": "hush-hush", "note": "Authorization: Bearer abcdefgh"}
    assert tenant.register(thing, "it")[0] < 300
    for endpoint in filter(None, (thing.register, thing.change)):
        for field in objects(BY_NAME[endpoint].body):
            body = {field: secrets}
            if endpoint == thing.register:
                body = registration(thing, f"{field}-of-it") | body
            assert tenant.ask(endpoint, "it", body)[0] < 300
            said = str(tenant.rows())
            assert "REDACTED" in said
            assert "hush-hush" not in said
            assert "abcdefgh" not in said
