"""An engine per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_world import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """On a store of its own."""
    made = Engine(tmp_path)
    yield made
    made.store.close()
