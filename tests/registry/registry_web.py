"""A server with two organizations, and the credentials of each."""

from __future__ import annotations

import sqlite3
from typing import Any

from starlette.testclient import TestClient

from ascend_guard.engine.keys import make_key
from ascend_guard.server.access.tokens import LocalIssuer
from ascend_guard.store.sqlite.store import SQLiteStore

SDK = {"User-Agent": "ascend-sdk/2.7.1 Python", "Content-Type": "application/json"}


class Web:
    """A server and everybody's credentials."""

    def __init__(self, store: SQLiteStore, client: TestClient) -> None:
        self.store = store
        self.client = client
        issuer = LocalIssuer(store.secret)
        self.person = {"Authorization": f"Bearer {issuer.issue('ann', role='admin', organization='ours')}"}
        self.admin = self.key("ours", role="admin")
        self.agent = self.key("ours")
        self.bound = self.key("ours", agent_id="billing")
        self.stranger = self.key("theirs", role="admin")

    def key(self, organization: str, **options: Any) -> dict[str, str]:
        """The headers of a new key."""
        key, _ = self.store.write(
            lambda tx: make_key(
                tx, organization, agent_id=options.get("agent_id"), role=options.get("role", "agent"), by="t"
            )
        )
        return {"X-API-Key": key, **SDK}

    def ask(self, method: str, path: str, who: dict[str, str], body: Any = None) -> tuple[int, Any]:
        """Status and body of an answer; without a body none is sent at all."""
        answer = self.client.request(method, path, headers=who, json=body)
        return answer.status_code, answer.json()

    def rows(self, *organizations: str) -> dict[str, list[Any]]:
        """Every row of these organizations that a registry writes."""
        marks = ", ".join("?" * len(organizations))
        theirs = f"organization IN ({marks})"
        where = dict.fromkeys(("things", "bookkeeping", "kill_switches", "heads"), f"{theirs} ORDER BY 1, 2")
        where["log"] = f"key >> 40 IN (SELECT number FROM heads WHERE {theirs}) ORDER BY key"
        connection = sqlite3.connect(f"file:{self.store.path}?mode=ro", uri=True)
        try:
            return {
                table: connection.execute(
                    f"SELECT * FROM {table} WHERE {condition}", organizations
                ).fetchall()
                for table, condition in where.items()
            }
        finally:
            connection.close()
