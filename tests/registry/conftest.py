"""A world for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store with nothing registered in it."""
    made = World(tmp_path)
    yield made
    made.close()
