"""Calls that wait for a person, and the one thread per process that wakes them.

Other processes decide through the same database. So the thread checks every ten milliseconds whether anything was committed
(``PRAGMA data_version``, about a microsecond); decisions of this process wake it at once. It runs only while a call
waits. If it cannot read the database, every waiting call gets that error: an unknown state blocks.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial

from ascend_guard.interrupts import interruptibly
from ascend_guard.model import ActionResult, AgentAction, Decision, KillSwitchState
from ascend_guard.processes import renewed_in_children
from ascend_guard.store.port import Reader, Store

from .kill import stopped
from .results import result_of

INTERVAL = 0.01
"""Seconds between two checks; an approval by another process waits half of it on average."""

Answer = ActionResult | KillSwitchState | Exception


class Waits:
    """The waiting calls of this process.

    Args:
        store: the store in which decisions appear.
        organization: the organization of the calls.
        expire_overdue: called when a deadline has passed.
    """

    def __init__(
        self,
        store: Store,
        organization: str,
        expire_overdue: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._organization = organization
        self._expire_overdue = expire_overdue
        self._clock = clock
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Start with no waiting calls. In a forked child the thread, and the holder of the lock, stayed in the parent."""
        self._lock = threading.Lock()
        self._waiting: dict[object, tuple[int, str, Callable[[Answer], None]]] = {}
        self._poke = threading.Event()
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Check now: this process has decided something."""
        ...
        if self._waiting:
            self._poke.set()

    def wait(self, action: AgentAction, action_id: str, timeout: float | None) -> Answer:
        """Block until this action is decided, the agent is stopped, or ``timeout`` seconds have passed."""
        ...
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        token = self._register(int(action_id), action.agent_id, answers.put)
        try:
            return interruptibly(answers.get, True, timeout)
        except queue.Empty:
            return self._now(int(action_id), action.agent_id)
        finally:
            self._unregister(token)

    async def await_(self, action: AgentAction, action_id: str, timeout: float | None) -> Answer:
        """The same for coroutines."""
        ...
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def deliver(answer: Answer) -> None:
            def resolve() -> None:
                if not future.done():
                    future.set_result(answer)

            try:
                loop.call_soon_threadsafe(resolve)
            except RuntimeError:  # the loop was closed; no call waits any more
                pass

        token = self._register(int(action_id), action.agent_id, deliver)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return self._now(int(action_id), action.agent_id)
        finally:
            self._unregister(token)

    def _register(self, action_id: int, agent_id: str, deliver: Callable[[Answer], None]) -> object:
        token = object()
        with self._lock:
            self._waiting[token] = (action_id, agent_id, deliver)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="ascend-guard-waits", daemon=True)
                self._thread.start()
        # It may have been decided before the thread began to watch it.
        answer = self._now(action_id, agent_id)
        if _final(answer):
            deliver(answer)
        return token

    def _unregister(self, token: object) -> None:
        with self._lock:
            self._waiting.pop(token, None)

    def _watch(self) -> None:
        seen = -1
        turns: object = None
        deadline: float | None = None
        while True:
            self._poke.wait(INTERVAL)
            self._poke.clear()
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                waiting = list(self._waiting.values())
            try:
                # First, and without the database: a kill switch ends waits while the database is locked.
                now = self._store.turns()
                if now is not turns:
                    turns = now
                    for _, agent_id, deliver in waiting:
                        state = self._store.stopped(self._organization, agent_id)
                        if state is not None:
                            deliver(state)
                if deadline is not None and deadline <= self._clock():
                    self._expire_overdue()
                if not self._store.changed():
                    continue
                first = seen < 0
                look = partial(_news, organization=self._organization, seen=seen)
                seen, touched, turned, deadline = self._store.read(look, latest=False)
                for action_id, agent_id, deliver in waiting:
                    if first or turned or action_id in touched:
                        answer = self._now(action_id, agent_id)
                        if _final(answer):
                            deliver(answer)
            except Exception as error:
                for _, _, deliver in waiting:
                    deliver(error)

    def _now(self, action_id: int, agent_id: str) -> Answer:
        def look(reader: Reader) -> Answer:
            state = stopped(reader, self._organization, agent_id)
            if state is not None:
                return state
            row = reader.action(self._organization, action_id)
            if row is None:
                return LookupError(f"action {action_id} does not exist any more")
            return result_of(row)

        try:
            return self._store.read(look, latest=False)
        except Exception as error:
            return error


def _final(answer: Answer) -> bool:
    return not (isinstance(answer, ActionResult) and answer.status is Decision.PENDING)


def _news(reader: Reader, organization: str, seen: int) -> tuple[int, set[int], bool, float | None]:
    """(newest record, actions decided since ``seen``, whether a kill switch turned, next deadline)."""
    if seen < 0:
        return reader.head(organization).seq, set(), True, reader.next_deadline()
    events = reader.events_since(organization, seen)
    touched = {one.action_id for one in events if one.action_id is not None and one.event in DECIDING}
    turned = any(one.event == "kill_switch.on" for one in events)
    return (events[-1].seq if events else seen), touched, turned, reader.next_deadline()


DECIDING = frozenset({"approved", "denied", "expired"})
"""Audit events after which an action is decided."""
