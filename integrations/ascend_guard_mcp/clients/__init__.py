"""The configuration files of MCP clients: found, read, routed through the proxy, and put back as they were.

Nothing here prints or asks; ``ascend-guard mcp-proxy install`` and ``uninstall`` do.
"""

from __future__ import annotations
