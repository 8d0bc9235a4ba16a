"""Every kind of tool, on every path, to every end: one action, and the body runs exactly when, and as, it was allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, ToolMessage
from langgraph.types import Command
from lc_matrix import ENDS, KINDS, PATHS, RAN, Gate, Kind, Path, rows
from lc_world import CHANGED, World
from stopping_plane import names_no_command
from support import PROFILE
from world import Meanwhile

from ascend_guard import AuthorizationDeniedError, KillSwitchError

CASES = [(kind, path) for kind in KINDS for path in PATHS if path.applicable(kind)]


def chosen() -> list[Any]:
    """All of the product, or each kind on each path, to one of the ends; and quickly, on a sixth of the derived paths."""
    found = []
    for kind, path in CASES:
        first = KINDS.index(kind) + PATHS.index(path)
        if path.derived and PROFILE == "quick" and first % 6:
            continue
        for turn in range(len(ENDS) if PROFILE == "full" else 1):
            end = ENDS[(first + turn) % len(ENDS)]
            if end == "edit" and not kind.edit:
                end = "allow"
            found.append(pytest.param(kind, path, end, id=f"{kind}-{path}-{end}"))
    return found


def plain(value: Any) -> Any:
    """What a caller gets, without what differs from one call to the next."""
    if isinstance(value, BaseMessage):
        return {name: item for name, item in value.model_dump().items() if name != "id"}
    if isinstance(value, Command):
        return plain(value.update)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def unsaid(value: Any) -> tuple[Any, list[str]]:
    """The same without the notes of what an approver changed, and those notes."""
    notes: list[str] = []

    def clean(value: Any) -> Any:
        if isinstance(value, str) and "\n\n" + CHANGED in value:
            own, _, note = value.partition("\n\n" + CHANGED)
            notes.append(note)
            return own
        if isinstance(value, dict):
            return {name: clean(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            kept = [
                item for item in value if not (isinstance(item, dict) and CHANGED in str(item.get("text")))
            ]
            notes.extend(item["text"] for item in value if item not in kept)
            return type(value)(clean(item) for item in kept)
        return value

    return clean(value), notes


def outcome(run: Callable[[], Any]) -> Any:
    """What came of a call: what it gave, or what it raised."""
    try:
        return "gave", plain(run())
    except Exception as error:
        return "raised", type(error), str(error)


def expected(kind: Kind, path: Path, edited: bool) -> dict[str, Any]:
    """What the body is to be run with."""
    return {
        **kind.judged,
        **({} if path.node else kind.direct_judged),
        **(kind.edit if edited else {}),
    }


def ungoverned(kind: Kind, path: Path, edited: bool) -> Any:
    """What the tool itself does there, with the approver's values where there are any."""
    if edited:
        judged = expected(kind, path, True)
        names = {"orderId": "order"}
        args = {name: judged.get(names.get(name, name), value) for name, value in kind.args.items()}
        args |= {name: value for name, value in kind.edit.items() if name not in names.values()}
        if kind.text is not None:
            ((_, value),) = kind.edit.items()
            text = value[0] if isinstance(value, list) else value
            args = dict.fromkeys(kind.args, text)
            kind = Kind(kind.name, kind.make, args, kind.judged, text=text, sync=kind.sync)
        else:
            kind = Kind(
                kind.name,
                kind.make,
                args
                | ({"orderId": kind.edit["order"]} if "orderId" in args and "order" in kind.edit else {}),
                kind.judged,
                direct=kind.direct,
                needs_call=kind.needs_call,
                sync=kind.sync,
            )
    RAN.clear()
    return outcome(lambda: path.run(kind, kind.make(), Gate(None)))


def refused(kind: Kind, path: Path, end: str, found: Any) -> None:
    """The caller learns of it: a message where there is a call to answer, the error where there is none."""
    if not path.answers_calls(kind):
        assert found[0] == "raised", found
        assert issubclass(found[1], KillSwitchError if end == "kill" else AuthorizationDeniedError)
        return
    assert found[0] == "gave", found
    message = found[1][0] if isinstance(found[1], list) else found[1]
    assert (message["type"], message["status"]) == ("tool", "error")
    assert (message["tool_call_id"], message["name"]) == ("c1", "change_order")
    assert message["content"].startswith("Stopped:" if end == "kill" else "Denied:")
    assert names_no_command(str(message))


@pytest.mark.parametrize(("kind", "path", "end"), chosen())
def test_one_action_and_one_run_where_it_is_allowed(world: World, kind: Kind, path: Path, end: str) -> None:
    """One action judged on the arguments that run, one run where it is allowed, and what the tool itself would give."""
    people: dict[str, Callable[[Any], object]] = {
        "approve": world.approve,
        "edit": lambda row: world.approve(row, **kind.edit),
        "refuse": world.deny,
        "expire": world.expire,
        "kill": world.kill,
    }
    runs = end in ("allow", "approve", "edit")
    before = ungoverned(kind, path, end == "edit") if runs else None
    RAN.clear()
    raw = kind.make()
    gate = Gate({"allow": "allow_it", "deny": "deny_it"}.get(end, "ask_it"))
    if end in people:
        with Meanwhile(world.plane, people[end]):
            found = outcome(lambda: path.run(kind, raw, gate))
    else:
        found = outcome(lambda: path.run(kind, raw, gate))
    world.verify()
    (row,) = world.rows()
    assert world.asked(row).action_details == expected(kind, path, False)
    assert (row.tool_name, row.depth) == ("change_order", 0)
    if end == "edit":
        found, notes = unsaid(found)
        assert len(set(notes)) == (found[0] == "gave" and path.answers_calls(kind)), notes
        assert all(names_no_command(note) and note.isprintable() and CHANGED not in note for note in notes)
    if runs:
        assert [expected(kind, path, end == "edit")] == RAN
        assert found == before
        assert (row.status, row.outcome) == ("approved", "failed" if kind.fails else "completed")
    else:
        assert RAN == []
        refused(kind, path, end, found)
        assert row.outcome is None


def test_the_table_has_every_pair() -> None:
    """Documentation is made of it: each kind with each path, once."""
    found = rows()
    assert len(found) == len(set(found)) == len(KINDS) * len(PATHS)
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert len({path.name for path in PATHS}) == len(PATHS)
    assert all(any(path.applicable(kind) for path in PATHS) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_model_sees_the_same_tool(world: World, kind: Kind) -> None:
    """Class, name, schema and everything a model or a node is told are the raw tool's."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    raw = kind.make()
    made = Gate("allow_it").tool(raw)
    assert isinstance(made, type(raw))
    assert type(made).__name__ == type(raw).__name__
    assert (made.name, made.description, made.args, made.return_direct) == (
        raw.name,
        raw.description,
        raw.args,
        raw.return_direct,
    )
    assert made.get_input_schema() is raw.get_input_schema() or made.args_schema is None
    assert convert_to_openai_tool(made) == convert_to_openai_tool(raw)
    assert type(raw) is not type(made)
    assert world.rows() == []


@pytest.mark.parametrize("path", [path for path in PATHS if path.call], ids=str)
def test_arguments_that_do_not_fit_are_the_tools_own_matter(world: World, path: Path) -> None:
    """What the schema refuses is never asked about, and the answer is the raw tool's."""
    kind = next(each for each in KINDS if each.name == "handle_validation_error")
    bad = Kind(kind.name, kind.make, {"amount": "many"}, {})
    before = outcome(lambda: path.run(bad, bad.make(), Gate(None)))
    RAN.clear()
    assert outcome(lambda: path.run(bad, bad.make(), Gate("allow_it"))) == before
    assert (RAN, world.rows()) == ([], [])


def test_refusals_are_tool_messages(world: World) -> None:
    """A refusal is of the type every node expects."""
    kind = KINDS[0]
    made = Gate("deny_it").tool(kind.make())
    answer = made.invoke({"name": made.name, "args": kind.args, "id": "c1", "type": "tool_call"})
    assert isinstance(answer, ToolMessage)
