"""Governed calls inside governed calls: linked to their parent, to no sibling, and never too deep."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from face_kinds import KINDS, Body, Kind, drained
from hypothesis import given
from hypothesis import strategies as st
from world import asked, events, rows, settled

from ascend_guard import (
    AuthenticationError,
    AuthorizationDeniedError,
    ConfigurationError,
    EmbeddedControlPlane,
    ValidationError,
    governed,
    guard,
    scope,
)
from ascend_guard.calling.scope import current

Tree = list[Any]
"""A call is the list of the calls made inside it."""

trees = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=8).filter(
    lambda tree: _height(tree) <= 5
)


def _height(tree: Tree) -> int:
    return 1 + max(map(_height, tree)) if tree else 0


def recorded(plane: EmbeddedControlPlane, after: int = 0) -> list[tuple[str, int, str | None]]:
    """(label, depth, label of the parent) of every action, by label."""
    found = [(row, asked(plane, row.id)) for row in rows(plane) if row.id > after]
    labels = {row.id: action.action_details["label"] for row, action in found}
    return sorted(
        (
            labels[row.id],
            row.depth,
            None if action.parent_action_id is None else labels[action.parent_action_id],
        )
        for row, action in found
    )


def planned(tree: Tree, label: str = "0", parent: str | None = None, depth: int = 0) -> list[Any]:
    """What should be recorded of this tree."""
    found: list[Any] = [(label, depth, parent)]
    for index, inner in enumerate(tree):
        found += planned(inner, f"{label}.{index}", label, depth + 1)
    return sorted(found)


def sync_call(tree: Tree, label: str = "0") -> None:
    """Make the calls of a tree one after the other."""

    @governed("tree_read", "tree")
    def node(label: str) -> None:
        for index, inner in enumerate(tree):
            sync_call(inner, f"{label}.{index}")

    node(label)


async def gathered(tree: Tree, label: str = "0") -> None:
    """Make the calls on each level at once, as tasks."""

    @governed("tree_read", "tree")
    async def node(label: str) -> None:
        await asyncio.gather(*(gathered(inner, f"{label}.{index}") for index, inner in enumerate(tree)))

    await node(label)


def streamed(tree: Tree, label: str = "0") -> None:
    """Make the calls of a tree with generators, consumed side by side."""

    @governed("tree_read", "tree")
    def node(tree_: Tree, label: str) -> Generator[None, None, None]:
        streams = [node(inner, f"{label}.{index}") for index, inner in enumerate(tree_)]
        while streams:
            yield
            for stream in list(streams):
                try:
                    next(stream)
                except StopIteration:
                    streams.remove(stream)

    drained(node(tree, label))


def threaded(tree: Tree, label: str = "0") -> None:
    """Make the calls on each level at once, in threads that carry the context."""

    @governed("tree_read", "tree")
    def node(label: str) -> None:
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run, args=(threaded, inner, f"{label}.{index}")
            )
            for index, inner in enumerate(tree)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    node(label)


RUNNERS: dict[str, Callable[[Tree], object]] = {
    "one after the other": sync_call,
    "gathered": lambda tree: asyncio.run(gathered(tree)),
    "streams side by side": streamed,
    "threads": threaded,
}


@given(tree=trees, how=st.sampled_from(sorted(RUNNERS)))
def test_every_call_links_to_the_call_it_was_made_in(
    plane: EmbeddedControlPlane, tree: Tree, how: str
) -> None:
    """Any tree of calls, in sequence, as tasks, as interleaved streams or in threads, is recorded as that tree."""
    before = len(rows(plane))
    RUNNERS[how](tree)
    assert recorded(plane, before) == planned(tree)
    sessions = {row.orchestration_session_id for row in rows(plane) if row.id > before}
    assert len(sessions) == 1
    assert {row.outcome for row in rows(plane)} == {"completed"}
    assert current() is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "through" not in kind.name], ids=str)
def test_every_kind_links_and_is_linked_to(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """Whatever the kind of tool: its body's calls are its children, and calls after it are not."""
    inner = governed("inner_read")(lambda: None)

    class Calling(Body):
        def act(self, *arguments: Any) -> Any:
            inner()
            return super().act(*arguments)

        def chunks(self, *arguments: Any) -> Generator[Any, Any, Any]:
            inner()
            return (yield from super().chunks(*arguments))

        async def achunks(self, *arguments: Any) -> AsyncGenerator[Any, Any]:
            inner()
            async for chunk in super().achunks(*arguments):
                yield chunk

    kind.run(kind.make(governed("order_read"), Calling()), "o-1")
    inner()
    outer, child, after = rows(plane)
    assert [asked(plane, row.id).parent_action_id for row in (outer, child, after)] == [None, outer.id, None]
    assert child.orchestration_session_id == outer.orchestration_session_id
    assert after.orchestration_session_id != outer.orchestration_session_id
    assert (outer.depth, child.depth, after.depth) == (0, 1, 0)


def test_roots_have_sessions_of_their_own(plane: EmbeddedControlPlane) -> None:
    """Two calls that have nothing to do with each other share nothing."""
    tool = governed("order_read")(lambda: None)
    tool()
    tool()
    first, second = rows(plane)
    assert first.orchestration_session_id != second.orchestration_session_id


# --- how deep ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["sync", "async", "stream", "guard"])
def test_the_sixth_level_below_the_root_is_refused(plane: EmbeddedControlPlane, style: str) -> None:
    """Depth 0 to 5 run; one deeper does not, is told why, and reaches neither the policy nor the tool."""
    reached: list[int] = []

    @governed("order_read")
    def sync(depth: int) -> None:
        reached.append(depth)
        sync(depth + 1)

    @governed("order_read")
    async def coroutine(depth: int) -> None:
        reached.append(depth)
        await asyncio.create_task(coroutine(depth + 1))

    @governed("order_read")
    def stream(depth: int) -> Generator[int, None, None]:
        reached.append(depth)
        yield from stream(depth + 1)

    def guarded(depth: int) -> None:
        with guard("order_read", parameters={"depth": depth}):
            reached.append(depth)
            guarded(depth + 1)

    begin: dict[str, Callable[[], object]] = {
        "sync": lambda: sync(0),
        "async": lambda: asyncio.run(coroutine(0)),
        "stream": lambda: drained(stream(0)),
        "guard": lambda: guarded(0),
    }
    with pytest.raises(ValidationError, match="at most 5 are allowed"):
        begin[style]()
    settled(plane)
    assert reached == [0, 1, 2, 3, 4, 5]
    assert [row.depth for row in rows(plane)] == [0, 1, 2, 3, 4, 5]
    assert {row.outcome for row in rows(plane)} == {"failed"}


# --- threads and executors ---------------------------------------------------------------------------------------------


def test_to_thread_carries_the_parent(plane: EmbeddedControlPlane) -> None:
    """``asyncio.to_thread`` copies the context, so a sync tool called through it is a child."""
    inner = governed("inner_read")(lambda: threading.get_ident())

    @governed("order_read")
    async def outer() -> int:
        return await asyncio.to_thread(inner)

    assert asyncio.run(outer()) != threading.get_ident()
    first, second = rows(plane)
    assert asked(plane, second.id).parent_action_id == first.id


def test_a_bare_thread_starts_anew(plane: EmbeddedControlPlane) -> None:
    """A thread without a copied context has no parent, and a session of its own; it is governed all the same."""
    inner = governed("inner_delete")(lambda: ran.append(1))
    ran: list[int] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            inner()
        except AuthorizationDeniedError as error:
            errors.append(error)

    @governed("order_read")
    def outer() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    outer()
    first, second = rows(plane)
    assert asked(plane, second.id).parent_action_id is None
    assert second.orchestration_session_id != first.orchestration_session_id
    assert len(errors) == 1
    assert ran == []


def test_many_threads_and_tasks_at_once(plane: EmbeddedControlPlane) -> None:
    """Calls of many threads, each with its own loop, do not get into each other's families."""

    @governed("inner_read")
    async def inner(label: str) -> None:
        await asyncio.sleep(0)

    @governed("outer_read")
    async def outer(label: str) -> None:
        await asyncio.gather(*(inner(label) for _ in range(3)))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: asyncio.run(outer(str(number))), range(12)))
    families: dict[str | None, set[str]] = {}
    for row in rows(plane):
        families.setdefault(row.orchestration_session_id, set()).add(
            asked(plane, row.id).action_details["label"]
        )
    assert len(families) == 12
    assert all(len(labels) == 1 for labels in families.values())
    assert len(rows(plane)) == 48
    settled(plane)


def test_copy_context_run_stays_inside(plane: EmbeddedControlPlane) -> None:
    """A governed call made in a copy of the context leaves nothing behind in the original."""
    tool = governed("order_read")(lambda: current())
    running = contextvars.copy_context().run(tool)
    assert running is not None
    assert current() is None
    assert contextvars.Context().run(tool) is not None


# --- a tool is no person -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["function", "guard", "stream", "task"])
def test_a_tool_cannot_approve(plane: EmbeddedControlPlane, how: str) -> None:
    """Inside a governed call nobody can approve, deny or release, however the call was made."""
    pending = governed("refund", on_pending="raise")(lambda amount: None)
    with pytest.raises(AuthorizationDeniedError):
        pending(900.0)
    (row,) = rows(plane)

    def try_everything() -> None:
        for attempt in (
            lambda: plane.approve(str(row.id), approver="me"),
            lambda: plane.deny(str(row.id), approver="me"),
            lambda: plane.release(reason="r", by="me"),
        ):
            with pytest.raises(AuthenticationError):
                attempt()

    if how == "function":
        governed("order_read")(try_everything)()
    elif how == "guard":
        with guard("order_read"):
            try_everything()
    elif how == "stream":

        @governed("order_read")
        def stream() -> Generator[None, None, None]:
            yield try_everything()

        drained(stream())
    else:

        @governed("order_read")
        async def coroutine() -> None:
            async def later() -> None:
                try_everything()

            await asyncio.create_task(later())

        asyncio.run(coroutine())
    assert rows(plane)[0].status == "pending"
    plane.approve(str(row.id), approver="ann")


# --- declared links ----------------------------------------------------------------------------------------------------


def test_a_root_can_be_linked_to_an_action_of_another_process(plane: EmbeddedControlPlane) -> None:
    """``orchestration_session_id`` and ``parent_action_id`` continue a tree that began elsewhere."""
    governed("order_read", orchestration_session_id="session")(lambda: None)()
    parent = rows(plane)[0].id
    governed("order_read", orchestration_session_id="session", parent_action_id=str(parent))(lambda: None)()
    child = rows(plane)[1]
    assert (child.depth, asked(plane, child.id).parent_action_id) == (1, parent)


@pytest.mark.parametrize(("session", "parent"), [("other", 1), ("session", 4711), (None, 1)])
def test_grafting_is_denied(plane: EmbeddedControlPlane, session: str | None, parent: int) -> None:
    """A parent of another session, or none at all, is refused and recorded."""
    governed("order_read", orchestration_session_id="session")(lambda: None)()
    ran: list[int] = []
    graft = governed("order_read", orchestration_session_id=session, parent_action_id=parent)(
        lambda: ran.append(1)
    )
    with pytest.raises(AuthorizationDeniedError, match="parent action"):
        graft()
    assert ran == []
    assert any(event.startswith("ORCHESTRATION_") for event in events(plane))


# --- guard -------------------------------------------------------------------------------------------------------------


def test_guard_links_too(plane: EmbeddedControlPlane) -> None:
    """A block is a call: what is done inside is its child, what comes after is not."""
    tool = governed("inner_read")(lambda: None)
    with guard("order_read", "orders", parameters={"order": "o-1"}) as permit:
        tool()
        assert current() is not None
    tool()
    outer, child, after = rows(plane)
    assert permit.action_id == str(outer.id)
    assert [asked(plane, row.id).parent_action_id for row in (outer, child, after)] == [None, outer.id, None]
    assert asked(plane, outer.id).action_details == {"order": "o-1"}


def test_guard_on_the_event_loop(plane: EmbeddedControlPlane) -> None:
    """Blocks of tasks that run at the same time keep to themselves."""

    async def block(number: int) -> None:
        async with guard("order_read", parameters={"number": number}) as permit:
            await asyncio.sleep(0)
            async with guard("inner_read", parameters={"outer": permit.action_id}):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*map(block, range(10)))

    asyncio.run(main())
    for row in rows(plane):
        action = asked(plane, row.id)
        if action.action_type == "inner_read":
            assert str(action.parent_action_id) == action.action_details["outer"]
    assert {row.outcome for row in rows(plane)} == {"completed"}


def test_a_guard_in_a_generator_may_be_left_in_another_context(plane: EmbeddedControlPlane) -> None:
    """The block ends where the generator is closed, whichever context that is; the outcome is recorded."""

    def stream() -> Generator[int, None, None]:
        with guard("order_read"):
            yield 1

    chunks = stream()
    contextvars.copy_context().run(next, chunks)
    chunks.close()
    settled(plane)
    assert rows(plane)[0].outcome is not None
    assert current() is None


def test_a_guard_in_an_async_generator_may_be_finalised_by_the_loop(plane: EmbeddedControlPlane) -> None:
    """An async generator that is dropped is closed in a task of the loop's; the block inside still ends well."""
    errors: list[Any] = []

    async def stream() -> AsyncGenerator[int, None]:
        async with guard("order_read"):
            yield 1

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        chunks = stream()
        await anext(chunks)
        del chunks
        for _ in range(50):
            await asyncio.sleep(0.001)

    asyncio.run(main())
    settled(plane)
    assert errors == []
    assert rows(plane)[0].outcome is not None


def test_a_guard_is_good_for_one_block_at_a_time(plane: EmbeddedControlPlane) -> None:
    """Entered twice at once, by nesting or by two tasks, it refuses the second instead of mixing the two up."""
    once = guard("order_read")
    with once, pytest.raises(ConfigurationError, match="create a new guard"), once:
        pytest.fail("entered twice")  # pragma: no cover

    async def enter(shared: guard) -> None:
        async with shared:
            await asyncio.sleep(0.001)

    async def main() -> list[Any]:
        shared = guard("order_read")
        return await asyncio.gather(enter(shared), enter(shared), return_exceptions=True)

    ends = asyncio.run(main())
    assert [type(end) for end in ends if end is not None] == [ConfigurationError]
    settled(plane)
    assert {row.outcome for row in rows(plane)} == {"completed"}


def test_a_guard_that_was_refused_can_be_tried_again(plane: EmbeddedControlPlane) -> None:
    """A refusal, or the end of the block, frees it."""
    block = guard("order_read")
    plane.kill(reason="fire", by="ann")
    with pytest.raises(AuthorizationDeniedError), block:
        pytest.fail("entered under the kill switch")  # pragma: no cover
    plane.release(reason="over", by="ann")
    with block:
        pass
    with block:
        pass
    assert [row.outcome for row in rows(plane)] == ["completed", "completed"]


def test_a_guard_takes_its_parameters_when_entered(plane: EmbeddedControlPlane) -> None:
    """What was approved is what the permit carries; changing the caller's dictionary afterwards changes nothing."""
    parameters: dict[str, Any] = {"path": "a"}
    block = guard("order_read", parameters=parameters)
    with block as permit:
        parameters["path"] = "b"
        assert permit.parameters == {"path": "a"}


@pytest.mark.parametrize("failing", [False, True])
def test_how_a_block_ended_is_recorded(plane: EmbeddedControlPlane, failing: bool) -> None:
    """A block that raises is failed, and the exception goes on; one that does not is completed."""
    if failing:
        with pytest.raises(ValueError, match="inside"), guard("order_read"):
            raise ValueError("inside")
        assert (rows(plane)[0].outcome, rows(plane)[0].error) == ("failed", "ValueError: inside")
    else:
        with guard("order_read"):
            pass
        assert rows(plane)[0].outcome == "completed"


# --- scope -------------------------------------------------------------------------------------------------------------


@given(
    outer=st.fixed_dictionaries({}, optional={"agent_id": st.just("a"), "session_id": st.just("s")}),
    inner=st.fixed_dictionaries(
        {}, optional={"agent_id": st.just("b"), "agent_name": st.just("B"), "session_id": st.just("t")}
    ),
)
def test_scopes_nest(plane: EmbeddedControlPlane, outer: dict[str, str], inner: dict[str, str]) -> None:
    """What an inner scope leaves out is taken from the one around it, and both end where they end."""
    tool = governed("order_read")(lambda: None)
    with scope(**outer, context={"environment": "test", "outer": True}):
        with scope(**inner, context={"environment": "production"}):
            tool()
        tool()
    tool()
    nested, around, bare = [asked(plane, row.id) for row in rows(plane)[-3:]]
    assert nested.agent_id == inner.get("agent_id", outer.get("agent_id", "billing"))
    assert nested.session_id == inner.get("session_id", outer.get("session_id"))
    assert nested.context == {"environment": "production", "outer": True}
    if "agent_name" not in inner:
        assert nested.agent_name == nested.agent_id
    assert around.agent_id == outer.get("agent_id", "billing")
    assert around.context == {"environment": "test", "outer": True}
    assert (bare.agent_id, bare.session_id, bare.context) == ("billing", None, {})


def test_a_scope_follows_tasks_and_streams(plane: EmbeddedControlPlane) -> None:
    """Tasks made inside carry it; a stream carries the one it is consumed in, as any generator does."""

    @governed("order_read")
    async def tool(who: str) -> None:
        await asyncio.sleep(0)

    @governed("order_read")
    def stream(who: str) -> Generator[int, None, None]:
        yield 1

    async def conversation(who: str) -> None:
        with scope(agent_id=who, session_id=f"session-{who}"):
            await asyncio.gather(tool(who), tool(who))
            await asyncio.to_thread(lambda: list(stream(who)))

    async def main() -> None:
        await asyncio.gather(*(conversation(who) for who in "abc"))

    asyncio.run(main())
    assert len(rows(plane)) == 9
    for row in rows(plane):
        who = asked(plane, row.id).action_details["who"]
        assert (row.agent_id, row.session_id) == (who, f"session-{who}")


def test_a_scope_in_a_generator_may_be_left_in_another_context(plane: EmbeddedControlPlane) -> None:
    """Closed elsewhere, as streams are by servers and garbage collectors, it ends without an error."""

    def stream() -> Generator[int, None, None]:
        with scope(agent_id="a"):
            yield 1

    chunks = stream()
    contextvars.copy_context().run(next, chunks)
    chunks.close()
    governed("order_read")(lambda: None)()
    assert rows(plane)[0].agent_id == "billing"


@pytest.mark.parametrize("wrong", ["", 5, b"x", "\ud800"])
@pytest.mark.parametrize("name", ["agent_id", "agent_name", "session_id"])
def test_a_scope_takes_text_only(plane: EmbeddedControlPlane, name: str, wrong: object) -> None:
    """A wrong name is an error where the scope is made, and the block does not run."""
    with pytest.raises(ValidationError, match=name), scope(**{name: wrong}):  # type: ignore[arg-type]
        pytest.fail("entered")  # pragma: no cover


def test_the_kill_switch_knows_whose_scope_it_is(plane: EmbeddedControlPlane) -> None:
    """Stopping one agent stops its scope and no other."""
    tool = governed("order_read")(lambda: "ran")
    plane.kill(reason="fire", by="ann", agent_id="a")
    with scope(agent_id="b"):
        assert tool() == "ran"
    with scope(agent_id="a"), pytest.raises(AuthorizationDeniedError, match="fire"):
        tool()
