"""The OpenAPI document is true: whatever is made up from it, the real server answers as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openapi_spec_validator
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from organization_of_things import PATHS, POLICY_OF_THINGS, Ahead, Things, credentials, filled
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Serving, serving
from support import PROFILE

from ascend_guard.api.table import ENDPOINTS
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.openapi import document

EXAMPLES = {"quick": 12, "ci": 60, "full": 600}[PROFILE]

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


class World:
    """A server, what its organization has, and who asks."""

    def __init__(self, server: Serving, clock: Ahead) -> None:
        self.server = server
        self.clock = clock
        self.things: Things = filled(server, "local", padding=0)
        self.credentials = credentials(server, "local", self.things["agent"])
        self.session = requests.Session()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all operations: what one made up is there for the next."""
    path, clock = tmp_path_factory.mktemp("openapi") / "a.db", Ahead()
    allowing = ServerSettings(private_webhooks=True, tier="unlimited")
    with serving(path, POLICY_OF_THINGS, settings=allowing, clock=clock) as server:
        yield World(server, clock)


def test_the_document_is_valid(world: World) -> None:
    """What is at /openapi.json is OpenAPI 3.1, and what the table of endpoints says."""
    served = requests.get(world.server.url + "/openapi.json", timeout=10)
    assert served.headers["content-type"] == "application/json"
    assert served.json() == document(ENDPOINTS)
    assert served.json()["openapi"].startswith("3.1")
    openapi_spec_validator.validate(served.json())


def test_every_endpoint_is_in_the_document() -> None:
    """Each endpoint and each alias is an operation with a summary and its own identifier."""
    paths = document(ENDPOINTS)["paths"]
    named = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(named) == len(set(named)) == sum(1 + len(endpoint.aliases) for endpoint in ENDPOINTS)
    assert all(operation["summary"] for path in paths.values() for operation in path.values())


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_answers_are_as_documented(label: str, world: World) -> None:
    """Whoever asks whatever the document allows or forbids gets a documented status, type and body, never a 5xx."""
    operation = OPERATIONS[label]
    modes = list(schemathesis.GenerationMode)
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @settings(
        max_examples=EXAMPLES,
        derandomize=PROFILE == "quick",
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(cases, st.sampled_from(sorted(world.credentials)), st.data())
    def ask(case: schemathesis.Case, who: str, data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            if name in PATHS and data.draw(st.booleans()):
                case.path_parameters[name] = world.things[data.draw(st.sampled_from(PATHS[name]))]
        for credential in ("X-API-Key", "Authorization"):  # made up, they would only ever be refused
            case.headers.pop(credential, None)
        headers: dict[str, Any] = {"Authorization": f"Bearer {world.credentials[who]}"}
        response = case.call(base_url=world.server.url, headers=headers, session=world.session, timeout=30)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert set(response.json()) == {"detail", "error_code", "status_code"}
            assert response.json()["status_code"] == response.status_code

    world.clock.seconds += 70.0  # refused keys are counted for a minute
    world.server.store.write(_let_go)
    ask()


def _let_go(tx: Any) -> None:
    for agent in list(tx.kill_switches("local")):
        tx.revive("local", agent)
