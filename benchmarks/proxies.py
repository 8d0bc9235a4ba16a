"""The time that ``ascend-guard mcp-proxy`` adds to one tools/call over stdio, against a process that only copies lines."""

from __future__ import annotations

import sys
from pathlib import Path

from .added import add_added, add_base, added_group
from .contestants.plane import POLICY
from .mcp_calls import SERVER
from .report import Group
from .rounds import HERE, Worker, race

PASSTHROUGH = HERE / "contestants" / "passthrough.py"


def proxy(folder: Path, seconds: float) -> Group:
    """The same client and server with nothing, the passthrough, and the proxy between them."""
    folder.mkdir(parents=True)
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    database = f"sqlite:///{folder / 'ascend.db'}?durability=process"
    where = ("--policy", policy, "--database-url", database)
    server = (sys.executable, SERVER)
    timings = race(
        {
            "direct": Worker("mcp_call", "stdio", *server),
            "passthrough": Worker("mcp_call", "stdio", sys.executable, PASSTHROUGH, *server),
            "proxy": Worker(
                "mcp_call",
                *("stdio", sys.executable, "-m", "ascend_guard", *where, "mcp-proxy", "--name", "bench"),
                *("--", *server),
            ),
        },
        seconds,
    )
    group = added_group(
        "proxy",
        "One tools/call over stdio, directly and through the proxy",
        "The passthrough copies lines both ways with asyncio and reads none. The proxy decides in its process, SQLite, "
        "durability 'process'.",
        "the passthrough",
    )
    direct, passed, governed = timings["direct"], timings["passthrough"], timings["proxy"]
    add_base(group, "client and server", direct)
    through = add_added(group, "a bare passthrough between them", passed, direct)
    add_added(group, "ascend-guard mcp-proxy between them", governed, direct, through)
    add_added(group, "ascend-guard mcp-proxy; against the passthrough", governed, passed)
    return group
