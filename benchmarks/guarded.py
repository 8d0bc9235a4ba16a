"""The server that governs LangChain tools: ``ascend-guard serve`` under the policy of ``contestants/tools.py``."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from ascend_guard.config import Settings
from ascend_guard.engine.keys import make_key

from .contestants.tools import POLICY
from .servers import ServerProcess


class ToolServer(ServerProcess):
    """It keeps its records in SQLite, with durability ``process``.

    Args:
        folder: for its policy and its database.

    Attributes:
        key: of the agent ``bench``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        database = f"sqlite:///{folder / 'ascend.db'}"
        settings = Settings(policy=policy, database_url=database, durability="process")
        with closing(settings.store()) as store:
            self.key, _ = store.write(
                lambda tx: make_key(tx, "local", agent_id="bench", role="agent", by="benchmark")
            )
        super().__init__(
            [sys.executable, "-m", "ascend_guard", "serve", "--port", "0", "--json"],
            {
                "ASCEND_POLICY": str(policy),
                "ASCEND_DATABASE_URL": database,
                "ASCEND_DURABILITY": "process",
            },
        )
