"""The table of endpoints and the server's handlers are the same set."""

from __future__ import annotations

from ascend_guard.api.table import BY_NAME, ENDPOINTS
from ascend_guard.server.handlers import HANDLERS


def test_every_endpoint_has_its_handler() -> None:
    """And no handler answers an endpoint that nobody can find."""
    assert {endpoint.name for endpoint in ENDPOINTS} == set(HANDLERS)


def test_no_endpoint_hides_another() -> None:
    """Names, and paths with their methods, are used once."""
    assert len(BY_NAME) == len(ENDPOINTS)
    served = [
        (endpoint.method, path) for endpoint in ENDPOINTS for path in (endpoint.path, *endpoint.aliases)
    ]
    assert len(served) == len(set(served))
