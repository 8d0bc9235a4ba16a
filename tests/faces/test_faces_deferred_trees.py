"""Random trees of deferred work, with the kill switch, changed arguments, closing and giving up at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from deferred_kinds import Awaitable, Block, Steps
from hypothesis import given, settings
from hypothesis import strategies as st
from support import PROFILE
from world import rows, settled

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, KillSwitchError, governed
from ascend_guard.calling.scope import current

CHAINED = ("generator", "coroutine", "awaitable")
"""Kinds whose end can be more work."""
LEAVES = ("iterator", "map", "manager", "contextmanager", "data", "partial", "tuple", "error")

trees = st.tuples(
    st.sampled_from(["sync", "async"]),
    st.lists(st.sampled_from(CHAINED), max_size=3),
    st.sampled_from(LEAVES),
)
calls = st.tuples(st.just("call"), trees)
numbers = st.integers(0, 3)
steps = st.tuples(st.sampled_from(["step", "step", "begin", "change", "drop", "close", "close"]), numbers)
ends = st.sampled_from(["step", "step", "close", "drop"])
traps = st.tuples(
    st.sampled_from(["begin", "change", "begin"]), numbers, st.sampled_from(["kill", "release"]), ends
).map(lambda of: [(of[0], of[1]), (of[2], None), (of[3], of[1]), ("release", None)])
refused = calls.map(lambda one: [("kill", None), one, ("release", None)])
several = st.tuples(st.sampled_from(["sync", "async"]), st.just([]), st.sampled_from(["iterator", "map"]))
# In these, -1 is the call that was just made.
midway = several.map(
    lambda tree: [("call", tree), ("begin", -1), ("kill", None), ("step", -1), ("release", None)]
)
changed = several.map(lambda tree: [("call", tree), ("change", -1), ("step", -1)])
dropped = several.map(lambda tree: [("call", tree), ("begin", -1), ("drop", -1)])
closed = st.just([("call", ("sync", ["generator"], "data")), ("close", -1)])
handed = st.tuples(
    st.sampled_from(["sync", "async"]), st.just([]), st.sampled_from(["partial", "tuple"])
).map(lambda tree: [("call", tree)])
moves = st.lists(
    st.one_of(
        refused,
        midway,
        changed,
        dropped,
        closed,
        handed,
        calls.map(lambda one: [one]),
        calls.map(lambda one: [one]),
        steps.map(lambda one: [one]),
        traps,
    ),
    min_size=5,
    max_size=14,
).map(lambda parts: [move for part in parts for move in part])


@dataclass
class Tree:
    """One call and the work it handed back."""

    action: int
    levels: list[str]
    orders: list[str]
    work: Any
    level: int = 0
    changed: bool = False
    open: bool = False
    """Its first step was made, and there are more."""


@dataclass
class World:
    """What happened, beside what must have happened."""

    plane: EmbeddedControlPlane
    killed: bool = False
    live: list[Tree] = field(default_factory=list)
    ran: list[tuple[int, int]] = field(default_factory=list)
    due: list[tuple[int, int]] = field(default_factory=list)
    outcomes: dict[int, tuple[str, bool]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def body(self, level: int) -> str:
        running = current()
        assert running is not None, "a body ran outside its action"
        assert not self.killed, "a body ran after the kill switch"
        self.ran.append((running.action_id, level))
        return "done"

    def make(self, levels: list[str], level: int) -> Any:
        """The work of this level, which hands back the next one's."""
        what, rest = levels[level], functools.partial(self.make, levels, level + 1)
        body = functools.partial(self.body, level)
        if what == "generator":

            def generator() -> Any:
                body()
                yield 1
                return rest()

            return generator()
        if what == "coroutine":

            async def coroutine() -> Any:
                await asyncio.sleep(0)
                body()
                return rest()

            return coroutine()
        if what == "awaitable":
            return Awaitable(lambda: (body(), rest())[1])
        if what == "error":
            raise KeyError("the work failed")
        leaves: dict[str, Any] = {
            "iterator": lambda: Steps(body),
            "map": lambda: map(lambda _: body(), [0]),  # noqa: C417 - a map is what this is about
            "manager": lambda: Block(body),
            "contextmanager": lambda: self._managed(body)(),
            "data": lambda: {"rows": [1, 2]},
            "partial": lambda: functools.partial(int, 1),
            "tuple": lambda: (1, iter([1])),
        }
        return leaves[what]()

    @staticmethod
    def _managed(body: Any) -> Any:
        @contextlib.contextmanager
        def managed() -> Iterator[None]:
            body()
            yield

        return managed

    # --- moves -------------------------------------------------------------------------------------------------------

    def call(self, tree: tuple[str, list[str], str]) -> None:
        style, chain, leaf = tree
        levels = [*chain, leaf]
        orders = ["o-1"]

        @governed("order_read")
        def tool(orders: list[str]) -> Any:
            return self.make(levels, 0)

        @governed("order_read")
        async def coroutine(orders: list[str]) -> Any:
            return self.make(levels, 0)

        before = len(rows(self.plane))
        try:
            work = asyncio.run(coroutine(orders)) if style == "async" else tool(orders)
        except KillSwitchError:
            assert self.killed
            self.seen["refused"] += 1
            return
        except KeyError:
            self.outcomes[before + 1] = ("failed", True)
            return
        assert not self.killed
        self.handed(Tree(before + 1, levels, orders, work))

    def handed(self, tree: Tree) -> None:
        """What a level gave: the next one's work, or the end."""
        what = tree.levels[tree.level]
        if what in ("data", "partial", "tuple"):
            self.outcomes[tree.action] = ("completed" if what == "data" else "handed_over", True)
            self.seen[what] += 1
        else:
            self.live.append(tree)

    def act(self, move: str, number: Any) -> None:
        if move == "call":
            return self.call(number)
        if move in ("kill", "release"):
            if move == "kill" and not self.killed:
                self.plane.kill(reason="fire", by="ann")
                self.killed = True
            elif move == "release" and self.killed:
                self.plane.release(reason="out", by="ann")
                self.killed = False
            return None
        if self.live:
            getattr(self, move)(self.live[number % len(self.live)])
        return None

    def change(self, tree: Tree) -> None:
        tree.orders.append("changed")
        tree.changed = True

    def drop(self, tree: Tree) -> None:
        self.live.remove(tree)
        self.outcomes[tree.action] = ("completed" if tree.open else "failed", tree.open)
        self.seen["dropped" if tree.open else "never begun"] += 1
        tree.work = None

    def close(self, tree: Tree) -> None:
        if tree.levels[tree.level] in ("generator", "coroutine"):
            tree.work.close()
            self.seen["closed"] += 1
        self.drop(tree)

    def begin(self, tree: Tree) -> None:
        """The first chunk of what has several."""
        if tree.levels[tree.level] in ("generator", "iterator", "map") and not tree.open:
            self.advance(tree, lambda: next(tree.work))
            if tree in self.live:
                tree.open = True

    def step(self, tree: Tree) -> None:
        """All the work of this level."""
        what = tree.levels[tree.level]
        given: list[Any] = []

        def all_of_it() -> None:
            if what == "generator":
                given.append(_value(tree.work))
            elif what in ("coroutine", "awaitable"):
                given.append(asyncio.run(_await(tree.work)))
            elif what in ("iterator", "map"):
                list(tree.work)
            else:
                with tree.work:
                    pass

        self.advance(tree, all_of_it)
        if tree not in self.live:
            return
        self.live.remove(tree)
        if given:
            self.handed(Tree(tree.action, tree.levels, tree.orders, given[0], tree.level + 1))
        else:
            self.outcomes[tree.action] = ("completed", True)

    def advance(self, tree: Tree, work: Any) -> None:
        """Do something of it, which must succeed, or be stopped for the reason there is."""
        blocked = KillSwitchError if self.killed else AuthorizationDeniedError
        if self.killed or (tree.changed and not tree.open):
            with pytest.raises(blocked):
                work()
            self.seen["killed" if self.killed else "changed"] += 1
            self.seen["stopped midway"] += tree.open
            self.outcomes[tree.action] = ("failed", tree.open)
            self.live.remove(tree)
            return
        if not tree.open:
            self.due.append((tree.action, tree.level))
        last = tree.levels[tree.level + 1 :] == ["error"]
        try:
            work()
        except KeyError:
            assert last
            self.outcomes[tree.action] = ("failed", True)
            self.live.remove(tree)


def _value(generator: Any) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value


async def _await(work: Any) -> Any:
    return await work


WANTED = {
    "refused",
    "killed",
    "changed",
    "never begun",
    "dropped",
    "closed",
    "stopped midway",
    "partial",
    "tuple",
}


@pytest.mark.timeout({"quick": 120, "ci": 600, "full": 3000}[PROFILE])
def test_every_body_has_its_own_checked_step(plane: EmbeddedControlPlane) -> None:
    """Each level runs once, inside its action, checked; and every outcome says what happened."""
    reached: Counter[str] = Counter()

    @settings(max_examples={"quick": 100, "ci": 200, "full": 3000}[PROFILE])
    @given(moves=moves)
    def holds(moves: list[tuple[str, Any]]) -> None:
        world = World(plane)
        try:
            for move, what in moves:
                world.act(move, what)
            while world.live:
                world.drop(world.live[0])
            gc.collect()
        finally:
            if world.killed:
                plane.release(reason="out", by="ann")
        settled(plane)
        assert sorted(world.ran) == sorted(world.due)
        assert len(set(world.ran)) == len(world.ran)
        found = {row.id: row for row in rows(plane) if row.claimed_at}
        assert not [row for row in found.values() if row.outcome is None]
        for action, (outcome, began) in world.outcomes.items():
            row = found[action]
            assert (row.outcome, (row.error or "").startswith("not started")) == (outcome, not began)
        reached.update({name for name, count in world.seen.items() if count})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that are never awaited are part of it
        gc.freeze()  # each example collects what it dropped, and not what the other tests have left
        try:
            holds()
        finally:
            gc.unfreeze()
    assert set(reached) >= WANTED
