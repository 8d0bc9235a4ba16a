"""Shared tests tell what they found, as those that are collected by name do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("fastmcp_promises", "mcp_matrix_play", "mcp_promises")
