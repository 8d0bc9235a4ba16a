"""Whatever is called, decided and consumed in whatever order: one span each, ended, under the right parent, telling
nothing of the arguments."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from listening import SECRET, VALUE, Heard, Script, listening
from opentelemetry import context as otel_context

from ascend_guard import AscendError, governed, guard

DECISIONS = {
    "approved": "approved",
    "claimed": "approved",
    "held-approved": "approved",
    "edited": "approved",
    "denied": "denied",
    "held-denied": "denied",
    "held": "pending",
    "killed": "blocked",
    "killed-waiting": "blocked",
    "killed-late": "blocked",
    "unknown": "blocked",
    "down": "error",
    "nonsense": "error",
}
SYNC = ("function", "generator", "handed-back", "guard")
ASYNC = ("coroutine", "stream", "aguard")


@dataclasses.dataclass
class Node:
    """A call to make: of which kind, how it is decided, which calls its body makes, and how it ends."""

    kind: str
    script: str
    fails: bool
    closed_early: bool
    children: list[Node]
    name: str = ""


def nodes(kinds: tuple[str, ...]) -> st.SearchStrategy[Node]:
    """Calls up to four deep."""
    # Approved ones come first and often: the others have no body, so nothing happens below them.
    scripts = st.one_of(
        st.sampled_from(("approved", "claimed", "held-approved")), st.sampled_from(sorted(DECISIONS))
    )

    def node(children: st.SearchStrategy[list[Node]]) -> st.SearchStrategy[Node]:
        return st.builds(Node, st.sampled_from(kinds), scripts, st.booleans(), st.booleans(), children)

    tree = node(st.just([]))
    for _ in range(3):
        tree = node(st.lists(tree, max_size=3))
    return tree


class Play:
    """Makes the calls of a tree, and keeps what must come of them."""

    def __init__(self, heard: Heard, roots: list[Node]) -> None:
        self.heard = heard
        self.parents: dict[str, str] = {}
        self.decisions: dict[str, str] = {}
        self._scripts: dict[str, str] = {}
        self._name(roots, "n")
        self.plane = Script(self._scripts)

    def _name(self, siblings: list[Node], prefix: str) -> None:
        for index, node in enumerate(siblings):
            node.name = f"{prefix}.{index}"
            self._scripts[node.name] = node.script
            self._name(node.children, node.name)

    @contextlib.contextmanager
    def span(self, name: str, parent: str) -> Iterator[None]:
        """A span of the application, which must come out as a child of ``parent``."""
        self.parents[name] = parent
        with self.heard.tracer().start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ):
            yield

    def _called(self, node: Node, inside: str) -> str:
        name = f"execute_tool {node.name}"
        self.parents[name] = inside
        self.decisions[name] = DECISIONS[node.script]
        return name

    def _governed(self, node: Node, function: Any) -> Any:
        declared: Any = {
            "resource": "notes/{note}",
            "control_plane": self.plane,
            "timeout": 5,
            "context": {"ticket": VALUE},
        }
        return governed("act", node.name, **declared)(function)

    def play(self, node: Node, inside: str) -> None:
        """Call a tool of a synchronous kind, from inside that span."""
        name = self._called(node, inside)

        def chunks(note: str, password: str) -> Iterator[str]:
            for index, child in enumerate(node.children):
                with self.span(f"body {node.name} {index}", name):
                    self.play(child, f"body {node.name} {index}")
                yield note
            if node.fails:
                raise ValueError(note + password)

        def whole(note: str, password: str) -> str:
            return "".join(chunks(note, password))

        def handed_back(note: str, password: str) -> Any:
            return chunks(note, password)

        with contextlib.suppress(AscendError, ValueError):
            if node.kind == "function":
                self._governed(node, whole)(VALUE, password=SECRET)
            elif node.kind == "guard":
                parameters = {"note": VALUE, "password": SECRET}
                with guard("act", node.name, parameters=parameters, control_plane=self.plane, timeout=5):
                    whole(VALUE, SECRET)
            else:
                tool = self._governed(node, chunks if node.kind == "generator" else handed_back)
                stream = tool(VALUE, SECRET)
                for index, _ in enumerate(stream):
                    with self.span(f"use {node.name} {index}", inside):
                        pass
                    if node.closed_early:
                        stream.close()
                        break

    async def aplay(self, node: Node, inside: str) -> None:
        """The same for any kind, on the event loop; calls made inside one body run concurrently."""
        if node.kind in SYNC:
            self.play(node, inside)
            return
        name = self._called(node, inside)

        async def children(index: int, child: Node) -> None:
            with self.span(f"body {node.name} {index}", name):
                await asyncio.sleep(0)
                await self.aplay(child, f"body {node.name} {index}")

        async def whole(note: str, password: str) -> str:
            await asyncio.gather(*(children(index, child) for index, child in enumerate(node.children)))
            if node.fails:
                raise ValueError(note + password)
            return note

        async def chunks(note: str, password: str) -> AsyncIterator[str]:
            for index, child in enumerate(node.children):
                await children(index, child)
                yield note
            if node.fails:
                raise ValueError(note + password)

        with contextlib.suppress(AscendError, ValueError):
            if node.kind == "coroutine":
                await self._governed(node, whole)(VALUE, SECRET)
            elif node.kind == "aguard":
                parameters = {"note": VALUE, "password": SECRET}
                async with guard(
                    "act", node.name, parameters=parameters, control_plane=self.plane, timeout=5
                ):
                    await whole(VALUE, SECRET)
            else:
                stream = self._governed(node, chunks)(VALUE, SECRET)
                index = 0
                async for _ in stream:
                    with self.span(f"use {node.name} {index}", inside):
                        await asyncio.sleep(0)
                    index += 1
                    if node.closed_early:
                        await stream.aclose()
                        break

    def check(self) -> None:
        """What was heard is what must have been."""
        spans = self.heard.spans()  # which also finds any that never ended
        names = {span.context.span_id: span.name for span in spans}
        assert len(names) == len(spans)
        found = Counter(span.name for span in spans if not span.name.startswith("ascend."))
        assert found == Counter([*self.parents, "root"])
        for span in spans:
            if span.name.startswith("ascend."):
                assert span.parent is not None
                assert names[span.parent.span_id] in self.decisions
            elif span.name != "root":
                assert span.parent is not None
                assert names[span.parent.span_id] == self.parents[span.name]
            if span.name in self.decisions:
                assert (span.attributes or {})["ascend.decision"] == self.decisions[span.name]
        counted: Counter[str] = Counter()
        for attributes, count in self.heard.points("ascend.decisions"):
            counted[attributes["ascend.decision"]] += count
        assert counted == Counter(self.decisions.values())
        text = self.heard.everything()
        assert VALUE not in text
        assert SECRET not in text


@given(st.lists(nodes(SYNC), min_size=1, max_size=3))
def test_synchronous_calls(roots: list[Node]) -> None:
    """Functions, generators, handed-back generators and guarded blocks, nested in one another."""
    with listening() as heard:
        play = Play(heard, roots)
        before = otel_context.get_current()
        with heard.tracer().start_as_current_span("root"):
            for root in roots:
                play.play(root, "root")
        assert otel_context.get_current() is before
        play.check()


@given(st.lists(nodes(SYNC + ASYNC + ASYNC), min_size=1, max_size=4))
def test_concurrent_calls(roots: list[Node]) -> None:
    """Any kind in any kind, siblings at once."""
    with listening() as heard:
        play = Play(heard, roots)

        async def main() -> None:
            with heard.tracer().start_as_current_span("root"):
                await asyncio.gather(*(play.aplay(root, "root") for root in roots))

        asyncio.run(main())
        play.check()
