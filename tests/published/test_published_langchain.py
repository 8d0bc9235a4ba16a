"""The published LangChain integration, unchanged, against our server: what is allowed runs, nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from published_server import Person, Published
from published_shop import unique, waiting

pytestmark = pytest.mark.timeout(900)  # the first run makes the environment

RUNS: dict[str, dict[str, Any]] = {
    "governed": {},
    "governed_async": {},
    "tool_wrapper": {},
    "tool_wrapper, asynchronous": {"asynchronous": True},
    "base_tool": {},
    "base_tool, asynchronous": {"asynchronous": True},
    "factory": {},
}
"""The entry points that stand before a function, and how they are used."""

RAISING = ("governed", "governed_async")
"""Those that raise; the others answer the model with the refusal."""


def entry(name: str) -> tuple[str, dict[str, Any]]:
    return name.partition(",")[0], RUNS[name]


def refused(said: dict[str, Any]) -> str:
    """What a refused call was told; the function behind it did not run."""
    assert said["ran"] == []
    if "raised" in said:
        assert said["raised"] == "PermissionError"
        return str(said["message"])
    assert said["result"].startswith("[GOVERNANCE")
    return str(said["result"])


def latest(ann: Person, action_type: str) -> dict[str, Any]:
    """The newest action of the agent's, which is of this type, with everything in it."""
    newest = ann.get("/api/v1/actions", agent_id="chain", limit=1)["actions"][0]
    assert newest["action_type"] == action_type
    kept: dict[str, Any] = ann.get(f"/api/v1/actions/{newest['id']}")
    return kept


def test_no_entry_point_is_forgotten(langchain: Published) -> None:
    """What the package exports is what is tried here."""
    said = langchain.call("about")
    assert said == {
        "version": "2.0.1",
        "package": sorted(
            [
                "AscendCallbackHandler",
                "AscendToolWrapper",
                "GovernedBaseTool",
                "GovernedStructuredTool",
                "create_governed_tool",
                "governed",
                "governed_async",
            ]
        ),
    }


@pytest.mark.parametrize("name", RUNS)
def test_allowed(langchain: Published, ann: Person, name: str) -> None:
    """The function runs, once, and its caller gets what it gave."""
    do, options = entry(name)
    order = unique("order")
    said = langchain.call(do, action_type="orders_read", order=order, risk_level="low", **options)
    assert len(said["ran"]) == 1
    assert "order" in said["result"]
    kept = latest(ann, "orders_read")
    assert (kept["agent_id"], kept["status"]) == ("chain", "approved")
    assert kept["action_details"]["tool_name"] == "orders"


@pytest.mark.parametrize("name", RUNS)
def test_denied(langchain: Published, ann: Person, name: str) -> None:
    """The function does not run, and whoever called is told why."""
    do, options = entry(name)
    said = langchain.call(do, action_type="orders_delete", order=unique("order"), **options)
    assert ("raised" in said) is (do in RAISING)
    assert "Deletes are off." in refused(said)
    assert latest(ann, "orders_delete")["status"] == "denied"


@pytest.mark.parametrize("name", RUNS)
def test_pending_then_decided(langchain: Published, ann: Person, name: str) -> None:
    """It waits for a person: after a yes the function runs, after a no it does not."""
    do, options = entry(name)
    for decide, runs in ((ann.approve, True), (ann.deny, False)):
        order = unique("order")
        langchain.ask(do, action_type="orders.write", order=order, **options)
        told = "orders.write" if do in RAISING else order  # the decorators never send the arguments
        action_id = waiting(ann, told)
        decide(action_id)
        said = langchain.answer()["result"]
        if runs:
            assert len(said["ran"]) == 1
        else:
            refused(said)


@pytest.mark.parametrize("name", RUNS)
def test_no_rule(langchain: Published, name: str) -> None:
    """What no rule knows is denied."""
    do, options = entry(name)
    refused(langchain.call(do, action_type="orders.unheard_of", order=unique("order"), **options))


def test_tools_wrapped_together(langchain: Published) -> None:
    """``wrap_tools`` keeps a tool's name, and its action is asked for."""
    said = langchain.call("wrapped_tools", order=unique("order"))
    assert said["result"] == {"name": "orders", "checked": True}


def test_a_structured_tool(langchain: Published) -> None:
    """It has a client that reaches us; that it never asks is the package's own mistake."""
    order = unique("order")
    said = langchain.call("structured_tool", order=order)
    assert (said["connected"], said["ran"]) == (True, [order])


def test_the_callback_handler(langchain: Published, ann: Person) -> None:
    """Beside a tool that is allowed it lets the tool run, and we know which and with what."""
    order = unique("order")
    said = langchain.call("callback", order=order, raises=True)
    assert said["ran"] == [order]
    kept = latest(ann, "langchain.tool.orders")
    assert kept["status"] == "approved"
    assert order in kept["action_details"]["input"]
    assert kept["context"]["run_id"]


def test_the_callback_handler_and_a_denied_tool(langchain: Published, ann: Person) -> None:
    """The tool is denied here; whether that stops it is up to LangChain's ``raise_error``."""
    said = langchain.call("callback", order=unique("order"), names="shredder", raises=True)
    assert "Deletes are off." in refused(said)
    assert latest(ann, "langchain.tool.shredder")["status"] == "denied"
    order = unique("order")
    assert langchain.call("callback", order=order, names="shredder")["ran"] == [order]
    assert latest(ann, "langchain.tool.shredder")["status"] == "denied"


def test_the_callback_handlers_events(langchain: Published, ann: Person) -> None:
    """Told to, it reports chains and models as actions too."""
    assert langchain.call("callback_events", order=unique("order")) == {"chains": [1, 0]}
    recent = ann.get("/api/v1/actions", agent_id="chain", limit=2)["actions"]
    assert [action["action_type"] for action in recent] == ["langchain.llm.call", "langchain.chain.start"]
