"""The cost of governing one call of a LangChain tool: in the process, over HTTP, and with ascend-langchain's wrapper."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from .added import add_added, add_base, added_group
from .environment import LANGCHAIN, PeerEnvironment
from .report import Group
from .rounds import Worker, race
from .servers import GuardServer

_BARE = "ungoverned"
_EMBEDDED = {durability: f"govern_tool, embedded, {durability}" for durability in ("process", "power")}
_HTTP = "govern_tool over HTTP, stream live"
_VERSION = f"ascend-langchain {LANGCHAIN['ascend-langchain']}"
_THEIR_BARE = f"ungoverned, beside {_VERSION}"
_WRAPPED = f"{_VERSION}, wrap_tools; against that"


def langchain(folder: Path, seconds: float, environment: PeerEnvironment) -> Group:
    """One call after the other; the wrapper if it is installed."""
    group = added_group(
        "langchain",
        "One call of a LangChain tool: tool.invoke(tool_call)",
        "A tool of one text that does nothing. The server's database has durability 'process', as in http_call. The "
        "wrapper submits and reports no outcome; its client's kill-switch polling runs beside the calls.",
        "wrap_tools",
    )
    published = environment.holds(LANGCHAIN)
    with ExitStack() as stack:
        guard = GuardServer(folder / "server", "process")
        stack.callback(guard.close)
        contestants = {_BARE: Worker("langchain_bare_call")}
        for durability, name in _EMBEDDED.items():
            contestants[name] = Worker("langchain_call", durability, folder / durability)
        contestants[_HTTP] = Worker("langchain_call", "http", guard.url, guard.key)
        if published:
            contestants[_THEIR_BARE] = Worker("langchain_bare_call", python=environment.python)
            contestants[_WRAPPED] = Worker(
                "ascend_langchain_call", guard.url, guard.key, python=environment.python
            )
        timings = race(contestants, seconds)
    bare = timings[_BARE]
    add_base(group, _BARE, bare)
    for name in _EMBEDDED.values():
        add_added(group, name, timings[name], bare)
    if not published:
        add_added(group, _HTTP, timings[_HTTP], bare)
        absent = [why for name, why in environment.missing.items() if name in LANGCHAIN]
        why = absent[0] if absent else f"{_VERSION} is not installed; run without --quick once"
        group.add(_WRAPPED, [*[""] * 6, why], missing=why)
        return group
    add_base(group, _THEIR_BARE, timings[_THEIR_BARE])
    theirs = add_added(group, _WRAPPED, timings[_WRAPPED], timings[_THEIR_BARE])
    add_added(group, _HTTP, timings[_HTTP], bare, theirs)
    return group
