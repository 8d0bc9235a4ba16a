"""Promise 6: no text of an error that a model may read names a command that approves; ``remedy`` and the log do."""

from __future__ import annotations

import ast
import asyncio
import copy
import logging
import pickle
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ascend_guard import AgentAction, AscendError, EmbeddedControlPlane, errors, governed, guard
from ascend_guard.calling.refusals import refusal
from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import remedies
from ascend_guard.flow import Claim
from ascend_guard.model import ActionResult, Decision, Outcome, OutcomeStatus
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.testing import ScriptedControlPlane

ROOT = Path(__file__).parents[2]
POLICY = """
version: 1
rules:
  - {name: reads, actions: [read], effect: allow}
  - {name: writes, actions: [write], effect: deny, reason: Never.}
  - {name: ask, actions: [refund], effect: require_approval}
  - {name: vips, actions: [refund], resources: ["vip/*"], effect: deny}
"""
COMMANDS = re.compile(
    "|".join(
        (
            "ascend-guard " + "approvals",
            "approvals " + "(approve|deny)",
            "clear-" + "denial",
            "kill-switch " + "off",
            r"\.approve" + r"\(",
        )
    )
)
"""Texts that tell how to approve; made of parts, because this file's lines are on tracebacks too."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "a.db")
    yield store
    store.close()


@pytest.fixture
def plane(store: SQLiteStore) -> EmbeddedControlPlane:
    return EmbeddedControlPlane(store, parse_policy(POLICY), agent_id="billing")


Break = Callable[[EmbeddedControlPlane], object]


def refund(plane: Any, **more: Any) -> Callable[[Any], Any]:
    return governed(
        "refund", "billing", resource="{amount}", control_plane=plane, **{"on_pending": "raise", **more}
    )(lambda amount: amount)


def pending(plane: EmbeddedControlPlane) -> object:
    return refund(plane)(1)


def pending_with_an_object(plane: EmbeddedControlPlane) -> object:
    return governed("refund", on_pending="raise", control_plane=plane)(lambda x: x)(object())


def pending_block(plane: EmbeddedControlPlane) -> object:
    with guard("refund", on_pending="raise", control_plane=plane):
        return None


def timed_out(plane: EmbeddedControlPlane) -> object:
    return refund(plane, on_pending="wait", timeout=0.001)(1)


def timed_out_on_a_loop(plane: EmbeddedControlPlane) -> object:
    async def tool(amount: int) -> int:
        return amount

    made: Any = governed("refund", control_plane=plane, timeout=0.001)(tool)
    return asyncio.run(made(1))


def denied_by_policy(plane: EmbeddedControlPlane) -> object:
    return governed("write", control_plane=plane)(lambda: None)()


def denied_by_a_person(plane: EmbeddedControlPlane) -> object:
    _held(plane)
    plane.deny("1", approver="ann", comment="no")
    return pending(plane)


def denied_again(plane: EmbeddedControlPlane) -> object:
    with pytest.raises(AscendError):
        denied_by_a_person(plane)
    return pending(plane)


def killed(plane: EmbeddedControlPlane) -> object:
    plane.kill(reason="fire", by="ann", agent_id="billing")
    return pending(plane)


def killed_while_waiting(plane: EmbeddedControlPlane) -> object:
    def kill() -> None:
        while not plane.pending():
            threading.Event().wait(0.002)
        plane.kill(reason="fire", by="ann")

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        return refund(plane, on_pending="wait")(1)
    finally:
        thread.join()


def killed_half_way(plane: EmbeddedControlPlane) -> object:
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    chunks = governed("read", control_plane=plane)(stream)()
    next(chunks)
    plane.kill(reason="fire", by="ann")
    return next(chunks)


def released_by_a_tool(plane: EmbeddedControlPlane) -> object:
    return governed("read", control_plane=plane)(lambda: plane.release(reason="r", by="agent"))()


def cleared_by_a_tool(plane: EmbeddedControlPlane) -> object:
    return governed("read", control_plane=plane)(lambda: plane.clear_denial("1", by="agent"))()


def released_twice(plane: EmbeddedControlPlane) -> object:
    plane.release(reason="r", by="ann")
    return None


def no_such_action(plane: EmbeddedControlPlane) -> object:
    return plane.deny("77", approver="ann")


def claimed_twice(plane: EmbeddedControlPlane) -> object:
    _held(plane)
    _decide(plane)
    pending(plane)
    action = AgentAction("billing", "billing", "refund", "1", "billing")
    return plane.perform(Claim(action, "1", "a" * 64, "a" * 64))


def edited_to_what_is_denied(plane: EmbeddedControlPlane) -> object:
    _held(plane, "a/1")
    _decide(plane, {"amount": "vip/1"})
    return refund(plane)("a/1")


def edited_to_another_type(plane: EmbeddedControlPlane) -> object:
    _held(plane, 1)
    _decide(plane, {"amount": "x"})
    return refund(plane)(1)


def no_policy(plane: EmbeddedControlPlane) -> object:
    return pending(EmbeddedControlPlane(plane.store, agent_id="billing"))


def a_permit_that_was_not_judged(plane: EmbeddedControlPlane) -> object:
    script = ScriptedControlPlane()
    script.approve("refund")
    edited = {"amount": 2}
    script._submit = lambda effect: ActionResult(  # type: ignore[method-assign]
        "1", Decision.APPROVED, claimed=True, modified_arguments=edited
    )
    perform = script.perform
    script.perform = lambda effect: (  # type: ignore[method-assign]
        script._submit(effect) if type(effect).__name__ == "Submit" else perform(effect)  # type: ignore[arg-type]
    )
    try:
        return refund(script)(1)
    finally:
        assert script.outcomes["1"].status is OutcomeStatus.FAILED


def settled_twice(plane: EmbeddedControlPlane) -> object:
    from ascend_guard.engine import claim

    governed("read", control_plane=plane)(lambda: None)()
    return plane.store.write(lambda tx: claim.settle(tx, "local", "1", Outcome(OutcomeStatus.COMPLETED)))


BREAKS: list[Break] = [
    pending,
    pending_with_an_object,
    pending_block,
    timed_out,
    timed_out_on_a_loop,
    denied_by_policy,
    denied_by_a_person,
    denied_again,
    killed,
    killed_while_waiting,
    killed_half_way,
    released_by_a_tool,
    cleared_by_a_tool,
    released_twice,
    no_such_action,
    claimed_twice,
    edited_to_what_is_denied,
    edited_to_another_type,
    no_policy,
    a_permit_that_was_not_judged,
    settled_twice,
]
WITH_COMMAND = {
    *(
        pending,
        pending_with_an_object,
        pending_block,
        timed_out,
        timed_out_on_a_loop,
        denied_by_a_person,
        denied_again,
    ),
    *(killed, killed_while_waiting, killed_half_way, released_by_a_tool, cleared_by_a_tool),
}


def _held(plane: EmbeddedControlPlane, amount: Any = 1) -> None:
    with pytest.raises(AscendError):
        refund(plane)(amount)


def _decide(plane: EmbeddedControlPlane, edits: dict[str, Any] | None = None) -> None:
    getattr(plane, "appr" + "ove")("1", approver="ann", arguments=edits)


def texts(error: BaseException) -> dict[str, str]:
    """Everything of an error that a framework may hand to a model."""
    with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
    return {
        "str": str(error),
        "repr": repr(error),
        "args": repr(error.args),
        "notes": repr(getattr(error, "__notes__", ())),
        "format": "".join(traceback.format_exception(error)),
        "locals": "".join(with_locals.format()),
        "refusal": refusal(error) if isinstance(error, AscendError) else "",
    }


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda break_it: break_it.__name__)
def test_no_text_names_a_command_that_approves(plane: EmbeddedControlPlane, break_it: Break) -> None:
    """Of any error, its chain, its pickled and its copied form; where people can do something, ``remedy`` says how."""
    with pytest.raises(AscendError) as caught:
        break_it(plane)
    error = caught.value
    forms = [error, pickle.loads(pickle.dumps(error)), copy.copy(error)]
    for form in forms:
        for what, text in texts(form).items():
            assert not COMMANDS.search(text), (what, COMMANDS.search(text))
        assert form.remedy == error.remedy
    if break_it in WITH_COMMAND:
        assert COMMANDS.search(error.remedy or "")


def test_every_error_can_carry_a_remedy() -> None:
    """The whole tree has the attribute, and it goes where the error goes."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    assert len(kinds) > 10
    for kind in kinds:
        error = kind("what happened")
        assert error.remedy is None
        error.remedy = "what to do"
        copied = pickle.loads(pickle.dumps(error))
        assert (copied.remedy, str(copied), copied.args) == (
            "what to do",
            "what happened",
            ("what happened",),
        )


def test_the_commands_stand_in_one_module() -> None:
    """No string of the packages names an approving command but there, and in the command line: tracebacks show lines."""
    sources = [*(ROOT / "ascend_guard").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]
    ours = ROOT / "ascend_guard"
    wrong: list[str] = []
    found = 0
    command = re.compile(r"ascend-guard approvals|approvals approve|clear-denial|kill-switch off")
    for path in sources:
        tree = ast.parse(path.read_text("utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and command.search(node.value):
                found += 1
                if (
                    id(node) in docs
                    or path == ours / "errors" / "remedies.py"
                    or ours / "cli" in path.parents
                ):
                    continue
                if path.parent == ours / "api" and node.value.startswith("/api/"):
                    continue
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []
    assert found > 3


def test_nothing_in_the_remedies_raises() -> None:
    """So that none of its frames, with its texts, is on a traceback."""
    tree = ast.parse(Path(remedies.__file__).read_text("utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]


@pytest.mark.parametrize("on_pending", ["wait", "raise"])
def test_the_log_says_once_that_a_call_waits(
    plane: EmbeddedControlPlane, caplog: pytest.LogCaptureFixture, on_pending: Any
) -> None:
    """At level WARNING, which Python shows by itself, with the command, without the arguments, once for an action."""
    caplog.set_level(logging.DEBUG, "ascend_guard")
    secret = "order-" + "4711"
    for _ in range(3):
        with pytest.raises(AscendError):
            refund(plane, on_pending=on_pending, timeout=0.001)(secret)
    records = [record for record in caplog.records if record.name == "ascend_guard"]
    assert [record.levelname for record in records] == ["WARNING"]
    said = records[0].getMessage()
    assert COMMANDS.search(said)
    assert "action 1" in said
    assert "refund by billing for agent 'billing'" in said
    assert secret not in said


def test_an_allowed_call_logs_nothing(plane: EmbeddedControlPlane, caplog: pytest.LogCaptureFixture) -> None:
    """Only what waits is said."""
    caplog.set_level(logging.DEBUG, "ascend_guard")
    governed("read", control_plane=plane)(lambda: None)()
    assert [record for record in caplog.records if record.name == "ascend_guard"] == []


def test_withdrawn_texts_are_clean(plane: EmbeddedControlPlane) -> None:
    """What is recorded as the reason of a withdrawn approval names no command either."""
    _held(plane, 1)
    _decide(plane, {"amount": "x"})
    with pytest.raises(AscendError):
        refund(plane)(1)
    row = plane.read(lambda reader: reader.action("local", 1))
    assert row is not None
    assert row.status == "denied"
    assert not COMMANDS.search(row.reason)
