"""One handler for each endpoint of the table, grouped by subject."""

from __future__ import annotations

from ascend_guard.server.handling import Handler

from . import (
    actions,
    agents,
    alerts,
    approvals,
    commands,
    kill_switch,
    lists,
    mcp_servers,
    models,
    orchestration,
    outcomes,
    output_filter,
    supply_chain,
    system,
    webhooks,
)

HANDLERS: dict[str, Handler] = {
    **actions.HANDLERS,
    **agents.HANDLERS,
    **alerts.HANDLERS,
    **approvals.HANDLERS,
    **commands.HANDLERS,
    **kill_switch.HANDLERS,
    **lists.HANDLERS,
    **mcp_servers.HANDLERS,
    **models.HANDLERS,
    **orchestration.HANDLERS,
    **outcomes.HANDLERS,
    **output_filter.HANDLERS,
    **supply_chain.HANDLERS,
    **system.HANDLERS,
    **webhooks.HANDLERS,
}
"""The handlers, by the name of the endpoint in ``api.table``."""
