"""The time that governing adds to one run of a LangChain agent, beside LangChain's own HumanInTheLoopMiddleware."""

from __future__ import annotations

from pathlib import Path

from .added import add_added, add_base, added_group
from .report import Group
from .rounds import Worker, race

KINDS = {
    "bare": "no middleware",
    "unasked": "HumanInTheLoopMiddleware, another tool's",
    "allowed": "GovernanceMiddleware, a rule allows",
    "saved": "InMemorySaver, no middleware",
    "asked": "InMemorySaver, HumanInTheLoopMiddleware",
    "held": "InMemorySaver, GovernanceMiddleware",
}


def agent(folder: Path, seconds: float) -> Group:
    """Uninterrupted runs, against no middleware; interrupted runs, against runs that are only saved."""
    timings = race({kind: Worker("agent_run", kind, folder / kind) for kind in KINDS}, seconds)
    group = added_group(
        "agent",
        "One run of create_agent: a scripted model calls one tool and ends",
        "GovernanceMiddleware decides in the process, with durability 'process'. The last two runs are two invokes of one "
        "thread, stopped, approved and resumed, and compared with what is only saved. Our approval (on_pending='interrupt') "
        "is made on the control plane between the two, and recorded; LangChain's is what the graph is resumed with.",
        "HumanInTheLoop",
    )
    bare, saved = timings["bare"], timings["saved"]
    add_base(group, KINDS["bare"], bare)
    for kind in ("unasked", "allowed"):
        add_added(group, KINDS[kind], timings[kind], bare)
    add_base(group, KINDS["saved"], saved)
    asked = add_added(group, KINDS["asked"], timings["asked"], saved)
    add_added(group, KINDS["held"], timings["held"], saved, asked)
    return group
