"""One world, put together in eight ways: which database, decided here or over HTTP, called or awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from serving import serving
from support import POLICY
from world import Beside, Clock, eventually, new_store

from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.engine import audit
from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import AscendError
from ascend_guard.store.port import ActionRow, Store

WAYS = [
    f"{store}-{where}-{how}"
    for store in ("sqlite", "postgres")
    for where in ("embedded", "http")
    for how in ("sync", "async")
]


class People(Protocol):
    """What people do, whichever way they do it. A refusal is an AscendError, or an HTTP status from 400 on."""

    def approve(self, action_id: str, who: str = ..., edits: dict[str, Any] | None = ...) -> object: ...
    def deny(self, action_id: str, who: str = ...) -> object: ...
    def kill(self, agent_id: str | None = ...) -> object: ...
    def release(self, agent_id: str | None = ...) -> object: ...


class World:
    """A control plane, its people and its database."""

    def __init__(self, plane: Any, people: People, store: Store, clock: Clock, awaited: bool) -> None:
        self.plane = plane
        self.people = people
        self.store = store
        self.clock = clock
        self.awaited = awaited
        self.ran: list[Any] = []

    def tool(
        self, body: Callable[..., Any] | None = None, action: str = "refund", **options: Any
    ) -> Callable[..., Any]:
        """A governed tool that notes its runs, as a plain function whichever way it is called."""
        note = self.ran.append

        def run(amount: Any, *rest: Any) -> Any:
            note(amount)
            return amount if body is None else body(amount, *rest)

        gate = governed(action, "stripe", control_plane=self.plane, **options)
        if not self.awaited:

            @gate
            def plain(amount: Any, items: Any = None) -> Any:
                return run(amount, *([] if items is None else [items]))

            return plain

        @gate
        async def coroutine(amount: Any, items: Any = None) -> Any:
            await asyncio.sleep(0)
            return run(amount, *([] if items is None else [items]))

        return lambda *args, **kwargs: asyncio.run(coroutine(*args, **kwargs))

    def beside(self, call: Callable[..., Any], *args: Any) -> Beside:
        """A call in a thread of its own."""
        return Beside(call, *args)

    def pending(self) -> str:
        """The action that waits, once there is one."""

        def newest() -> str | None:
            rows = self.store.read(lambda reader: reader.actions("local", status="pending", limit=1))
            return str(rows[0].id) if rows else None

        found: str = eventually(newest)
        return found

    def rows(self) -> list[ActionRow]:
        """All actions, oldest first."""
        return self.store.read(lambda reader: reader.actions("local", limit=1000))[::-1]

    def outcomes(self) -> list[str | None]:
        """Of all actions, oldest first, once what was posted is recorded."""
        return [row.outcome for row in self.rows()]

    def sound(self) -> bool:
        """Whether the audit trail is whole and agrees with the actions."""
        report = self.store.snapshot(lambda reader: audit.verify(reader, self.store.secret))
        assert report.problems == []
        return report.ok


class _Here:
    def __init__(self, plane: EmbeddedControlPlane) -> None:
        self._plane = plane

    def approve(self, action_id: str, who: str = "ann", edits: dict[str, Any] | None = None) -> object:
        return self._try(lambda: self._plane.approve(action_id, approver=who, arguments=edits))

    def deny(self, action_id: str, who: str = "ann") -> object:
        return self._try(lambda: self._plane.deny(action_id, approver=who))

    def kill(self, agent_id: str | None = None) -> object:
        return self._plane.kill(reason="there is a fire", by="ann", agent_id=agent_id)

    def release(self, agent_id: str | None = None) -> object:
        return self._plane.release(reason="the fire is out", by="ann", agent_id=agent_id)

    @staticmethod
    def _try(decide: Callable[[], object]) -> object:
        try:
            return decide()
        except AscendError as error:
            return error


class _Behind:
    def __init__(self, server: Any) -> None:
        self._server = server
        self._admin = server.key(None, "admin")

    def approve(self, action_id: str, who: str = "ann", edits: dict[str, Any] | None = None) -> object:
        body = {"arguments": edits} if edits else {}
        return self._answered(self._ask(f"/api/actions/{action_id}/approve", who, body))

    def deny(self, action_id: str, who: str = "ann") -> object:
        return self._answered(self._ask(f"/api/governance/workflows/{action_id}/deny", who, {}))

    def kill(self, agent_id: str | None = None) -> object:
        return self._turn("trigger", agent_id)

    def release(self, agent_id: str | None = None) -> object:
        return self._turn("release", agent_id)

    def _turn(self, how: str, agent_id: str | None) -> object:
        body = {"reason": "there is a fire"} | ({"agent_id": agent_id} if agent_id else {})
        answer = self._server.ask("POST", f"/api/billing/kill-switch/local/{how}", self._admin, body)
        assert answer.ok, answer.text
        return answer.json()

    def _ask(self, path: str, who: str, body: dict[str, Any]) -> Any:
        return self._server.ask("POST", path, self._server.token(f"{who}@example.com"), body)

    @staticmethod
    def _answered(answer: Any) -> object:
        return answer.json() if answer.ok else AscendError(answer.text)


@contextmanager
def world(way: str, folder: Path, postgres_url: Callable[[], str], policy: str = POLICY) -> Iterator[World]:
    """The world in one of ``WAYS``."""
    database, where, how = way.split("-")
    clock = Clock()
    if database == "sqlite":
        store: Store = new_store(folder / "contract.db", clock)
    else:
        from ascend_guard.store.postgres.store import PostgresStore

        store = PostgresStore(postgres_url(), secret=bytes(32), clock=clock)
    if where == "embedded":
        plane = EmbeddedControlPlane(store, parse_policy(policy), agent_id="my-agent", clock=clock)
        try:
            yield World(plane, _Here(plane), store, clock, how == "async")
        finally:
            plane.close()
        return
    with serving(store, policy, clock=clock) as server:
        remote = server.plane()
        try:
            yield World(remote, _Behind(server), store, clock, how == "async")
        finally:
            remote.close()
