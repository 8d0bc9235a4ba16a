"""Importing the package costs no framework, and one that is missing is named with its remedy."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_framework_is_imported() -> None:
    """Neither by the package, nor by its list of names, nor by looking at what it does not have."""
    code = (
        "import sys, ascend_guard_mcp as package; dir(package); hasattr(package, 'nothing'); "
        "print(sorted({'mcp', 'fastmcp', 'pydantic', 'anyio', 'starlette'} & set(sys.modules)))"
    )
    assert run(code) == "[]"


def test_fastmcp_is_imported_for_its_servers_alone() -> None:
    """Governing a server of the SDK does not need fastmcp."""
    code = (
        "import sys; sys.modules['fastmcp'] = None; from ascend_guard_mcp import govern_server, governs; "
        "from mcp.server.lowlevel import Server; print(governs(govern_server(Server('shop'))))"
    )
    assert run(code) == "[]"


@pytest.mark.parametrize(
    ("missing", "name"),
    [("fastmcp", "GovernanceMiddleware"), ("anyio", "govern_server"), ("anyio", "governs")],
)
def test_a_missing_framework(missing: str, name: str) -> None:
    """The error says what to install."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"try:\n    from ascend_guard_mcp import {name}\nexcept ImportError as error:\n    print(error)"
    )
    said = run(code)
    assert said.startswith(f"{name} needs the package {missing}: pip install 'ascend-guard[mcp]'"), said
