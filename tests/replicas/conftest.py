"""Databases that replicas share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer, private_server, shared_server
from replica_world import World


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be restarted."""
    with private_server() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh database on the server of the test run."""
    with shared_server().database() as url:
        yield World(tmp_path, url)


@pytest.fixture
def empty_world(tmp_path: Path) -> Iterator[World]:
    """The same without our tables."""
    with shared_server().database("template0") as url:
        yield World(tmp_path, url)
