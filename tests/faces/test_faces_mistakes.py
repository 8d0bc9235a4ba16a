"""Mistakes in the first hour: each is refused where it is written, or told, with what to write instead."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import StructuredTool, Tool, tool
from mcp.server.mcpserver import MCPServer

import ascend_guard
from ascend_guard import ConfigurationError, governed, guard, scope
from ascend_guard.testing import ScriptedControlPlane

RAN: list[str] = []


@pytest.fixture
def script() -> ScriptedControlPlane:
    """A control plane that approves everything, so that only the gate can be missing."""
    plane = ScriptedControlPlane()
    plane.approve()
    RAN.clear()
    return plane


def run(code: str, script: ScriptedControlPlane) -> None:
    """Run a developer's module; ``act()`` is the effect that must not happen undecided."""
    names = {
        "governed": governed,
        "guard": guard,
        "scope": scope,
        "script": script,
        "act": lambda *_: RAN.append("act"),
    }
    names |= {"ascend_guard": ascend_guard, "asyncio": asyncio, "contextlib": contextlib}
    exec(compile(textwrap.dedent(code), "agent.py", "exec"), names)


MISTAKES = {
    "no with": ('guard("refund", control_plane=script)\nact()', "with guard('refund', ...) as permit:"),
    "no with, by its module": ('ascend_guard.guard("refund")\nact()', "with guard('refund', ...) as permit:"),
    "no with, with arguments": (
        'guard("refund", "b", parameters={"a": 1}, **{"timeout": 3})\nact()',
        "with guard('refund', ...) as permit:",
    ),
    "no with, in a function": (
        'def f():\n    if 1:\n        guard("refund")\n    act()\nf()',
        "with guard('refund', ...) as permit:",
    ),
    "no with, of a subclass": (
        'class Mine(guard):\n    def __init__(self, kind):\n        super().__init__(kind)\nMine("refund")\nact()',
        "with guard('refund', ...) as permit:",
    ),
    "no with, in a coroutine": (
        'async def f():\n    guard("refund")\n    act()\nasyncio.run(f())',
        "with guard('refund', ...) as permit:",
    ),
    "a decorator": (
        '@guard("refund", control_plane=script)\ndef f(): act()\nf()',
        "For a function write @governed(...)",
    ),
    "a bare decorator": ("@guard\ndef f(): act()\nf()", "For a function write @governed(...)"),
    "a condition": ('if guard("refund", control_plane=script):\n    act()', "with guard(...) as permit:"),
    "a negated condition": ('if not guard("refund"): pass\nact()', "with guard(...) as permit:"),
    "an assertion": ('assert guard("refund")\nact()', "with guard(...) as permit:"),
    "awaited": (
        'async def f():\n    await guard("refund")\n    act()\nasyncio.run(f())',
        "async with guard(...)",
    ),
    "iterated": ('for _ in guard("refund"):\n    act()', "with guard(...) as permit:"),
    "governed without @": (
        'governed("refund")\ndef f(): act()\nf()',
        "write @governed('refund') above the function",
    ),
    "governed as a block": ('with governed("refund"):\n    act()', "with guard(...) as permit:"),
    "governed as an async block": (
        'async def f():\n    async with governed("refund"):\n        act()\nasyncio.run(f())',
        "with guard(...) as permit:",
    ),
    "a scope without with": ('scope(agent_id="billing")\nact()', "with scope(...):"),
    "a scope without with, in a coroutine": (
        'async def f():\n    ascend_guard.scope(session_id="conversation-7")\n    act()\nasyncio.run(f())',
        "with scope(...):",
    ),
    "governed over a call": (
        'async def f(): act()\nc = f()\ntry:\n    governed("refund")(c)\nfinally:\n    c.close()',
        "remove the parentheses",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.filterwarnings("ignore:guard.*never entered:RuntimeWarning")
def test_a_mistake_is_refused_before_the_effect(mistake: str, script: ScriptedControlPlane) -> None:
    """The line itself raises, what follows it does not run, and the message has the right line."""
    code, instead = MISTAKES[mistake]
    with pytest.raises(ConfigurationError) as caught:
        run(code, script)
    assert instead in str(caught.value)
    assert RAN == []
    gc.collect()


RIGHT = {
    "with": 'with guard("refund", control_plane=script):\n    act()',
    "two": 'with guard("a", control_plane=script), guard("b", control_plane=script) as p:\n    act()',
    "assigned": 'g = guard("refund", control_plane=script)\nwith g:\n    act()',
    "in a list": 'all = [guard("a", control_plane=script)]\nfor g in all:\n    with g:\n        act()',
    "returned": 'def f():\n    return guard("a", control_plane=script)\nwith f():\n    act()',
    "a stack": 'with contextlib.ExitStack() as s:\n    s.enter_context(guard("a", control_plane=script))\n    act()',
    "a subclass": 'class G(guard):\n    def __init__(self):\n        super().__init__("a", control_plane=script)\n'
    "with G():\n    act()",
    "async": 'async def f():\n    async with guard("a", control_plane=script):\n        act()\nasyncio.run(f())',
    "a lambda": 'f = lambda: guard("a", control_plane=script)\nwith f() as p:\n    act()',
    "chosen": 'with guard("a", control_plane=script) if script is not None else contextlib.nullcontext():\n    act()',
    "a scope": 'with scope(agent_id="b"), guard("a", control_plane=script):\n    act()',
    "a scope on a stack": "with contextlib.ExitStack() as s:\n    s.enter_context(scope(agent_id='b'))\n"
    '    s.enter_context(guard("a", control_plane=script))\n    act()',
    "a scope as a decorator": '@scope(agent_id="b")\ndef f():\n    with guard("a", control_plane=script):\n        act()\n'
    "f()",
    "governed": '@governed("a", control_plane=script)\ndef f(): act()\nf()',
    "governed by hand": 'f = governed("a", control_plane=script)(act)\nf()',
    "governed at once": 'governed("a", control_plane=script)(act)()',
}


@pytest.mark.parametrize("way", RIGHT)
def test_what_is_written_right_is_not_told_off(way: str, script: ScriptedControlPlane) -> None:
    """Every way to keep and enter it runs, governed, without a warning."""
    gc.collect()  # what other tests left is warned of here, and not below as an error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(RIGHT[way], script)
        gc.collect()
    assert RAN == ["act"]
    assert script.asked


def test_a_guard_that_is_never_entered_is_told() -> None:
    """A RuntimeWarning that names the line where it was made, and what to write."""
    made = [guard("refund")]
    line = inspect.stack()[0].lineno - 1
    assert "not entered" in repr(made[0])
    with pytest.warns(
        RuntimeWarning, match=r"guard\('refund'\) was never entered.+Write: with guard"
    ) as caught:
        made.clear()
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def test_the_permit_is_not_the_guard(script: ScriptedControlPlane) -> None:
    """An attribute of the permit that is asked of the guard says where the permit is."""
    made = guard("refund", parameters={"a": 1}, control_plane=script)
    assert not hasattr(made, "parameters")
    with pytest.raises(AttributeError, match=r"with guard\(\.\.\.\) as permit:"):
        made.parameters  # noqa: B018
    with made as permit:
        assert permit.parameters == {"a": 1}


def test_a_forgotten_await_names_the_tool(script: ScriptedControlPlane) -> None:
    """Python's warning has the tool's name and not one of ours; nothing was asked, and nothing ran."""

    @governed("email_send", control_plane=script)
    async def send(to: str) -> None:
        RAN.append(to)

    @governed("email_send", control_plane=script, on_denied="return")
    async def post(to: str) -> None:
        RAN.append(to)

    class Mailer:
        @governed("email_send", control_plane=script)
        async def write(self, to: str) -> None:
            RAN.append(to)

    for call, name in ((send, "send"), (post, "post"), (Mailer().write, "Mailer.write")):
        made: list[Any] = [call("ann@example.com")]
        assert made[0].__name__ == name.rpartition(".")[2]
        with pytest.warns(RuntimeWarning, match=rf"coroutine '.*{name}' was never awaited"):
            made.clear()
    assert (RAN, script.asked) == ([], [])


def _of(module: str, called: str, **members: Any) -> Any:
    """An object of a class that claims to be a framework's, which is not installed here."""
    kind = type(called, (), {"__module__": module, "run": lambda self: RAN.append("run"), **members})
    return kind()


def pay(order_id: str) -> str:
    """Pay."""
    return order_id


def _mcp_tool() -> Any:
    server = MCPServer("shop")
    server.tool()(pay)
    return server._tool_manager.get_tool("pay")


def _fastmcp_tool() -> Any:
    from fastmcp.tools import FunctionTool

    return FunctionTool.from_function(pay)


def _called(self: Any, order_id: str) -> str:
    return order_id


TOOLS: dict[str, tuple[Callable[[], Any], str]] = {
    "langchain @tool": (lambda: tool(pay), "govern_tool(tool)"),
    "langchain Tool": (lambda: Tool("pay", pay, "Pay."), "put @governed under @tool"),
    "langchain StructuredTool": (lambda: StructuredTool.from_function(pay), "put @governed under @tool"),
    "mcp": (_mcp_tool, "govern_server(server)"),
    "fastmcp": (_fastmcp_tool, "govern_server(server)"),
    "openai-agents": (lambda: _of("agents.tool", "FunctionTool"), "@function_tool"),
    "pydantic-ai": (lambda: _of("pydantic_ai.tools", "Tool"), "@agent.tool"),
    "llama-index": (
        lambda: _of("llama_index.core.tools.function_tool", "FunctionTool", __call__=_called),
        "FunctionTool.from_defaults",
    ),
    "crewai": (lambda: _of("crewai.tools.base_tool", "Tool", __call__=_called), "_run"),
    "google-adk": (lambda: _of("google.adk.tools.function_tool", "FunctionTool"), "FunctionTool(...)"),
    "smolagents": (lambda: _of("smolagents.tools", "SimpleTool", __call__=_called), "forward"),
    "strands": (lambda: _of("strands.tools.decorator", "DecoratedFunctionTool", __call__=_called), "@tool"),
    "claude-agent-sdk": (lambda: _of("claude_agent_sdk", "SdkMcpTool"), "@tool"),
    "an unknown framework": (
        lambda: _of("tomorrow", "Skill", __call__=_called, name="pay", description="Pay.", parameters={}),
        "what makes the tool",
    ),
}


@pytest.mark.parametrize("framework", TOOLS)
def test_a_finished_tool_is_refused(framework: str, script: ScriptedControlPlane) -> None:
    """The framework would call its methods round the gate: the message says where @governed goes."""
    make, instead = TOOLS[framework]
    with pytest.raises(ConfigurationError, match="it is a finished tool") as caught:
        governed("refund", control_plane=script)(make())
    assert instead in str(caught.value)


class Charge:
    """A developer's own callable: a name alone makes it no framework's tool."""

    name = "charge"
    description = "Charges a card."

    def __call__(self, amount: float) -> float:
        RAN.append("charge")
        return amount


class _Toolbox:
    def __call__(self) -> None:
        RAN.append("toolbox")


def test_callables_of_ones_own_are_governed(script: ScriptedControlPlane) -> None:
    """Also where a class is called a tool, or a package is called agents."""
    _Toolbox.__module__ = "agents.mine"
    governed("refund", control_plane=script)(Charge())(5.0)
    governed("refund", control_plane=script)(_Toolbox())()
    assert RAN == ["charge", "toolbox"]
    assert len(script.asked) == 2
