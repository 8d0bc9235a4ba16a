"""A world in which schedules of calls, people, faults and crashes are played: real engine, real store, made-up time."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import copy
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from recorded import every_record, length, trail_of
from simulated_schedules import Made, Move, Schedule, Step, loadable
from wrong_answers import wrong_answers

from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.callables.binding import compile_binder
from ascend_guard.calling.bound_call import BoundCall
from ascend_guard.calling.declarations import options
from ascend_guard.calling.scope import current
from ascend_guard.drivers import run
from ascend_guard.engine.policy import Policy
from ascend_guard.errors import AscendError
from ascend_guard.flow import (
    AwaitDecision,
    Begin,
    CheckKillSwitch,
    Claim,
    Effect,
    Flow,
    Settle,
    Submit,
    Withdraw,
    authorize,
    begin,
    settle,
)
from ascend_guard.model import ActionResult, KillSwitchState, Outcome, OutcomeStatus
from ascend_guard.store.port import Reader, Transaction
from ascend_guard.store.sqlite.store import SQLiteStore

R = TypeVar("R")
Story = list[dict[str, Any]]

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


class MortalStore(SQLiteStore):
    """The store of a process that can die. A dead process writes nothing more, so no ``finally`` of it tidies up."""

    dead = False
    dies_reading = False

    def _live(self) -> None:
        if self.dead:
            # Only the schedule's own thread carries the crash on; a thread of the dead process merely ends.
            raise Crash if threading.current_thread() is threading.main_thread() else RuntimeError("dead")

    def read(self, work: Callable[[Reader], R], *, latest: bool = True) -> R:
        self.dead = self.dead or self.dies_reading
        self._live()
        return super().read(work, latest=latest)

    def write(self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None) -> R:
        self._live()
        return super().write(work, orphaned)

    def post(
        self,
        work: Callable[[Transaction], object],
        what: str,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._live()
        super().post(work, what, failed)


FAULTS: dict[str, Callable[[], BaseException]] = {
    "refused": lambda: ConnectionRefusedError("refused"),
    "reset": lambda: ConnectionResetError("reset"),
    "timeout": lambda: TimeoutError("slow"),
    "broken": lambda: RuntimeError("broken"),
    "stop": lambda: StopIteration("generators must not mistake this for their end"),
    "key": lambda: KeyError("missing field"),
    "crash": Crash,
}

# --- the world ---------------------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """One run of the tool's body."""

    action_id: int
    amount: Any
    target: str
    items: list[int]
    life: int
    """In which of the processes that followed one another."""
    finished: bool = False
    """The body ran to its end, good or bad."""


@cache
def _empty() -> Path:
    """A database in which nothing has happened, to be copied: migrating a new one takes as long as a call."""
    folder = Path(tempfile.mkdtemp(dir=ROOT, prefix="ascend-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    SQLiteStore(folder / "a.db", durability="process").close()
    return folder


@dataclass
class World:
    """One database, its present process, and everything that happened."""

    policy: Policy
    clock: Clock = field(default_factory=Clock)
    ran: list[Ran] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """How each call ended."""
    other: ActionResult | None = None
    """The answer to another call, for a faulty control plane to mistake for that to this one."""
    broken: list[str] = field(default_factory=list)
    """What must never happen, and cannot be read from the trail."""
    lives: list[int] = field(default_factory=list)
    """How long the trail was when each process started."""
    deaths: Counter[str] = field(default_factory=Counter)
    """How often a process died at each step, from what it left behind."""

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=ROOT, prefix="ascend-"))
        for file in _empty().iterdir():
            if file.is_file():
                shutil.copy(file, self.folder)
        self.start()

    def start(self) -> None:
        """A process starts on this database."""
        self.store = MortalStore(self.folder / "a.db", durability="process", clock=self.clock)
        self.plane = EmbeddedControlPlane(self.store, self.policy, agent_id="agent", clock=self.clock)
        self.lives.append(self.plane.read(lambda reader: length(reader)))

    def crash(self) -> None:
        """It dies without a word, and another one starts."""
        self.plane._waits._waiting.clear()  # its thread ends
        self.store._liveness.abandon()
        # What is posted may or may not survive a crash; here it does, so that runs can be compared.
        self.store._writer.close(self.store._close_connections)
        self.store._fair_lock.close()
        self.start()

    def close(self) -> None:
        """The end of the world."""
        self.plane.close()
        shutil.rmtree(self.folder)

    def story(self) -> Story:
        """The audit trail, decoded."""
        return [msgspec.json.decode(row.body) for row in self.plane.read(lambda reader: every_record(reader))]

    def trail(self, action_id: int) -> list[str]:
        """The events of one action."""
        return [record.event for record in self.plane.read(lambda reader: trail_of(reader, action_id))]

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
        self._edited({"amount": int(amount)})

    def _misedit(self, _: str) -> None:
        self._edited({"items": ["no number"]})

    def _edited(self, arguments: dict[str, Any]) -> None:
        if (action_id := self._newest()) is not None:
            self.plane.approve(action_id, approver="eve", arguments=arguments)

    def _deny(self, who: str) -> None:
        if (action_id := self._newest()) is not None:
            self.plane.deny(action_id, approver=who)

    def _kill(self, whom: str) -> None:
        self._flush()  # a kill switch does not wait for what was posted before it
        self.plane.kill(reason="fire", by="ann", agent_id=_AGENTS[whom])

    def _release(self, whom: str) -> None:
        self.plane.release(reason="out", by="ann", agent_id=_AGENTS[whom])

    def _expire(self, _: str) -> None:
        self._pass(3 * 3600)
        self.plane.housekeep()

    def _tick(self, _: str) -> None:
        self._pass(60)

    def _flush(self) -> None:
        self.plane.read(lambda reader: None)

    def _pass(self, seconds: int) -> None:
        self._flush()  # what was posted before has the time of before
        self.clock.now += seconds

    def _mutate(self, _: str) -> None:
        self.items.append(1)

    def _crash(self, _: str) -> None:
        self.crash()

    def _restart(self, _: str) -> None:
        self.plane.close()
        self.start()

    def body(self, amount: Any, target: str, items: list[int]) -> Ran:
        """What every tool does."""
        running = current()
        if running is None:
            self.broken.append("the body ran outside a governed call")
        ran = Ran(
            0 if running is None else running.action_id, amount, target, copy.copy(items), len(self.lives) - 1
        )
        self.ran.append(ran)
        return ran


_AGENTS = {"all": None, "agent": "agent", "other": "someone-else"}


def stage_of(effect: Effect[Any]) -> str:
    """The step of the flow that this effect is."""
    if type(effect) is CheckKillSwitch:
        return "check" if effect.stage == "submit" else "recheck"
    return _STAGES[type(effect)]


_STAGES: dict[type[Effect[Any]], str] = {
    Submit: "submit",
    AwaitDecision: "wait",
    Claim: "claim",
    Begin: "begin",
    Withdraw: "withdraw",
    Settle: "settle",
}


class Scheduled:
    """A control plane around the real one, on which a call's steps happen."""

    def __init__(self, world: World, steps: tuple[Step, ...]) -> None:
        self.world = world
        self.steps = list(steps)
        self.dead = False
        self.lied = ""
        """Which wrong answer replaced a right one; the body must not run after it."""
        self.lies = 0
        """How many wrong answers there are to the one that was replaced."""
        self.replies: dict[str, Any] = {}
        """What is replied at these steps, whatever the real control plane says."""
        self.action_id: int | None = None
        self.waited = self.begun = False
        self.ran_before = len(world.ran)

    def perform(self, effect: Effect[Any]) -> Any:
        step = self._before(effect)
        return self._after(step, effect, self.world.plane.perform(self._bounded(effect)))

    async def aperform(self, effect: Effect[Any]) -> Any:
        step = self._before(effect)
        return self._after(step, effect, await self.world.plane.aperform(self._bounded(effect)))

    def _before(self, effect: Effect[Any]) -> Step:
        if self.dead:
            raise Crash
        stage = stage_of(effect)
        step = next((step for step in self.steps if step.at == stage), None)
        if step is None:
            step = Step(stage)
        else:
            self.steps.remove(step)
        self.world.people(step.before)
        if step.fault and step.when == "before":
            self._fail(step.fault)
        if isinstance(effect, AwaitDecision):
            self.waited = True
            self.dead = self.world.store.dies_reading = step.when == "inside" and step.fault == "crash"
        return step

    def _after(self, step: Step, effect: Effect[Any], reply: Any) -> Any:
        if isinstance(effect, Submit) and isinstance(reply, ActionResult):
            self.action_id = int(reply.action_id)
        if isinstance(reply, KillSwitchState) and isinstance(effect, Begin):
            self.begun = reply.blocked is False
        if step.fault:
            self._fail(step.fault)
        if step.wrong is not None:
            lies = wrong_answers(reply, self.world.other)
            self.lies = len(lies)
            if lies:
                name, lie = lies[step.wrong % len(lies)]
                # Of another status alone nothing follows: a claim, or the next wait, brings the truth.
                if not name.startswith("status=<Decision."):
                    self.lied = f"{step.at}: {name}"
                return lie
        return self.replies.get(step.at, reply)

    def _fail(self, fault: str) -> None:
        error = FAULTS[fault]()
        self.die() if isinstance(error, Crash) else None
        raise error

    def die(self) -> None:
        """The process ends here."""
        self.dead = self.world.store.dead = True

    def place_of_death(self) -> str:
        """At which step the process died, from the trail and the tool's own list. The next process runs by now."""
        world = self.world
        if len(world.ran) > self.ran_before:
            ran = world.ran[-1]
            if not ran.finished:
                return "in the body"
            settled = {"completed", "failed"} & set(world.trail(ran.action_id))
            return "after settle" if settled else "after the body, before settle"
        if self.action_id is None:
            return "before submit"
        names = world.trail(self.action_id)
        if "started" in names:
            return "after begin, before the body" if self.begun else "after claim, before begin"
        if names[-1] == "approved":
            return "after approval, before claim"
        if names[-1] in ("submitted", "approval", "reopened"):
            return "while waiting" if self.waited else "after submit"
        return f"after {names[-1]}"

    @staticmethod
    def _bounded(effect: Effect[Any]) -> Effect[Any]:
        if isinstance(effect, AwaitDecision):
            return AwaitDecision(effect.action, effect.action_id, 0)
        return effect


# --- calls -------------------------------------------------------------------------------------------------------------


class Stage:
    """The control plane of every tool: that of the call being made. So tools are governed once, not for each call."""

    call: Scheduled
    made: Made
    digest_key: bytes
    agent_id = agent_name = "agent"

    def perform(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, Settle) and effect.beside:
            return None  # of these tools, only a finaliser asks for that, and a dead process runs none
        return self.call.perform(effect)

    async def aperform(self, effect: Effect[Any]) -> Any:
        return await self.call.aperform(effect)


_stage = Stage()


def act(amount: Any, target: str, items: list[int]) -> str:
    """The body of every tool."""
    call, made = _stage.call, _stage.made
    if call.lied:
        call.world.broken.append(f"the body ran on a wrong answer: {call.lied}")
    ran = call.world.body(amount, target, items)
    if made.body == "crashes":
        call.die()
        raise Crash
    ran.finished = True
    if made.body == "raises":
        raise ValueError("the tool failed")
    return "done"


async def aact(amount: Any, target: str, items: list[int]) -> str:
    """The same as a coroutine function."""
    await asyncio.sleep(0)
    return act(amount, target, items)


def call_of(made: Made, call: Scheduled, *, is_async: bool) -> Callable[[], Any]:
    """The call of a governed tool, ready to be made."""
    _stage.call, _stage.made, _stage.digest_key = call, made, call.world.plane.digest_key
    amount, target, items = made.amount, made.target, call.world.items
    gate, raw = _gate(made.detached), aact if is_async else act
    if made.shape == "default":
        return partial(gate(_with_default(raw, target, items)), amount)
    if made.shape == "partial":
        return partial(gate(partial(raw, amount, items=items)), target=target)
    tool = _tool(made.shape, made.detached, is_async)
    if made.shape in ("keyword", "class"):
        return partial(tool, items=items, target=target, amount=amount)
    if made.shape == "mixed":
        return partial(tool, amount, items=items, target=target)
    return partial(tool, amount, target, items)


def _gate(detached: bool) -> Any:
    return governed(
        "refund", "refund", on_pending="raise" if detached else "wait", timeout=0, control_plane=_stage
    )


@cache
def _tool(shape: str, detached: bool, is_async: bool) -> Any:
    """The governed tool of this shape."""
    gate, raw = _gate(detached), aact if is_async else act
    if shape == "method":
        return _holder(gate(_method(is_async)))().act
    if shape == "class":
        return _holder(gate(classmethod(_method(is_async)))).act
    if shape == "static":
        return _holder(gate(staticmethod(raw)))().act
    return gate(_callable(is_async) if shape == "callable" else raw)


def _holder(method: Any) -> Any:
    """A class with this method."""
    return type("Holder", (), {"act": method})


def _method(is_async: bool) -> Any:
    def method(self: object, amount: Any, target: str, items: list[int]) -> Any:
        return act(amount, target, items)

    async def amethod(self: object, amount: Any, target: str, items: list[int]) -> Any:
        return await aact(amount, target, items)

    return amethod if is_async else method


def _callable(is_async: bool) -> Any:
    class Callable_:
        def __call__(self, amount: Any, target: str, items: list[int]) -> Any:
            return act(amount, target, items)

    class AsyncCallable:
        async def __call__(self, amount: Any, target: str, items: list[int]) -> Any:
            return await aact(amount, target, items)

    return AsyncCallable() if is_async else Callable_()


def _with_default(raw: Any, to: str, of: list[int]) -> Any:
    def with_default(amount: Any, target: str = to, items: list[int] = of) -> Any:
        return raw(amount, target, items)

    async def with_async_default(amount: Any, target: str = to, items: list[int] = of) -> Any:
        return await raw(amount, target, items)

    return with_async_default if raw is aact else with_default


def play(schedule: Schedule, runner: asyncio.Runner | None) -> World:
    """Play a schedule, blocking or on an event loop; the world as it is afterwards."""
    world = World(_loaded(schedule.policy))
    for made, between in schedule.calls:
        plane = Scheduled(world, made.steps)
        try:
            world.ends.append(_called(call_of(made, plane, is_async=runner is not None), runner))
        except Crash:
            world.ends.append("crash")
            world.crash()
            world.deaths[plane.place_of_death()] += 1
        except Exception as error:
            world.ends.append(type(error).__name__)
            acted = len(world.ran) > plane.ran_before and world.ran[-1].finished
            if acted and (made.body, world.ends[-1]) != ("raises", "ValueError"):
                world.broken.append(f"a call that acted ended with {error!r}")
        world.people(between)
    world.plane.housekeep()
    return world


def _loaded(text: str) -> Policy:
    policy = loadable(text)
    assert policy is not None
    return policy


def _called(call: Callable[[], Any], runner: asyncio.Runner | None) -> str:
    if runner is None:
        return str(call())
    # A context of its own: what a crash leaves in it must not reach the next call.
    return str(runner.run(_awaited(call), context=contextvars.copy_context()))


# --- interleavings -------------------------------------------------------------------------------------------------------


def interleave(policy: str, moves: list[Move]) -> World:
    """Play several calls at once, one effect at a time, in the given order."""
    world = World(_loaded(policy))
    going: list[Generator[None, None, None]] = []
    for move, what, more in moves:
        if move == "call":
            going.append(_one_call(world, what, detached=more))
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


def _one_call(world: World, amount: Any, *, detached: bool) -> Generator[None, None, None]:
    plane = world.plane

    def raw(amount: Any, target: str, items: list[int]) -> None: ...

    declared = options("refund", "refund", {"on_pending": "raise" if detached else "wait"})
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
    ran = Ran(int(permit.action_id), call.args[0], "a", copy.copy(call.args[2]), len(world.lives) - 1)
    world.ran.append(ran)
    yield
    ran.finished = True
    run(settle(permit, Outcome(OutcomeStatus.COMPLETED)), plane)


async def _awaited(call: Callable[[], Any]) -> Any:
    return await call()
