"""A proxy in front of any MCP server: everything passes unchanged, except tool calls, which are decided. Needs no MCP
library."""
