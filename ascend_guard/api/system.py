"""The server itself: health, errors, version and features."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from .endpoint import Access, Endpoint


class ErrorBody(Struct):
    """Every error's body (REST API document, "Error Format")."""

    detail: Any
    error_code: str
    status_code: int


class ServerHealth(Struct):
    """The server is alive."""

    status: str
    timestamp: str


class DeploymentBody(Struct):
    """The server's version and environment, and its ``features`` besides the documented API."""

    version: str
    environment: str
    region: str
    features: list[str]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "health", "GET", "/health", ServerHealth, access=Access.PUBLIC, summary="Check that the server is alive.",
    ),
    Endpoint(
        "ready", "GET", "/ready", ServerHealth, access=Access.PUBLIC, refuses=(503,),
        summary="Check that the server can record decisions.",
    ),
    Endpoint(
        "deployment_info", "GET", "/api/deployment-info", DeploymentBody, access=Access.PUBLIC,
        summary="Get the server's version and features.",
    ),
)  # fmt: skip
