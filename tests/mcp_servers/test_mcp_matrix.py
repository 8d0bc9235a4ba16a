"""Every kind of server of the development environment, on every transport, through every way a call may go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mcp_matrix import KINDS, NEW, OLD, SCENARIOS, TRANSPORTS, Scenario, matrix_rows
from mcp_matrix_play import play
from mcp_station import Station

STATIONS = [(kind, mode, transport) for kind in NEW for mode in KINDS[kind].modes for transport in TRANSPORTS]


@pytest.fixture(scope="module", params=STATIONS, ids="-".join)
def station(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One server, and a client connected to it."""
    one = Station(*request.param, tmp_path_factory.mktemp("station"))
    yield one
    one.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_one_gate_and_the_judged_run(
    station: Station, scenario: Scenario, record_property: Callable[[str, Any], None]
) -> None:
    """One call, one action; the body runs when that is allowed, and with what was judged."""
    play(station, scenario, record_property)


def test_the_rows_are_those_that_are_tried() -> None:
    """Who tells about the matrix goes through the same lists, for all kinds of server."""
    assert len(list(matrix_rows(NEW))) == len(STATIONS) * len(SCENARIOS)
    assert len(list(matrix_rows())) == len(list(matrix_rows(NEW))) + len(list(matrix_rows(OLD)))
