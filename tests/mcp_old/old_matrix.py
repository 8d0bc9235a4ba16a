"""The matrix and the promises for mcp 1.x and fastmcp 3, which have an environment of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mcp_matrix import KINDS, OLD, SCENARIOS, TRANSPORTS, Scenario
from mcp_matrix_play import play
from mcp_promises import *  # noqa: F403
from mcp_station import Station


@pytest.fixture(
    scope="module", params=[(kind, transport) for kind in OLD for transport in TRANSPORTS], ids="-".join
)
def station(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One server, and a client connected to it."""
    kind, transport = request.param
    one = Station(kind, "legacy", transport, tmp_path_factory.mktemp("station"))
    yield one
    one.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_one_gate_and_the_judged_run(
    station: Station, scenario: Scenario, record_property: Callable[[str, Any], None]
) -> None:
    """One call, one action; the body runs when that is allowed, and with what was judged."""
    play(station, scenario, record_property)


@pytest.fixture(params=OLD)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of server."""
    name: str = request.param
    return name


@pytest.fixture
def mode(kind: str) -> str:
    """How its client negotiates."""
    return KINDS[kind].modes[0]


@pytest.fixture(params=OLD)
def any_kind(request: pytest.FixtureRequest) -> str:
    """A kind of server, whose client negotiates as it likes."""
    name: str = request.param
    return name
