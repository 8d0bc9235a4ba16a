"""A shop behind a proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proxy_world import Desk, Proxy
from scripted_upstream import Upstream, scripted


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Policy, database, and people who decide."""
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start(desk: Desk) -> Iterator[Callable[..., Proxy]]:
    """Start a proxy: options, and the server's command line if it is not the recording one's."""
    running: list[Proxy] = []

    def begin(*options: str, server: list[str] | None = None) -> Proxy:
        running.append(Proxy(desk.command(*options, server=server), desk.environment))
        return running[-1]

    yield begin
    for proxy in running:
        proxy.close()
        print(proxy.errors)


@pytest.fixture
def proxy(start: Callable[..., Proxy]) -> Proxy:
    """A proxy in front of the recording server."""
    return start()


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[Upstream]:
    """A server by URL."""
    with scripted() as running:
        yield running


@pytest.fixture
def upstream(scripted_server: Upstream) -> Upstream:
    """A server by URL that answers as the test says, and has been asked nothing yet."""
    scripted_server.begin()
    return scripted_server
