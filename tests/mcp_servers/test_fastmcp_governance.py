"""The promises about FastMCP's own features, for the development environment's major."""

from __future__ import annotations

from fastmcp_promises import *  # noqa: F403
