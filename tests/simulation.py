"""A world in which schedules of calls, people, faults and crashes are played: real engine, real store, made-up time."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.callables.binding import compile_binder
from ascend_guard.calling.bound_call import BoundCall
from ascend_guard.calling.declarations import options
from ascend_guard.calling.scope import current
from ascend_guard.drivers import run
from ascend_guard.engine.policy import Policy, parse_policy
from ascend_guard.errors import AscendError
from ascend_guard.flow import AwaitDecision, Effect, Flow, Settle, Submit, authorize, begin, settle
from ascend_guard.model import ActionResult, KillSwitchState, Outcome, OutcomeStatus
from ascend_guard.store.sqlite.store import SQLiteStore

_SHM = Path("/dev/shm")
ROOT = _SHM if _SHM.is_dir() else Path(tempfile.gettempdir())


class Crash(BaseException):
    """The process dies here."""


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


# --- schedules ---------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[], BaseException]] = {
    "refused": lambda: ConnectionRefusedError("refused"),
    "reset": lambda: ConnectionResetError("reset"),
    "timeout": lambda: TimeoutError("slow"),
    "broken": lambda: RuntimeError("broken"),
    "stop": lambda: StopIteration("generators must not mistake this for their end"),
    "key": lambda: KeyError("missing field"),
    "crash": Crash,
}


@dataclass(frozen=True)
class Step:
    """What happens around one effect."""

    before: tuple[str, ...] = ()
    fault: str | None = None
    lost: bool = False
    """The fault comes after the effect was performed: its answer is lost."""
    garbage: bool = False
    """The answer is nonsense."""


@dataclass(frozen=True)
class Made:
    """One call."""

    shape: str
    amount: Any
    target: str
    parked: bool
    steps: tuple[Step, ...]
    body: str
    """How the tool's body ends: ok, raises, crashes."""


@dataclass(frozen=True)
class Schedule:
    """A policy and the calls made under it, one after the other."""

    policy: str
    calls: tuple[Made, ...]
    between: tuple[tuple[str, ...], ...]


PEOPLE = (
    *["approve ann"] * 8,
    *["approve bob"] * 5,
    *["deny bob"] * 2,
    *["edit 10", "edit 800", "edit 100000"] * 3,
    *["kill all", "kill agent", "kill other"],
    *["release all"] * 3,
    *["release agent"] * 3,
    *["expire"] * 2,
    *["tick"] * 2,
    *["mutate"] * 2,
)

events = st.one_of(
    st.just(()),
    st.just(()),
    st.just(("approve ann",)),
    st.lists(st.sampled_from(PEOPLE), max_size=3).map(tuple),
)
quiet = st.builds(
    Step,
    fault=st.sampled_from([None] * 40 + list(FAULTS)),
    lost=st.booleans(),
    garbage=st.sampled_from([False] * 40 + [True]),
)
steps = st.builds(
    Step,
    before=events,
    fault=st.sampled_from([None] * 40 + list(FAULTS)),
    lost=st.booleans(),
    garbage=st.sampled_from([False] * 40 + [True]),
)
amounts = st.sampled_from(
    [1, 400, 500, 500.0, 500.01, 501, 900.5, 10_000, 10**30, True, None, "600", float("nan")]
)
calls = st.builds(
    Made,
    shape=st.sampled_from(
        ["positional", "keyword", "mixed", "default", "method", "class", "static", "partial", "callable"]
    ),
    amount=amounts,
    target=st.sampled_from(["a", "b"]),
    parked=st.booleans(),
    # Most calls reach the wait for a person undisturbed; what happens then is where the promises are at stake.
    steps=st.one_of(
        st.tuples(quiet, quiet, steps, steps, steps),
        st.tuples(quiet, quiet, steps, steps, steps),
        st.lists(steps, max_size=6).map(tuple),
    ),
    body=st.sampled_from([*["ok"] * 8, "raises", "crashes"]),
)


@st.composite
def policies(draw: st.DrawFn) -> str:
    """A few rules over the amount and the target."""
    rules = []
    for index in range(draw(st.integers(0, 4))):
        effect = draw(
            st.sampled_from(
                ["allow", "allow", "require_approval", "require_approval", "require_approval", "deny"]
            )
        )
        low = draw(st.sampled_from([0, 500, 500.0, 900]))
        comparison = draw(st.sampled_from(["<=", ">", ">=", "=="]))
        target = draw(st.sampled_from(["a", "b"]))
        when = draw(st.sampled_from([f"args.amount {comparison} {low}", f'args.target == "{target}"']))
        if index == 0 and effect == "require_approval":
            when = draw(st.sampled_from([when, None]))
        rule: dict[str, Any] = {"name": f"rule-{index}", "effect": effect, "tools": [f"*{'?' * index}"]}
        action = draw(st.sampled_from(["refund", "ref*", "*", None]))
        if action:
            rule["actions"] = [action]
        if when:
            rule["when"] = when
        if effect == "require_approval":
            rule["quorum"] = draw(st.sampled_from([1, 1, 2]))
            rule["timeout"] = draw(st.sampled_from(["30m", "2h"]))
        rules.append(rule)
    default = draw(st.sampled_from(["deny", "require_approval", "allow"]))
    return json.dumps({"version": 1, "default": default, "rules": rules})


schedules = st.builds(
    Schedule,
    policy=policies(),
    calls=st.lists(calls, min_size=1, max_size=4).map(tuple),
    between=st.lists(events, min_size=4, max_size=4).map(tuple),
)


def loadable(policy: str) -> Policy | None:
    """The policy, unless the loader refuses it (an unreachable rule)."""
    try:
        return parse_policy(policy)
    except AscendError:
        return None


# --- the world ---------------------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """One run of the tool's body."""

    action_id: int
    amount: Any
    target: str
    items: list[int]


@dataclass
class World:
    """One database, its present process, and everything that happened."""

    policy: Policy
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(dir=ROOT, prefix="ascend-")))
    clock: Clock = field(default_factory=Clock)
    ran: list[Ran] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    submitted: dict[int, tuple[Any, str]] = field(default_factory=dict)
    items: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A process starts on this database."""
        self.plane = EmbeddedControlPlane(
            SQLiteStore(self.folder / "a.db", durability="process", clock=self.clock),
            self.policy,
            agent_id="agent",
            clock=self.clock,
        )

    def crash(self) -> None:
        """It dies without a word, and another one starts."""
        store = self.plane.store
        assert isinstance(store, SQLiteStore)
        store._presence.abandon()
        # What is posted may or may not survive a crash; here it does, so that runs can be compared.
        store._writer.close(store._close_connections)
        store._turnstile.close()
        self.start()

    def close(self) -> None:
        """The end of the world."""
        self.plane.close()
        shutil.rmtree(self.folder)

    def people(self, events: tuple[str, ...]) -> None:
        """What people, and time, do now."""
        for event in events:
            word, _, what = event.partition(" ")
            try:
                getattr(self, f"_{word}")(what)
            except AscendError as error:
                self.said.append(f"{event}: {type(error).__name__}")

    def _newest(self) -> str | None:
        rows = self.plane.read(lambda reader: reader.actions("local", status="pending", limit=1))
        return str(rows[0].id) if rows else None

    def _approve(self, who: str) -> None:
        if (action_id := self._newest()) is not None:
            self.plane.approve(action_id, approver=who)

    def _edit(self, amount: str) -> None:
        if (action_id := self._newest()) is not None:
            self.plane.approve(action_id, approver="eve", arguments={"amount": int(amount)})

    def _deny(self, who: str) -> None:
        if (action_id := self._newest()) is not None:
            self.plane.deny(action_id, approver=who)

    def _kill(self, whom: str) -> None:
        self.plane.kill(reason="fire", by="ann", agent_id=_AGENTS[whom])

    def _release(self, whom: str) -> None:
        self.plane.release(reason="out", by="ann", agent_id=_AGENTS[whom])

    def _expire(self, _: str) -> None:
        self._pass(3 * 3600)
        self.plane.housekeep()

    def _tick(self, _: str) -> None:
        self._pass(60)

    def _pass(self, seconds: int) -> None:
        self.plane.read(lambda reader: None)  # what was posted before has the time of before
        self.clock.now += seconds

    def _mutate(self, _: str) -> None:
        self.items.append(1)

    def body(self, amount: Any, target: str, items: list[int]) -> None:
        """What every tool does."""
        running = current()
        assert running is not None, "the body ran outside a governed call"
        self.ran.append(Ran(running.action_id, amount, target, copy.copy(items)))


_AGENTS = {"all": None, "agent": "agent", "other": "someone-else"}


class Scheduled:
    """A control plane around the real one, on which a call's steps happen."""

    def __init__(self, world: World, steps: tuple[Step, ...]) -> None:
        self.world = world
        self.steps = list(steps)
        self.dead = False
        self.digest_key = world.plane.digest_key
        self.agent_id = world.plane.agent_id
        self.agent_name = world.plane.agent_name

    def perform(self, effect: Effect[Any]) -> Any:
        if self.dead and isinstance(effect, Settle) and effect.beside:
            return None  # from a finaliser, which a dead process does not run
        step = self._before(effect)
        return self._after(step, effect, self.world.plane.perform(self._bounded(effect)))

    async def aperform(self, effect: Effect[Any]) -> Any:
        step = self._before(effect)
        return self._after(step, effect, await self.world.plane.aperform(self._bounded(effect)))

    def _before(self, effect: Effect[Any]) -> Step:
        if self.dead:
            raise Crash
        step = self.steps.pop(0) if self.steps else Step()
        self.world.people(step.before)
        if step.fault and not step.lost:
            self._fail(step.fault)
        return step

    def _after(self, step: Step, effect: Effect[Any], reply: Any) -> Any:
        if isinstance(effect, Submit) and isinstance(reply, ActionResult):
            details = effect.action.action_details
            self.world.submitted.setdefault(
                int(reply.action_id), (details.get("amount"), details.get("target", ""))
            )
        if step.fault:
            self._fail(step.fault)
        if step.garbage:
            return _garbage(reply)
        return reply

    def _fail(self, fault: str) -> None:
        error = FAULTS[fault]()
        self.dead = isinstance(error, Crash)
        raise error

    @staticmethod
    def _bounded(effect: Effect[Any]) -> Effect[Any]:
        if isinstance(effect, AwaitDecision):
            return AwaitDecision(effect.action, effect.action_id, 0)
        return effect


def _garbage(reply: Any) -> Any:
    if isinstance(reply, KillSwitchState):
        return {"blocked": False}
    if isinstance(reply, ActionResult):
        return None
    return reply


# --- calls -------------------------------------------------------------------------------------------------------------


def tool(world: World, made: Made, plane: Scheduled, *, is_async: bool) -> Callable[[], Any]:
    """The governed tool in the wanted shape, ready to be called without arguments."""
    gate = governed(
        "refund", "refund", on_pending="raise" if made.parked else "wait", timeout=0, control_plane=plane
    )

    def act(amount: Any, target: str, items: list[int]) -> str:
        world.body(amount, target, items)
        if made.body == "raises":
            raise ValueError("the tool failed")
        if made.body == "crashes":
            plane.dead = True
            raise Crash
        return "done"

    def function(amount: Any, target: str, items: list[int]) -> str:
        return act(amount, target, items)

    async def coroutine(amount: Any, target: str, items: list[int]) -> str:
        await asyncio.sleep(0)
        return act(amount, target, items)

    raw = coroutine if is_async else function
    shapes = _async_shapes if is_async else _sync_shapes
    holder, callable_, with_default = shapes(gate, raw, made.target, world.items)

    amount, target, items = made.amount, made.target, world.items
    return {
        "positional": partial(gate(raw), amount, target, items),
        "keyword": partial(gate(raw), items=items, target=target, amount=amount),
        "mixed": partial(gate(raw), amount, items=items, target=target),
        "default": partial(gate(with_default), amount),
        "method": partial(holder().method, amount, target, items),
        "class": partial(holder.klass, amount, items=items, target=target),
        "static": partial(holder().static, amount, target, items=items),
        "partial": partial(gate(partial(raw, amount, items=items)), target=target),
        "callable": partial(gate(callable_()), amount, target, items),
    }[made.shape]


def _sync_shapes(gate: Any, raw: Any, to: str, of: list[int]) -> tuple[Any, Any, Any]:
    """A class with methods, a class of callables, and a function with defaults."""

    class Holder:
        @gate
        def method(self, amount: Any, target: str, items: list[int]) -> Any:
            return raw(amount, target, items)

        @gate
        @classmethod
        def klass(cls, amount: Any, target: str, items: list[int]) -> Any:
            return raw(amount, target, items)

        @gate
        @staticmethod
        def static(amount: Any, target: str, items: list[int]) -> Any:
            return raw(amount, target, items)

    class Callable_:
        def __call__(self, amount: Any, target: str, items: list[int]) -> Any:
            return raw(amount, target, items)

    def with_default(amount: Any, target: str = to, items: list[int] = of) -> Any:
        return raw(amount, target, items)

    return Holder, Callable_, with_default


def _async_shapes(gate: Any, raw: Any, to: str, of: list[int]) -> tuple[Any, Any, Any]:
    """The same as coroutine functions. Plain functions that return coroutines are checked twice, as no sync tool is."""

    class Holder:
        @gate
        async def method(self, amount: Any, target: str, items: list[int]) -> Any:
            return await raw(amount, target, items)

        @gate
        @classmethod
        async def klass(cls, amount: Any, target: str, items: list[int]) -> Any:
            return await raw(amount, target, items)

        @gate
        @staticmethod
        async def static(amount: Any, target: str, items: list[int]) -> Any:
            return await raw(amount, target, items)

    class Callable_:
        async def __call__(self, amount: Any, target: str, items: list[int]) -> Any:
            return await raw(amount, target, items)

    async def with_default(amount: Any, target: str = to, items: list[int] = of) -> Any:
        return await raw(amount, target, items)

    return Holder, Callable_, with_default


def play(schedule: Schedule, *, is_async: bool) -> tuple[World, list[str]]:
    """Play a schedule through one driver; the world as it is afterwards, and how each call ended."""
    policy = loadable(schedule.policy)
    assert policy is not None
    world = World(policy)
    ends: list[str] = []
    for made, between in zip(schedule.calls, schedule.between, strict=False):
        plane = Scheduled(world, made.steps)
        call = tool(world, made, plane, is_async=is_async)
        try:
            result = asyncio.run(_awaited(call)) if is_async else call()
            ends.append(str(result))
        except Crash:
            ends.append("crash")
            world.crash()
        except Exception as error:
            ends.append(type(error).__name__)
        world.people(between)
    world.plane.housekeep()
    return world, ends


# --- interleavings -------------------------------------------------------------------------------------------------------

moves = st.one_of(
    st.tuples(st.just("call"), st.sampled_from([400, 900, 900, 901]), st.booleans()),
    st.tuples(st.just("step"), st.integers(0, 3), st.integers(1, 3)),
    st.tuples(st.just("step"), st.integers(0, 3), st.integers(1, 3)),
    st.tuples(st.just("step"), st.integers(0, 3), st.integers(1, 3)),
    st.tuples(st.just("people"), st.sampled_from(PEOPLE), st.just(0)),
    st.tuples(
        st.just("people"),
        st.sampled_from(["approve ann", "edit 10", "kill agent", "release agent"]),
        st.just(0),
    ),
    st.tuples(st.sampled_from(["step", "crash"]), st.just(0), st.just(1)),
)
interleavings = st.tuples(policies(), st.lists(moves, min_size=5, max_size=60))


def interleave(policy: Policy, moves: list[tuple[str, Any, Any]]) -> World:
    """Play several calls at once, one effect at a time, in the given order."""
    world = World(policy)
    going: list[Generator[None, None, None]] = []
    for move, what, more in moves:
        if move == "call":
            going.append(_one_call(world, what, parked=more))
        elif move == "people":
            world.people((what,))
        elif move == "crash":
            going.clear()  # nothing is thrown in, nothing is closed in good order: the process is gone
            world.crash()
        elif going:
            call = going[what % len(going)]
            for _ in range(more):
                try:
                    next(call)
                except StopIteration:
                    going.remove(call)
                    break
    world.crash()
    return world


def _one_call(world: World, amount: Any, *, parked: bool) -> Generator[None, None, None]:
    plane = world.plane

    def raw(amount: Any, target: str, items: list[int]) -> None: ...

    declared = options("refund", "refund", {"on_pending": "raise" if parked else "wait"})
    binder = compile_binder(raw)
    args = (amount, "a", world.items)
    call = BoundCall(declared, plane, binder.bind(args, {}), binder, args, {})
    flow: Flow[Any] = authorize(call)
    permit = None
    try:
        effect = next(flow)
        for _ in range(20):
            yield
            try:
                if isinstance(effect, AwaitDecision):
                    reply = plane.perform(AwaitDecision(effect.action, effect.action_id, 0))
                    if reply.is_pending():
                        continue
                else:
                    reply = plane.perform(effect)
            except Exception as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        permit = stop.value
    except AscendError:
        return
    if permit is None:
        return
    try:
        begin(call, permit, plane.perform)
    except AscendError as error:
        run(settle(permit, Outcome(OutcomeStatus.FAILED, error=f"not started: {error}")), plane)
        return
    world.ran.append(Ran(int(permit.action_id), *call.args[:2], copy.copy(call.args[2])))
    yield
    run(settle(permit, Outcome(OutcomeStatus.COMPLETED)), plane)


async def _awaited(call: Callable[[], Any]) -> Any:
    return await call()
