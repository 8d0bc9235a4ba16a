"""What tests of webhooks share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from webhook_world import World, world_at


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A control plane with webhooks."""
    with world_at(tmp_path / "ascend.db") as world:
        yield world
