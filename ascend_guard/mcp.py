"""Kill-switch commands for MCP servers, under the module name that the SDK document imports ("MCP governance")."""

from .client.guard.kill_switch_commands import MCPKillSwitchConsumer

__all__ = ["MCPKillSwitchConsumer"]
