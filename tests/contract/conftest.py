"""The contract suite runs in every way a world can be put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract_worlds import WAYS, World, world
from postgres_server import database


@pytest.fixture(params=WAYS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The world, eight times."""
    with ExitStack() as stack:
        made = stack.enter_context(world(request.param, tmp_path, lambda: stack.enter_context(database())))
        yield made
