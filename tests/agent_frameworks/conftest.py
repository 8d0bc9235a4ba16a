"""A control plane for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_agents import World, world_in


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A control plane of its own."""
    with world_in(tmp_path) as made:
        yield made
