"""Each published server gets the tests that concern it. The first of them makes its environment."""

from __future__ import annotations

import pytest
from mcp_peers import PEERS
from peer_deeds import OVER_HTTP

FIRST = 300  # seconds; the first run makes the environments


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of ``name`` is one for each server, of ``modern`` one for each version that server speaks."""
    names = [*PEERS, OVER_HTTP] if "station" in metafunc.fixturenames else list(PEERS)
    names = [name for name in names if name in getattr(metafunc.function, "only", names)]
    if "modern" in metafunc.fixturenames:
        cases = [
            (name, modern) for name in names for modern in (False, True) if PEERS[name].modern or not modern
        ]
        ids = [f"{name}-{'modern' if modern else 'legacy'}" for name, modern in cases]
        metafunc.parametrize(("name", "modern"), [_patient(name, modern) for name, modern in cases], ids=ids)
    elif "name" in metafunc.fixturenames:
        metafunc.parametrize("name", [_patient(name) for name in names], ids=names, scope="module")


def _patient(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.timeout(FIRST))
