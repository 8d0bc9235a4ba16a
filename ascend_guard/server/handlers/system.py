"""The server itself: whether it is alive, whether it can decide, its version and features."""

from __future__ import annotations

from ascend_guard._version import __version__
from ascend_guard.api.system import DeploymentBody, ServerHealth
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request

FEATURES = [
    "smart_rules",
    "mcp_governance",
    "model_governance",
    "claims",
    "outcomes",
    "idempotency",
    "stream",
    "once",
    "echo",
]
"""``claims``, ``outcomes`` and ``stream`` tell our client to take permits, to report outcomes together, and not to poll;
``once``, that a named call begins at most once; ``echo``, that each answer repeats its request's ``X-Correlation-ID``."""


async def health(request: Request[None, None]) -> ServerHealth:
    """Report that the server is alive. It does not use the database, because a restart would not help there."""
    return ServerHealth("healthy", iso(request.services.clock()))


async def ready(request: Request[None, None]) -> ServerHealth:
    """Report that decisions can be recorded. Raises ``StoreError`` otherwise."""
    await request.write(lambda tx: None)
    return ServerHealth("ready", iso(request.services.clock()))


async def deployment(request: Request[None, None]) -> DeploymentBody:
    """Return the server's version, and its features besides the documented API."""
    settings = request.services.settings
    return DeploymentBody(__version__, settings.environment, settings.region, FEATURES)


HANDLERS: dict[str, Handler] = {"health": health, "ready": ready, "deployment_info": deployment}
