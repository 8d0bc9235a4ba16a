"""The promises about governed servers, for the kinds of the development environment."""

from __future__ import annotations

import pytest
from mcp_matrix import KINDS, NEW
from mcp_promises import *  # noqa: F403


@pytest.fixture(params=[f"{kind} {mode}" for kind in NEW for mode in KINDS[kind].modes])
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of server, and how its client negotiates."""
    kind, _, mode = request.param.partition(" ")
    return kind, mode


@pytest.fixture
def kind(case: tuple[str, str]) -> str:
    """A kind of server."""
    return case[0]


@pytest.fixture
def mode(case: tuple[str, str]) -> str:
    """How its client negotiates."""
    return case[1]


@pytest.fixture(params=NEW)
def any_kind(request: pytest.FixtureRequest) -> str:
    """A kind of server, whose client negotiates as it likes."""
    name: str = request.param
    return name
