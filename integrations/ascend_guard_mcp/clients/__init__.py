"""The configuration files of MCP clients: found, read, and the change that puts servers behind the proxy or takes them out.

Nothing here prints, asks or writes; ``ascend-guard mcp-proxy install`` and ``uninstall`` do.
"""

from __future__ import annotations
