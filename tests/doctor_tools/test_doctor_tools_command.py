"""``ascend-guard doctor --agent`` and ``--server``: what people and programs see, and the exit status."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import world
from doctor_tools_world import Ran, agent
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_guard.cli import main

MODULE = """
print("this is printed when it is imported")
from ascend_guard import governed
from ascend_guard_langchain import GovernanceMiddleware, govern_tools
from doctor_tools_world import Passing, Ran, agent as made

ran = Ran()
mixed = made([ran.tool(kind, kind) for kind in ("raw", "gated", "governed")])
closed = made([ran.tool("raw", "raw")], [GovernanceMiddleware()])
exchanged = made([ran.tool("raw", "raw")], [GovernanceMiddleware(), Passing()])
tools = [ran.tool("raw", "raw")]
nothing = made([])
number = 3

async def promised():
    print("this is printed when it is called")
    return closed

class Shop:
    agent = closed

def with_arguments(model, *, temperature):
    return closed

def breaks():
    raise RuntimeError("no key.\\nSet OPENAI_API_KEY")
"""

SERVER = """
from mcp.server.mcpserver import MCPServer
from ascend_guard_mcp import govern_server

def served():
    server = MCPServer("s")
    @server.tool()
    def act(x: int) -> int:
        return x
    return server

def closed():
    return govern_server(served())
"""


class Answer(world.Answer):
    """What ``doctor`` answered."""

    def said(self, state: str) -> str:
        """What is said about tools, where that is the state of it."""
        return "\n".join(
            f"{check['detail']} -> {check['remedy']}"
            for check in self.json["checks"]
            if (check["name"], check["state"]) == ("tools", state)
        )


Doctor = Callable[..., Answer]


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Doctor]:
    """The command, in a folder with a policy, an agent and a server; what was imported is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("ASCEND_DURABILITY", "process")
    monkeypatch.setenv("ASCEND_POLICY", "ascend-policy.yaml")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ascend-policy.yaml").write_text(
        "version: 1\nrules: [{name: all, actions: ['*'], effect: allow}]\n"
    )
    (tmp_path / "shop_agents.py").write_text(MODULE)
    (tmp_path / "shop_servers.py").write_text(SERVER)
    before, path = set(sys.modules), list(sys.path)

    def run(*arguments: str) -> Answer:
        capfd.readouterr()
        code = main(["doctor", *arguments])
        assert sys.path == path
        return Answer(code, *capfd.readouterr())

    yield run
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_what_people_see(doctor: Doctor) -> None:
    """A table of the tools, and which are not governed."""
    answer = doctor("--agent", "shop_agents:mixed")
    assert answer.code == 0
    rows = [line.split("  ") for line in answer.out.splitlines() if "shop_agents:mixed > tools" in line]
    assert [[part.strip() for part in row if part.strip()] for row in rows] == [
        ["raw", "shop_agents:mixed > tools", "NOT governed"],
        ["gated", "shop_agents:mixed > tools", "govern_tool"],
        ["governed", "shop_agents:mixed > tools", "@governed"],
    ]
    assert "1 of 3 tools runs without a decision: raw" in answer.out
    assert "GovernanceMiddleware last" in answer.out


def test_what_programs_see(doctor: Doctor) -> None:
    """One JSON value, whatever the module prints; the tools are in it when they were asked for."""
    answer = doctor("--json", "--agent", "shop_agents:mixed", "--server", "shop_servers:served")
    assert answer.json["ok"]
    assert "this is printed when it is imported" in answer.err
    where = "shop_agents:mixed > tools"
    assert answer.json["tools"] == [
        {"name": "raw", "governed": False, "by": None, "where": where, "note": None},
        {"name": "gated", "governed": True, "by": "govern_tool", "where": where, "note": None},
        {"name": "governed", "governed": True, "by": "@governed", "where": where, "note": None},
        {"name": "act", "governed": False, "by": None, "where": "shop_servers:served", "note": None},
    ]
    assert "tools" not in doctor("--json").json


@pytest.mark.parametrize(
    ("arguments", "code", "state"),
    [
        (["--agent", "shop_agents:mixed"], 0, "warning"),
        (["--agent", "shop_agents:mixed", "--strict"], 1, "wrong"),
        (["--agent", "shop_agents:closed", "--strict"], 0, "ok"),
        (["--agent", "shop_agents:exchanged", "--strict"], 0, "warning"),
        (["--agent", "shop_agents:tools", "--strict"], 1, "wrong"),
        (["--agent", "shop_agents:promised", "--strict"], 0, "ok"),
        (["--agent", "shop_agents:Shop.agent", "--strict"], 0, "ok"),
        (["--agent", "./shop_agents.py:closed", "--strict"], 0, "ok"),
        (["--agent", "shop_agents:closed", "--agent", "shop_agents.py:mixed", "--strict"], 1, "wrong"),
        (["--agent", "shop_agents:mixed", "--agent", "shop_agents:closed", "--strict"], 1, "wrong"),
        (["--agent", "shop_agents:nothing", "--strict"], 0, "warning"),
        (["--server", "shop_servers:served"], 0, "warning"),
        (["--server", "shop_servers:served", "--strict"], 1, "wrong"),
        (["--server", "shop_servers:closed", "--strict"], 0, "ok"),
        (["--server", "shop_servers:closed", "--agent", "shop_agents:tools", "--strict"], 1, "wrong"),
    ],
)
def test_the_exit_status(doctor: Doctor, arguments: list[str], code: int, state: str) -> None:
    """With --strict it is 1 as soon as one tool of one target is not governed."""
    answer = doctor("--json", *arguments)
    assert answer.code == code
    assert answer.json["ok"] is (code == 0)
    assert answer.said(state)


@pytest.mark.parametrize(
    ("target", "what", "remedy"),
    [
        ("shop_agents", "does not name an object in a module", "such as shop_agents:agent"),
        ("shop_agents.py", "does not name an object", "module:name"),
        (":agent", "does not name an object", "module:name"),
        ("shop_agent:mixed", "there is no module shop_agent in", "Did you mean shop_agents?"),
        ("nowhere.at.all:agent", "there is no module nowhere in", "folder"),
        ("shop_agents.inner:agent", "there is no module shop_agents.inner", "Did you mean shop_agents?"),
        ("shop_agents:mixd", "shop_agents has no mixd", "Did you mean mixed?"),
        ("shop_agents:zzz", "shop_agents has no zzz", "It has: "),
        ("shop_agents:Shop.agnt", "shop_agents:Shop has no agnt", "Did you mean agent?"),
        ("src/shop_agents.py:mixed", "there is no file src/shop_agents.py", "Check the path"),
        ("./shop_agents:mixed", "there is no file shop_agents", "Did you mean shop_agents.py?"),
        ("shop_agents:number", "of the type int", "create_agent"),
        ("shop_agents:with_arguments", "needs arguments (model, temperature)", "without arguments"),
        ("shop_agents:breaks", "RuntimeError: no key. Set OPENAI_API_KEY at", "Fix the error"),
        ("broken:agent", "SyntaxError: invalid syntax at", "Fix the error"),
        ("script:agent", "ends the process when it is imported", '__name__ == "__main__"'),
        ("needing:agent", "No module named 'surely_not_installed'", "surely_not_installed"),
        ("empty:agent", "empty has no agent", "It is empty"),
        ("hiding:agent", "No module named 'langchain.agents'", "langchain.py here hides"),
        ("deep:agent", "JSONDecodeError: Expecting value: line 1 column 1 (char 0) at ", "Fix the error"),
        ("notes.txt:agent", "there is no module notes in", "folder"),
        ("./notes.txt:agent", "not a Python file", ".py file"),
    ],
)
def test_a_newcomers_mistakes(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, target: str, what: str, remedy: str
) -> None:
    """Each is told in one line with its remedy, and nothing is called governed: status 1, with --strict or without."""
    Path("broken.py").write_text("def agent(:\n")
    Path("script.py").write_text("import sys\nsys.exit(0)\n")
    Path("needing.py").write_text("import surely_not_installed\n")
    Path("empty.py").write_text("")
    Path("deep.py").write_text("import json\njson.loads('no')\n")
    if target.startswith("hiding"):
        Path("langchain.py").write_text("")
        Path("hiding.py").write_text("from langchain.agents import create_agent\n")
        for name in [name for name in sys.modules if name.partition(".")[0] == "langchain"]:
            monkeypatch.delitem(sys.modules, name)
    Path("notes.txt").write_text("notes")
    answer = doctor("--json", "--agent", target)
    assert answer.code == 1
    assert answer.json["tools"] is None
    said = answer.said("wrong")
    assert what in said.partition(" -> ")[0]
    assert remedy in said.partition(" -> ")[2]
    if target == "deep:agent":
        assert str(Path("deep.py").resolve()) + ":2" in said
    shown = doctor("--agent", target)
    assert shown.code == 1
    assert "Traceback" not in shown.out + shown.err


def test_a_file_is_run_once(doctor: Doctor) -> None:
    """Several things of one file are looked at, and it is imported as a module once, whichever way it is named."""
    targets = ("shop_agents.py:closed", "./shop_agents.py:mixed", "shop_agents:tools")
    answer = doctor("--json", *(word for target in targets for word in ("--agent", target)))
    assert answer.err.count("this is printed when it is imported") == 1
    assert len(answer.json["tools"]) == 5


def test_one_cannot_be_looked_at(doctor: Doctor) -> None:
    """The others are; but the list is not complete, so there is none."""
    answer = doctor("--json", "--agent", "shop_agents:closed", "--agent", "shop_agents:zzz", "--strict")
    assert answer.code == 1
    assert answer.json["tools"] is None
    assert "all governed" in answer.said("ok")


def test_the_wrong_option(doctor: Doctor) -> None:
    """A server is no agent and an agent is no server; strict about nothing is a mistake."""
    assert "of the type MCPServer" in doctor("--json", "--agent", "shop_servers:served").said("wrong")
    assert "not an MCP server" in doctor("--json", "--server", "shop_agents:mixed").said("wrong")
    answer = doctor("--strict")
    assert answer.code == 2
    assert "--agent" in answer.err


@pytest.mark.parametrize(
    ("option", "target", "missing", "extra"),
    [
        ("--agent", "shop_agents:mixed", "langchain", "ascend-guard[langchain]"),
        ("--server", "shop_servers:served", "mcp", "ascend-guard[mcp]"),
    ],
)
def test_without_the_framework(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, option: str, target: str, missing: str, extra: str
) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    answer = doctor("--json", option, target)
    assert answer.code == 1
    assert f"pip install '{extra}'" in answer.said("wrong")


def test_a_module_that_speaks_past_python(doctor: Doctor) -> None:
    """What its child processes and libraries print spoils nothing either, in a process of its own."""
    Path("loud.py").write_text("import os\nos.write(1, b'written')\nos.system('echo said')\ntools = []\n")
    done = subprocess.run(
        [sys.executable, "-m", "ascend_guard", "doctor", "--agent", "loud:tools", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["tools"] == []
    assert "written" in done.stderr
    assert "said" in done.stderr


@settings(max_examples=20)
@given(
    names=st.lists(
        st.text(min_size=1, max_size=60).filter(lambda name: "\0" not in name),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_hostile_names(doctor: Doctor, names: list[str]) -> None:
    """Whatever tools are called, no character that a terminal acts upon is printed, and programs get the very names."""
    module: Any = types.ModuleType("hostile_agents")
    ran = Ran()
    module.agent = agent([ran.tool("raw", name) for name in names])
    sys.modules["hostile_agents"] = module
    try:
        shown = doctor("--agent", "hostile_agents:agent", "--strict")
        told = doctor("--agent", "hostile_agents:agent", "--json")
    finally:
        del sys.modules["hostile_agents"]
    assert shown.code == 1
    assert f"{len(names)} of {len(names)} tool" in shown.out
    for char in shown.out.replace("\n", ""):
        assert unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"), repr(char)
    assert told.out.isascii()
    assert [tool["name"] for tool in told.json["tools"]] == names
