"""LangChain's own tests of what calls itself a tool, on governed ones."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from lc_matrix import KINDS, Gate, Kind
from lc_world import World


class _Given:
    """A governed tool of one kind; what is allowed must behave like any tool."""

    kind: Kind

    @pytest.fixture(autouse=True)
    def _allowed(self, world: World) -> None:
        """Decided by the world's policy."""

    @property
    def tool_constructor(self) -> BaseTool:
        """The tool under test."""
        return Gate("allow_it").tool(self.kind.make())

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """What it is called with."""
        return dict(self.kind.args)


for _name in (
    "@tool",
    "@tool, async",
    "StructuredTool, sync and async",
    "class, _run",
    "class, _run and _arun",
    "schema with nested models and validators",
    "schema with aliases",
    "content and artifact",
    "convert_runnable_to_tool",
    "configuration",
):
    _kind = next(each for each in KINDS if each.name == _name)
    for _suite in (ToolsUnitTests, ToolsIntegrationTests):
        if _suite is ToolsUnitTests or _kind.sync:
            _title = f"Test{_suite.__name__.removesuffix('Tests')}{KINDS.index(_kind)}"
            _doc = f"{_suite.__name__} on: {_name}."
            globals()[_title] = type(_title, (_Given, _suite), {"kind": _kind, "__doc__": _doc})
