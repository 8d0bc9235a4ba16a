"""A proxy in front of any MCP server: everything passes, tool calls only as a decision allows. It needs no MCP library."""
