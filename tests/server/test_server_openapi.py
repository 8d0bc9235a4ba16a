"""The OpenAPI document is true: whatever is made up from it, the real server answers as it says."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from organization_of_things import PATHS, POLICY_OF_THINGS, Things, bodies, credentials, everything_of, filled
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Serving, serving
from support import PROFILE
from world import Clock

from ascend_guard.api.endpoint import Access, segment
from ascend_guard.api.table import ENDPOINTS
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.openapi import document

UNSHRUNK = (Phase.explicit, Phase.generate)
"""A failure is shown as it was found: one server keeps what was sent before, so no smaller one need fail alike."""

EXAMPLES = {"quick": 12, "ci": 30, "full": 600}[PROFILE]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

OPERATIONS = {
    result.ok().label: result.ok()
    for result in schemathesis.openapi.from_dict(document(ENDPOINTS)).get_all_operations()
}


ENDPOINT_OF = {
    f"{endpoint.method} {path}": endpoint
    for endpoint in ENDPOINTS
    for path in (endpoint.path, *endpoint.aliases)
}

STRANGERS = {
    "nobody": {},
    "an empty key": {"X-API-Key": ""},
    "a key that is none": {"X-API-Key": "owkai_" + "0" * 43},
    "a token that is none": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."},
    "another scheme": {"Authorization": "Basic YW5uOnBhc3N3b3Jk"},
}
"""Credentials that nobody was given, as headers."""

DECIDED = {
    "POLICY_VIOLATION",
    "KILL_SWITCH_ACTIVE",
    "ORCHESTRATION_FIELD_REJECTED",
    "ORCHESTRATION_GRAFT_ATTEMPT",
}
"""Refusals that are decisions, and recorded: a claim of a suspended agent, an action under a parent that is not its own."""

HEADERS = st.sampled_from(
    [
        *({},) * 8,
        {"Idempotency-Key": "one"},
        {"Idempotency-Key": "x" * 300},
        {"X-Signature": "0" * 64},
        {"X-Correlation-ID": "é\t"},
        {"Content-Encoding": "gzip"},
        {"Accept": "text/html"},
        {"User-Agent": "ascend-sdk/2.7.1"},
    ]
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)

RAW = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.sampled_from(
        [
            *(b"{", b"null", b"[]", b'""', b"{}", b"0", b" ", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"{}{}"),
            *(b"\x00", b'{"\xff":1}', b'{"a":"\\ud800"}', b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b"NaN"),
        ]
    ),
    _JSON.map(lambda value: json.dumps(value).encode()),
)
"""Bodies that were made from no schema; a few are good for some endpoint."""


def altered(data: st.DataObject, known: list[dict[str, Any]]) -> bytes:
    """A body that the endpoint knows, with nothing or something changed."""
    body = dict(data.draw(st.sampled_from(known)))
    for _ in range(data.draw(st.integers(0, 2))):
        what = data.draw(st.sampled_from(["without", "other", "unknown"]))
        name = data.draw(st.sampled_from(sorted(body))) if body else "a"
        if what == "without":
            body.pop(name, None)
        elif what == "other":
            body[name] = data.draw(_JSON)
        else:
            body[data.draw(st.sampled_from([name + "s", name.upper(), "x"]))] = data.draw(_JSON)
    return json.dumps(body).encode()


class World:
    """A server, what its organization has, and who asks."""

    def __init__(self, server: Serving, path: Path, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.things: Things = filled(server, "local", padding=0)
        self.credentials = credentials(server, "local", self.things["agent"])
        self.session = requests.Session()
        self._path = path
        self._watch = sqlite3.connect(path, isolation_level=None)
        self._snapshot: tuple[int, str] = (-1, "")

    def presented(self, who: str) -> dict[str, str]:
        """The headers by which one of them asks."""
        if who in STRANGERS:
            return dict(STRANGERS[who])
        credential = self.credentials[who]
        if "key" in who and self.clock.ahead % 2:
            return {"X-API-Key": credential}
        return {"Authorization": f"Bearer {credential}"}

    def kept(self) -> str:
        """Everything that the organization has; read again only when the database was written to."""
        version = self._watch.execute("PRAGMA data_version").fetchone()[0]
        if version != self._snapshot[0]:
            self._snapshot = (version, everything_of(self._path, "local"))
        return self._snapshot[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all operations: what one made up is there for the next."""
    path, clock = tmp_path_factory.mktemp("openapi") / "a.db", Clock()
    allowing = ServerSettings(private_webhooks=True, tier="unlimited")
    with serving(path, POLICY_OF_THINGS, settings=allowing, clock=clock) as server:
        yield World(server, path, clock)


def test_the_document_is_valid(world: World) -> None:
    """What is at /openapi.json is OpenAPI 3.1, and what the table of endpoints says."""
    served = requests.get(world.server.url + "/openapi.json", timeout=10)
    assert served.headers["content-type"] == "application/json"
    assert served.json() == document(ENDPOINTS)
    assert served.json()["openapi"].startswith("3.1")
    import openapi_spec_validator  # seconds, which every process that collects the tests would pay

    openapi_spec_validator.validate(served.json())


def test_every_endpoint_is_in_the_document() -> None:
    """Each endpoint and each alias is an operation with a summary and its own identifier."""
    paths = document(ENDPOINTS)["paths"]
    named = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(named) == len(set(named)) == sum(1 + len(endpoint.aliases) for endpoint in ENDPOINTS)
    assert all(operation["summary"] for path in paths.values() for operation in path.values())


@pytest.mark.parametrize("label", sorted(OPERATIONS, key=lambda label: (label.startswith("DELETE"), label)))
def test_answers_are_as_documented(label: str, world: World) -> None:
    """Whoever asks whatever the document allows or forbids gets a documented answer; what is refused has no effect."""
    operation = OPERATIONS[label]
    endpoint = ENDPOINT_OF[label]
    modes = list(schemathesis.GenerationMode)
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])
    known = [body for body in bodies(endpoint, world.things) if body is not None]
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=PROFILE == "quick",
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=UNSHRUNK,
    )
    @given(cases, st.sampled_from([*sorted(world.credentials), *STRANGERS]), st.data())
    def ask(case: schemathesis.Case, who: str, data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            if name in PATHS and data.draw(st.booleans()):
                case.path_parameters[name] = world.things[data.draw(st.sampled_from(PATHS[name]))]
        for credential in ("X-API-Key", "Authorization"):  # made up, they would only ever be refused
            case.headers.pop(credential, None)
        headers = {**world.presented(who), **data.draw(HEADERS)}
        sent: dict[str, Any] = {}
        shape = data.draw(st.sampled_from(["generated", "altered", "raw"] if known else ["generated", "raw"]))
        if shape != "generated":
            body = altered(data, known) if shape == "altered" else data.draw(RAW)
            headers["Content-Type"] = data.draw(st.sampled_from(["application/json", "text/plain"]))
            sent = {"data": body}
        before = world.kept()
        response = case.call(
            base_url=world.server.url, headers=headers, session=world.session, timeout=30, **sent
        )
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert set(response.json()) == {"detail", "error_code", "status_code"}
            assert response.json()["status_code"] == response.status_code
            if response.json()["error_code"] not in DECIDED:
                assert world.kept() == before, (who, response.status_code, response.text)
                seen["without effect"] += 1
        seen["asked"] += 1
        seen["served"] += response.status_code < 300
        if who in STRANGERS:
            seen["strangers"] += 1
            world.clock.ahead += 2.0  # refused keys are counted for a minute
            if endpoint.access is not Access.PUBLIC:
                assert response.status_code == 401 or response.status_code == 400, response.text

    world.clock.ahead += 70.0
    world.server.store.write(_let_go)
    ask()
    assert seen["strangers"] > 0
    assert seen["without effect"] > 0
    assert seen["strangers"] < seen["asked"]


def test_nobody_gets_anything(world: World) -> None:
    """Without a key or token that is good, every endpoint that is not for everybody answers 401 and does nothing."""
    before = world.kept()
    for endpoint in ENDPOINTS:
        for path, body in product((endpoint.path, *endpoint.aliases), bodies(endpoint, world.things)):
            url = re.sub(r"{(\w+)}", lambda found: segment(world.things[PATHS[found[1]][0]]), path)
            for who in STRANGERS:
                world.clock.ahead += 2.0
                response = world.session.request(
                    endpoint.method,
                    world.server.url + url,
                    json=body,
                    headers=world.presented(who),
                    timeout=30,
                )
                if endpoint.access is not Access.PUBLIC:
                    assert response.status_code == 401, (who, endpoint.method, url, response.text)
                    assert response.json()["error_code"] == "INVALID_API_KEY"
                    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert world.kept() == before


def _let_go(tx: Any) -> None:
    for agent in list(tx.kill_switches("local")):
        tx.revive("local", agent)
