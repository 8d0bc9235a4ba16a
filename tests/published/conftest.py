"""One server for all of these tests, and for each published version a process that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from published_environments import SDK_VERSIONS
from published_server import Person, Published, Server
from published_shop import Shop


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Our server. Everything these tests know about starting it is in ``Server``."""
    one = Server(tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def ann(server: Server) -> Person:
    """Someone of finance who may approve."""
    return server.person()


@pytest.fixture(scope="session")
def ida(server: Server) -> Person:
    """An admin."""
    return server.person("ida@example.com", role="admin", group="operations")


@pytest.fixture(scope="session")
def admin_key(server: Server) -> str:
    """An admin's API key."""
    return server.admin_key()


@pytest.fixture(scope="session", params=SDK_VERSIONS)
def shop(
    request: pytest.FixtureRequest,
    server: Server,
    ann: Person,
    ida: Person,
    admin_key: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shop]:
    """One version of the published SDK, in use."""
    agent = f"shop-{request.param}"
    sdk = Published(
        f"ascend-ai-sdk-{request.param}",
        "sdk_methods.py",
        tmp_path_factory.mktemp("sdk"),
        base_url=server.url,
        api_key=server.key(agent),
        options={"agent_id": agent, "agent_name": "Shop"},
    )
    yield Shop(sdk, request.param, agent, admin_key, ann, ida)
    sdk.close()


@pytest.fixture(scope="session")
def langchain(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """The published LangChain integration, in use."""
    one = Published(
        "ascend-langchain-2.0.1",
        "langchain_entry_points.py",
        tmp_path_factory.mktemp("langchain"),
        base_url=server.url,
        api_key=server.key("chain"),
        options={"agent_id": "chain", "agent_name": "Chain"},
    )
    yield one
    one.close()
