"""Kill-switch commands for MCP servers, under the name that the SDK document imports them by ("MCP governance")."""

from .client.guard.kill_switch_commands import MCPKillSwitchConsumer

__all__ = ["MCPKillSwitchConsumer"]
