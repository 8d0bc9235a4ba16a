"""What an organization registers: agents, models, MCP servers, components, classifications, alerts."""
