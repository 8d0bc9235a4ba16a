"""A store with two organizations, and an issuer of people's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from auth_world import Issuer, World, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store with two organizations."""
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.fixture(scope="session")
def lasting_issuer() -> Iterator[Issuer]:
    """An issuer's server, started once."""
    with serving() as issuer:
        yield issuer


@pytest.fixture
def issuer(lasting_issuer: Issuer) -> Issuer:
    """The same, as it should be."""
    lasting_issuer.reset()
    return lasting_issuer
