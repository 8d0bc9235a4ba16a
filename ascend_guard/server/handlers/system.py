"""Whether the server lives, whether it can decide, and what it is."""

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
]
"""``claims``, ``outcomes`` and ``stream`` tell our client to take permits, to report together, and not to poll;
``once``, that a call which is named begins at most once."""


async def health(request: Request[None, None]) -> ServerHealth:
    """That it lives. Asks nothing of the database: a restart would not help."""
    return ServerHealth("healthy", iso(request.services.clock()))


async def ready(request: Request[None, None]) -> ServerHealth:
    """That decisions can be recorded. Raises ``StoreError`` otherwise."""
    await request.write(lambda tx: None)
    return ServerHealth("ready", iso(request.services.clock()))


async def deployment(request: Request[None, None]) -> DeploymentBody:
    """What it is, and what it can do besides the documented API."""
    settings = request.services.settings
    return DeploymentBody(__version__, settings.environment, settings.region, FEATURES)


HANDLERS: dict[str, Handler] = {"health": health, "ready": ready, "deployment_info": deployment}
