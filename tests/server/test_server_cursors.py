"""A cursor that was made up, spoilt or taken from elsewhere is refused, or leads only to rows of one's own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from organization_of_things import PATHS, POLICY_OF_THINGS, Things, filled
from postgres_server import database
from serving import Serving, serving
from support import PROFILE
from world import Clock

from ascend_guard.api.endpoint import segment
from ascend_guard.api.table import ENDPOINTS
from ascend_guard.server.handling import ServerSettings
from ascend_guard.store.port import Store
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.sqlite.store import SQLiteStore

EXAMPLES = {"quick": 400, "ci": 1_000, "full": 12_000}[PROFILE]

LISTS = {
    path: endpoint
    for endpoint in ENDPOINTS
    if "cursor" in getattr(endpoint.query, "__struct_fields__", ())
    for path in (endpoint.path, *endpoint.aliases)
}
"""Every path of an endpoint that takes a cursor."""

VICTIM, OWN = "victim", "mallory"


class World:
    """Two organizations with one of everything, and an admin's key of each."""

    def __init__(self, server: Serving, clock: Clock) -> None:
        self._clock = clock
        self.server = server
        self.things = {name: filled(server, name, padding=3) for name in (VICTIM, OWN)}
        self.keys = {name: server.key(None, "admin", name) for name in (VICTIM, OWN)}
        self.session = requests.Session()
        self.whole: dict[str, set[str]] = {}
        self.total: dict[str, Any] = {}
        self.cursors: dict[str, list[str]] = {VICTIM: [], OWN: []}
        for path in LISTS:
            for name in (VICTIM, OWN):
                self.cursors[name] += self._followed(path, name)

    def ask(self, path: str, organization: str, query: Any) -> requests.Response:
        """One page."""
        self._clock.ahead += 0.01  # so that no limit is reached
        return self.session.get(
            self.server.url + named(path, self.things[organization]),
            params=query,
            headers={"X-API-Key": self.keys[organization]},
            timeout=30,
        )

    def _followed(self, path: str, organization: str) -> list[str]:
        """Every cursor of a list, which is read to its end on the way."""
        query, found, seen = {"limit": "1"}, [], set()
        while True:
            page = self.ask(path, organization, query).json()
            seen.update(rows(page))
            if page["next_cursor"] is None:
                break
            found.append(page["next_cursor"])
            query["cursor"] = page["next_cursor"]
        if organization == OWN:
            self.whole[path], self.total[path] = seen, page.get("total")
        return found


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all tests; nothing is written while they ask."""
    with ExitStack() as stack:
        clock = Clock()
        store: Store
        if request.param == "postgres":
            store = PostgresStore(stack.enter_context(database()), secret=b"s" * 32, clock=clock)
        else:
            folder: Path = tmp_path_factory.mktemp("cursors")
            store = SQLiteStore(folder / "a.db", durability="process", clock=clock)
        server = serving(store, POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True), clock=clock)
        yield World(stack.enter_context(server), clock)


def named(path: str, things: Things) -> str:
    """A path that names an organization's own things."""
    return re.sub(r"{(\w+)}", lambda found: segment(things[PATHS[found[1]][0]]), path)


def rows(page: dict[str, Any]) -> list[str]:
    """The rows of a page, without what changes between two looks at one."""
    (listed,) = [value for value in page.values() if isinstance(value, list)]
    return [re.sub(r'"(seconds_since\w*|\w*_ago)": [0-9.]+', "", json.dumps(row)) for row in listed]


def _spoilt(cursor: str) -> st.SearchStrategy[str]:
    at = st.integers(0, len(cursor))
    sign = st.sampled_from([*"-+ .,eEx_%'\"\x00/٣²é", "\ud7ff", "0", "9", "%00", "e9"])
    return st.one_of(
        st.tuples(at, sign).map(lambda one: cursor[: one[0]] + one[1] + cursor[one[0] :]),
        at.map(lambda one: cursor[:one]),
        st.sampled_from(
            [cursor * 20, f"-{cursor}", f"0{cursor}", f"{cursor}.0", f"0.{cursor}", f"{cursor}.1"]
        ),
    )


def test_no_cursor_leads_astray(world: World) -> None:
    """Whatever a cursor is, the page is refused as documented, or has rows of one's own alone and counts those alone."""
    seen: Counter[str] = Counter()
    known = {name: sorted(set(world.cursors[name])) for name in world.cursors}
    cursors = st.one_of(
        st.sampled_from(known[VICTIM]).map(lambda cursor: ("another's", cursor)),
        st.sampled_from(known[OWN]).map(lambda cursor: ("own", cursor)),
        st.sampled_from(known[VICTIM] + known[OWN]).flatmap(_spoilt).map(lambda cursor: ("spoilt", cursor)),
        st.integers(-(2**70), 2**70).map(lambda number: ("number", str(number))),
        st.tuples(st.integers(0, 2**65), st.integers(0, 2**65)).map(
            lambda two: ("two", f"{two[0]}.{two[1]}")
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda text: ("text", text)),
        st.sampled_from(
            [
                ("long", "9" * 18),
                ("long", "9" * 19),
                ("long", "1" * 2001),
                ("sql", "1 OR 1=1"),
                ("sql", "1;--"),
            ]
        ),
    )
    more = st.fixed_dictionaries(
        {"limit": st.sampled_from(["1", "1", "1", "2", "100", ""])},  # mostly small: a page that leads on
        optional={
            "offset": st.sampled_from(["0", "1", "1000000"]),
        },
    )

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(st.sampled_from(sorted(LISTS)), cursors, more)
    def ask(path: str, cursor: tuple[str, str], query: dict[str, str]) -> None:
        kind, text = cursor
        accepted = LISTS[path].query.__struct_fields__  # type: ignore[union-attr]
        query = {name: value for name, value in query.items() if name in accepted and value}
        response = world.ask(path, OWN, {**query, "cursor": text})
        assert response.status_code in (200, 422), (path, text, response.text)
        assert world.things[VICTIM].mark not in response.text, (path, text)
        seen[f"{kind} {response.status_code}"] += 1
        if response.status_code == 422:
            assert set(response.json()) == {"detail", "error_code", "status_code"}
            return
        page = response.json()
        shown = rows(page)
        assert set(shown) <= world.whole[path], (path, text)
        # The alerts' total is how many the page has.
        assert page.get("total") == (len(shown) if path == "/api/alerts" else world.total[path]), (path, text)
        if page["next_cursor"] is not None:
            assert page["next_cursor"] != text
            seen["leads on"] += 1

    ask()
    for kind in ("another's 200", "own 200", "spoilt 422", "number 422", "text 422", "leads on"):
        assert seen[kind] > 0, (kind, seen)


@pytest.mark.parametrize("path", sorted(LISTS))
def test_a_cursor_is_given_once(world: World, path: str) -> None:
    """Two cursors, equal or not, are refused: no two readers may take a different one. So is one that is no UTF-8."""
    first, second = world.cursors[OWN][0], world.cursors[VICTIM][-1]
    for query in (
        *([("cursor", first), ("cursor", second)], [("cursor", second), ("cursor", second)]),
        *([("cursor", ""), ("cursor", first)], "cursor=%ff", "cursor=%C0%AE", "cursor", "cursor="),
        *("CURSOR=1", "cursor[]=1", "cursors=1", "curso=1"),
    ):
        response = world.ask(path, OWN, query)
        if query == "cursor[]=1":  # no name of ours, and near none: it is ignored as any other
            assert response.status_code in (200, 422)
        else:
            assert response.status_code == 422, (query, response.text)
        assert world.things[VICTIM].mark not in response.text
