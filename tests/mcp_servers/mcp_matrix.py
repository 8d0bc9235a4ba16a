"""What is tried with every kind of MCP server: the lists that the tests, and whoever tells about them, go through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One way to write a server."""

    name: str
    library: str
    major: int
    tier: str
    modes: tuple[str, ...]
    """How its clients may negotiate: ``auto`` comes to protocol 2026-07-28, ``legacy`` to 2025-11-25."""

    def __str__(self) -> str:
        return self.name


KINDS = {
    kind.name: kind
    for kind in (
        Kind("mcp-2-high", "mcp", 2, "high", ("auto", "legacy")),
        Kind("mcp-2-low", "mcp", 2, "low", ("auto", "legacy")),
        Kind("fastmcp-4", "fastmcp", 4, "high", ("auto", "legacy")),
        Kind("mcp-1-high", "mcp", 1, "high", ("legacy",)),
        Kind("mcp-1-low", "mcp", 1, "low", ("legacy",)),
        Kind("fastmcp-3", "fastmcp", 3, "high", ("legacy",)),
    )
}

NEW = ("mcp-2-high", "mcp-2-low", "fastmcp-4")
"""Those of the development environment; the others have one of their own."""

OLD = tuple(name for name in KINDS if name not in NEW)

TRANSPORTS = ("memory", "stdio", "http")


@dataclass(frozen=True)
class Scenario:
    """One way a call may go."""

    name: str
    tool: str
    runs: int
    says: str
    """What the client's model is told."""
    decision: str
    """What becomes of the one action."""


SCENARIOS = (
    Scenario("allow", "look", 1, "look", "approved"),
    Scenario("deny", "wipe", 0, "Denied: ", "denied"),
    Scenario("approve", "pay", 1, "pay", "approved"),
    Scenario("approve edited", "pay", 1, "pay", "approved"),
    Scenario("refuse", "pay", 0, "Denied: ", "denied"),
    Scenario("expire", "hurry", 0, "Denied: ", "denied"),
    Scenario("kill", "pay", 0, "Stopped: ", "pending"),
)


def matrix_rows(kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[dict[str, str]]:
    """Every kind, mode, transport and scenario there is."""
    for name in kinds:
        for mode in KINDS[name].modes:
            for transport in TRANSPORTS:
                for scenario in SCENARIOS:
                    yield {"kind": name, "mode": mode, "transport": transport, "scenario": scenario.name}
