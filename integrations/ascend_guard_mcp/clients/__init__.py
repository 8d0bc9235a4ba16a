"""The configuration files of MCP clients: find them, read them, and plan the change that adds or removes the proxy.

This package does not print, ask or write; ``ascend-guard mcp-proxy install`` and ``uninstall`` do.
"""

from __future__ import annotations
