"""Databases of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer, database, private_server, shared_server
from store_kinds import Database


@pytest.fixture(scope="session")
def server() -> PostgresServer:
    """The PostgreSQL that this run shares."""
    return shared_server()


@pytest.fixture
def url() -> Iterator[str]:
    """A fresh PostgreSQL database."""
    with database() as url:
        yield url


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be restarted."""
    with private_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        with Database(path=tmp_path / "a.db").closing() as found:
            yield found
    else:
        with database() as url, Database(url=url).closing() as found:
            yield found
