"""One step of an agent in a process of its own, forked from one that has done nothing but imports."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

from ascend_guard_langchain import GovernanceMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from lc_world import HELLO, World, agent, answers, call, interrupts, says, thread


def step(folder: Path, payload: str | None, crash: bool, told: Connection) -> None:
    """Begin the conversation, or resume it with the payload, and tell how it ended.

    The tool writes what it was run with into ``ran.txt``; with ``crash`` the process ends in the middle of it.
    """
    world = World(folder)

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        with (folder / "ran.txt").open("a") as out:
            out.write(f"{amount}\n")
        if crash:
            os._exit(3)
        return f"paid {amount}"

    with SqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver:
        made = agent(
            [says(call("pay", {"amount": 5}))],
            [pay],
            GovernanceMiddleware({"pay": "ask_it"}, on_pending="interrupt"),
            checkpointer=saver,
        )
        state = made.invoke(HELLO if payload is None else Command(resume=payload), thread())
    asked = interrupts(state)
    told.send(f"asked {asked[0]['action_id']}" if asked else str(answers(state)[-1].content))
    world.close()
