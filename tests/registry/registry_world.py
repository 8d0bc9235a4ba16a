"""A store with organizations in it, and requests to the registry's handlers, made by hand."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from recorded import every_record

from ascend_guard.api.endpoint import Endpoint
from ascend_guard.api.table import REGISTRY
from ascend_guard.engine.decide import judge, submit
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Submit
from ascend_guard.model import ActionResult, AgentAction
from ascend_guard.server.handlers import HANDLERS
from ascend_guard.server.handling import Caller, Request, ServerSettings, Services
from ascend_guard.store.port import Reader, Transaction
from ascend_guard.store.sqlite.store import SQLiteStore

R = TypeVar("R")

ROWS: dict[str, Endpoint] = {row.name: row for row in REGISTRY}

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: no-deletes, actions: ["*_delete"], effect: deny, reason: Deletes are off.}
"""

ADMIN = Caller("ours", "key:admin", role="admin")
PERSON = Caller("ours", "ann@example.org", person=True, role="admin")
VIEWER = Caller("ours", "vic@example.org", person=True, role="viewer")
AGENT = Caller("ours", "key:agent")
"""A key for any agent."""
BOUND = Caller("ours", "key:bound", agent_id="billing")
"""A key made for the agent ``billing``."""
STRANGER = Caller("theirs", "key:theirs", role="admin")


_EXAMPLES = itertools.count()


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """One store, and everybody who may ask.

    Args:
        folder: where the database is made.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.store = SQLiteStore(folder / "registry.db", durability="process", clock=self.clock)
        self.policy = parse_policy(POLICY)
        given = {
            "store": self.store,
            "policy": self.policy,
            "clock": self.clock,
            "settings": ServerSettings(),
        }
        # What else handlers may reach is for other endpoints than these.
        self.services = Services(**{name: given.get(name) for name in Services.__struct_fields__})
        self._digests = itertools.count()

    def close(self) -> None:
        self.store.close()

    def read(self, work: Callable[[Reader], R]) -> R:
        return self.store.read(work)

    def write(self, work: Callable[[Transaction], R]) -> R:
        return self.store.write(work)

    def ask(
        self, name: str, caller: Caller, body: Any = None, query: str = "", headers: Any = None, **path: Any
    ) -> Any:
        """What an endpoint answers, as JSON; body and query are decoded as a server would."""
        row = ROWS[name]
        if row.body is not None:
            body = msgspec.json.decode(msgspec.json.encode({} if body is None else body), type=row.body)
        asked = None
        if row.query is not None:
            asked = msgspec.convert(dict(parse_qsl(query)), row.query, strict=False)
        texts = {part: str(value) for part, value in path.items()}
        call = Request(self.services, caller, texts, body, asked, headers or {}, "correlation-1")
        answer = asyncio.run(HANDLERS[name](call))  # type: ignore[arg-type]
        assert isinstance(answer, row.answer)
        plain = msgspec.json.decode(msgspec.json.encode(answer))
        msgspec.convert(plain, row.answer)
        return plain

    def act(
        self,
        organization: str = "ours",
        agent_id: str = "billing",
        action_type: str = "file_read",
        **fields: Any,
    ) -> int:
        """Submit an action as it is, past the registry; its number."""
        action = AgentAction(agent_id, agent_id, action_type, "it", "files", **fields)
        digest = f"{next(self._digests):064x}"
        judgement = judge(action, self.policy)
        effect = Submit(action, digest, detached=True, repeatable=False)
        result = self.write(
            lambda tx: submit(tx, organization, self.store.runner, lambda _: True, judgement, effect)
        )
        assert isinstance(result, ActionResult)
        return int(result.action_id)

    def events(self, organization: str = "ours") -> list[str]:
        """The names of the organization's audit records, in order."""
        return [row.event for row in self.read(lambda reader: every_record(reader, organization))]

    def trail(self, organization: str = "ours") -> list[dict[str, Any]]:
        """The organization's audit records, in order."""
        rows = self.read(lambda reader: every_record(reader, organization))
        return [msgspec.json.decode(row.body) for row in rows]

    def everything(self) -> bytes:
        """All bytes of the database, with its log: what a secret must not be in."""
        self.store.read(lambda reader: reader.heads())
        folder = self.store.path.parent
        return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


@functools.cache
def shared() -> World:
    """One world for all examples of the properties: making a database takes longer than an example."""
    folder = tempfile.TemporaryDirectory()
    world = World(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(world.close)
    return world


def two_organizations() -> dict[str, str]:
    """The names of two organizations that no other example knows."""
    number = next(_EXAMPLES)
    return {name: f"{name}-{number}" for name in ("ours", "theirs")}
