"""The promises about FastMCP's own features, for fastmcp 3."""

from __future__ import annotations

from fastmcp_promises import *  # noqa: F403
