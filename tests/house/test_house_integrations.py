"""The integrations are thin: they stand on the core, and load a framework only when it is used."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from house_modules import INTEGRATIONS, python, tree_of

FRAMEWORKS = (
    "langchain",
    "langchain_core",
    "langgraph",
    "mcp",
    "fastmcp",
    "pydantic",
    "anyio",
    "httpx",
    "starlette",
    "uvicorn",
)
CORE = (
    *("arguments", "callables", "calling", "config", "drivers", "errors", "flow", "model", "redaction"),
    "event_stream",  # of bytes alone; the client's feed reads with it too
)
"""What of ``ascend_guard`` the integrations may stand on: no engine, no store, no server, no command line."""

PUBLIC = {
    "ascend_guard_langchain": [
        "GovernanceMiddleware",
        "govern_tool",
        "govern_tools",
        "is_governed",
        "require_governed",
    ],
    "ascend_guard_mcp": ["GovernanceMiddleware", "govern_server", "governs", "require_governed"],
}
EXTRAS = {"ascend_guard_langchain": "langchain", "ascend_guard_mcp": "mcp"}

_LOADED = """
import json, sys
import {package}
dir({package})
print(json.dumps([name for name in {frameworks} if name in sys.modules]))
"""
_MISSING = """
import sys
for name in {frameworks}:
    sys.modules[name] = None
import {package}
try:
    {package}.GovernanceMiddleware
except ImportError as error:
    print(error)
"""


def imported(path: Path) -> set[str]:
    """The modules of ascend_guard that one of an integration's imports."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return {name.removeprefix("ascend_guard.") for name in names if name.startswith("ascend_guard.")}


@pytest.mark.parametrize("folder", INTEGRATIONS, ids=lambda folder: folder.name)
def test_it_stands_on_the_core_alone(folder: Path) -> None:
    """Where decisions are made is none of an integration's business."""
    wrong = {
        f"{path.relative_to(folder)}: {name}"
        for path in folder.rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] not in CORE
    }
    assert wrong == set()


@pytest.mark.parametrize("package", PUBLIC)
def test_it_loads_no_framework(package: str) -> None:
    """Importing the package, and looking at what is in it, costs nothing."""
    assert json.loads(python(_LOADED.format(package=package, frameworks=FRAMEWORKS))) == []


@pytest.mark.parametrize("package", PUBLIC)
def test_a_missing_framework_is_named_with_the_remedy(package: str) -> None:
    """The newcomer's first mistake."""
    said = python(_MISSING.format(package=package, frameworks=FRAMEWORKS))
    assert f"pip install 'ascend-guard[{EXTRAS[package]}]'" in said


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_these(package: str) -> None:
    """Adding or removing one is a decision, made here."""
    module = __import__(package)
    assert sorted(module.__all__) == PUBLIC[package]
    assert all(getattr(module, name).__doc__ for name in PUBLIC[package])
    assert not hasattr(module, "nothing_of_this_name")
