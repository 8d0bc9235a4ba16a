"""Every listing is bounded in rows and in bytes, and its cursor leads through all of it: each row once, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from serving import Serving, serving
from store_large import fill

from ascend_guard.api.table import ENDPOINTS
from ascend_guard.server.requests.pages import LARGEST_PAGE

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)

LISTS: dict[str, tuple[str, str]] = {
    "list_audit_log": ("events", "event_id"),
    "list_actions": ("actions", "action_id"),
    "list_agents": ("agents", "agent_id"),
    "list_models": ("models", "model_id"),
    "list_mcp_servers": ("servers", "server_name"),
    "get_mcp_health": ("servers", "server_name"),
    "list_components": ("components", "component_id"),
    "get_agent_dependencies": ("dependencies", "component_id"),
    "get_component_impact": ("affected_agents", ""),
    "list_topologies": ("topologies", "orchestrator_agent_id"),
    "get_orchestration_session": ("actions", "action_id"),
    "list_findings": ("findings", "id"),
    "list_action_findings": ("findings", "id"),
    "list_alerts": ("alerts", "alert_id"),
    "list_classifications": ("classifications", "id"),
    "list_webhooks": ("webhooks", "webhook_id"),
    "list_deliveries": ("deliveries", "delivery_id"),
}
"""The endpoints that answer with a list: where its rows are, and what tells them apart."""

LARGE = {"list_audit_log", "list_components", "list_classifications", "get_agent_dependencies"}
"""Those whose rows here have more bytes together than one page."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, str, str]]:
    """A server with much in its database, an admin's key, and the identifier of a webhook."""
    with serving(tmp_path_factory.mktemp("pages") / "a.db") as server:
        webhook_id = fill(server.store)
        yield server, server.key(None, role="admin"), webhook_id


def test_no_listing_is_left_out() -> None:
    """Every endpoint with a query for parts of a list is among those that are followed here."""
    paged = {
        endpoint.name for endpoint in ENDPOINTS if "limit" in getattr(endpoint.query, "__struct_fields__", ())
    }
    assert paged == set(LISTS)
    assert all(
        "cursor" in endpoint.query.__struct_fields__ for endpoint in ENDPOINTS if endpoint.name in LISTS
    )


def pages(
    ask: Callable[[dict[str, Any]], Any], rows: str, limit: int | None
) -> Iterator[tuple[list[Any], int]]:
    """The rows of each page, and the bytes of its answer."""
    query: dict[str, Any] = {} if limit is None else {"limit": limit}
    for _ in range(10_000):
        response = ask(query)
        assert response.status_code == 200, response.text
        page = response.json()
        yield page[rows], len(response.content)
        if not page["next_cursor"]:
            assert not page.get("has_more")
            return
        assert page[rows], "a page that leads on has a row"
        query["cursor"] = page["next_cursor"]
    raise AssertionError("it never ends")


def test_every_listing_can_be_followed_to_its_end(served: tuple[Serving, str, str]) -> None:
    """With any limit: no row is missing, none comes twice, the order stays, and no page is much larger than allowed."""
    server, key, webhook_id = served
    cut: Counter[str] = Counter()
    endpoints = {endpoint.name: endpoint for endpoint in ENDPOINTS}
    path = {"webhook_id": webhook_id, "action_id": "1", "agent_id": "agent-0", "component_id": "component-0"}

    @settings(phases=UNSHRUNK, max_examples=60, deadline=None)
    @given(name=st.sampled_from(sorted(LISTS)), limit=st.none() | st.sampled_from([1, 3, 7, 40, 100]))
    def follow(name: str, limit: int | None) -> None:
        rows, identity = LISTS[name]
        url = endpoints[name].path.format(session_id="session", **path)

        def ask(query: dict[str, Any]) -> Any:
            return requests.get(server.url + url, params=query, headers={"X-API-Key": key}, timeout=60)

        whole: list[str] = []
        for shown, size in pages(ask, rows, limit):
            assert limit is None or len(shown) <= limit
            largest = max((len(str(row)) for row in shown), default=0)
            assert size < 2 * LARGEST_PAGE + 2 * largest
            assert len(shown) == 1 or size < 1.3 * LARGEST_PAGE + 2000
            named = [str(row[identity] if identity else row) for row in shown]
            whole = named + whole if name == "get_orchestration_session" else whole + named
            cut[name] += 1
        assert len(set(whole)) == len(whole), name
        assert whole == expected.setdefault(name, whole), name
        assert len(whole) > 7, name

    expected: dict[str, list[str]] = {}
    for name in LARGE:
        follow = example(name=name, limit=40)(follow)
    follow()
    assert set(LARGE) <= set(cut)
    for name in LARGE:
        assert cut[name] > 1, f"no page of {name} was ever cut"


@pytest.mark.parametrize("name", sorted(LISTS))
@pytest.mark.parametrize("cursor", ["x", "-1", "1" * 30, "1.", "²"])
def test_a_cursor_that_is_none_is_refused(served: tuple[Serving, str, str], name: str, cursor: str) -> None:
    """Or, where names are cursors, stands before or behind whatever it would."""
    server, key, webhook_id = served
    endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.name == name)
    path = {"webhook_id": webhook_id, "action_id": "1", "agent_id": "agent-0", "component_id": "component-0"}
    response = requests.get(
        server.url + endpoint.path.format(session_id="session", **path),
        params={"cursor": cursor},
        headers={"X-API-Key": key},
        timeout=60,
    )
    assert response.status_code == (200 if name == "get_component_impact" else 422), response.text


def test_offsets_go_on_as_before(served: tuple[Serving, str, str]) -> None:
    """The published clients page by offset: by the rows that a page has, they reach all of them, too."""
    server, key, _ = served
    seen: list[str] = []
    total = -1
    while total < 0 or len(seen) < total:
        query = {"limit": 1000, "offset": len(seen)}
        page = requests.get(
            server.url + "/api/audit/logs", params=query, headers={"X-API-Key": key}, timeout=60
        ).json()
        assert page["page_size"] == page["limit"]
        assert page["limit"] == (len(page["events"]) if page["has_more"] else 1000)
        seen += [event["event_id"] for event in page["events"]]
        total = page["total"]
        assert page["has_more"] == (len(seen) < total)
    assert len(seen) == len(set(seen)) == total


def test_a_record_is_shown_as_it_was_written(tmp_path: Path) -> None:
    """Its details are the bytes that were hashed, whatever is in them."""
    with serving(tmp_path / "a.db") as server:
        key = server.key()
        body = {
            "agent_id": "my-agent",
            "agent_name": "A",
            "action_type": "orders_read",
            "resource": "Größe \u2028 \x7f",
            "parameters": {"a": [1, 2.5, None, {"b": "\0\U0001f600"}], "seq": -1, "timestamp": "x"},
        }
        action = server.ask("POST", "/api/v1/actions/submit", key, body).json()["action_id"]
        [event] = [
            event
            for event in server.ask("GET", "/api/audit/logs", server.token()).json()["events"]
            if event["event_type"] == "submitted"
        ]
        assert event["resource"] == body["resource"]
        assert (event["action"], event["outcome"]) == ("orders_read", "approved")
        assert event["details"]["action_id"] == int(action)
        assert event["details"]["action"]["action_details"]["a"] == body["parameters"]["a"]  # type: ignore[index]
