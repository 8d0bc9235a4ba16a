"""The table of all endpoints. The clients send by its rows, the server answers by them, OpenAPI is generated from them."""

from __future__ import annotations

from . import (
    actions,
    agents,
    alerts,
    approvals,
    audit,
    classifications,
    commands,
    kill_switch,
    mcp_servers,
    models,
    orchestration,
    outcomes,
    output_filter,
    supply_chain,
    system,
    webhooks,
)
from .endpoint import Endpoint

REGISTRY: tuple[Endpoint, ...] = (
    *agents.ENDPOINTS,
    *commands.ENDPOINTS,
    *models.ENDPOINTS,
    *mcp_servers.ENDPOINTS,
    *supply_chain.ENDPOINTS,
    *orchestration.ENDPOINTS,
    *output_filter.ENDPOINTS,
    *alerts.ENDPOINTS,
    *classifications.ENDPOINTS,
)
"""The endpoints for what an organization registers."""

ENDPOINTS: tuple[Endpoint, ...] = (
    *actions.ENDPOINTS,
    *outcomes.ENDPOINTS,
    *approvals.ENDPOINTS,
    *kill_switch.ENDPOINTS,
    *system.ENDPOINTS,
    *audit.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *REGISTRY,
)
BY_NAME: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
