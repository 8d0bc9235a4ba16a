"""The contract suite runs in every way a world can be put together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract_worlds import WAYS, World, world


@pytest.fixture(params=WAYS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The world, eight times."""

    def postgres_url() -> str:
        url: str = request.getfixturevalue("postgres_url")
        return url

    with world(request.param, tmp_path, postgres_url) as made:
        yield made
