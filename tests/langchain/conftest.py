"""A world per test, and a conversation in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lc_world import Bench, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A control plane on a folder of its own."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(
    params=[(False, False), (False, True), (True, False), (True, True)],
    ids=["sync-memory", "sync-sqlite", "async-memory", "async-sqlite"],
)
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    """A conversation that can be interrupted, in each way to drive and to keep it."""
    return Bench(tmp_path, *request.param)
