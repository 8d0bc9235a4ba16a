"""The handlers of everything an organization registers, in one place."""

from __future__ import annotations

from . import agents, alerts, commands, mcp_servers, models, orchestration, output_filter, supply_chain
from .handling import Handler

HANDLERS: dict[str, Handler] = {
    **agents.HANDLERS,
    **commands.HANDLERS,
    **models.HANDLERS,
    **mcp_servers.HANDLERS,
    **supply_chain.HANDLERS,
    **orchestration.HANDLERS,
    **output_filter.HANDLERS,
    **alerts.HANDLERS,
}
