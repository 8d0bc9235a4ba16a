"""The matrices in the documents are the lists that the tests go through: run this file as a script to write them anew."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
HOW = "written by `python tests/house/test_house_matrices.py`"

FAMILIES = {
    "`invoke`": ("invoke",),
    "`ainvoke`": ("ainvoke",),
    "`batch`": ("batch", "abatch"),
    "`stream`": ("stream", "astream"),
    "`run`": ("run", "arun"),
    "`with_*`": ("with_config", "with_retry", "with_fallbacks"),
    "pipes": ("sequence", "parallel", "bind"),
    "copies": ("model_copy", "copy.copy", "copy.deepcopy", "pickle"),
    "`ToolNode`": ("ToolNode",),
    "`create_agent`": ("create_agent",),
}
"""How the ways of calling a tool are shown: those whose names begin so."""


def langchain() -> str:
    """Kinds of tools by ways of calling them; a cell counts the ways."""
    matrix = _module("langchain", "lc_matrix")
    ways: dict[str, dict[str, int]] = {}
    for kind, path, applicable in matrix.rows():
        family = _family(path)
        row = ways.setdefault(kind, dict.fromkeys(FAMILIES, 0))
        row[family] += applicable
    lines = [f"| tool | {' | '.join(FAMILIES)} |", f"| --- |{' ---: |' * len(FAMILIES)}"]
    lines += [
        f"| {kind.replace('|', '/')} | {' | '.join(str(count) if count else '–' for count in row.values())} |"
        for kind, row in ways.items()
    ]
    every = sum(sum(row.values()) for row in ways.values())
    ends = len(matrix.ENDS)
    lines += [
        "",
        f"A number counts ways of calling: {every} in all, each in {ends} endings. `–`: such a tool cannot be called so.",
    ]
    return "\n".join(lines)


def mcp() -> str:
    """Kinds of servers by transports; a cell names the forms of the protocol."""
    matrix = _module("mcp_servers", "mcp_matrix")
    lines = [f"| server | {' | '.join(matrix.TRANSPORTS)} |", f"| --- |{' --- |' * len(matrix.TRANSPORTS)}"]
    for kind in matrix.KINDS.values():
        forms = ", ".join(PROTOCOLS[mode] for mode in kind.modes)
        lines.append(
            f"| {kind.library} {kind.major}, {kind.tier} level | {' | '.join([forms] * len(matrix.TRANSPORTS))} |"
        )
    every, ends = sum(1 for _ in matrix.matrix_rows()), len(matrix.SCENARIOS)
    lines += [
        "",
        f"A cell names the versions of the protocol; {every} rows in all, the {ends} endings counted.",
    ]
    return "\n".join(lines)


PROTOCOLS = {"auto": "2026-07-28", "legacy": "2025-11-25"}

TABLES: dict[str, Callable[[], str]] = {"langchain.md": langchain, "mcp.md": mcp}


def _family(path: str) -> str:
    word = path.partition(",")[0]
    return next(family for family, names in FAMILIES.items() if word in names)


def _module(folder: str, name: str) -> Any:
    sys.path.insert(0, str(TESTS / folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    finally:
        sys.path.remove(str(TESTS / folder))


def with_matrix(text: str, document: str) -> str:
    """A document with its matrix written anew between its markers."""
    begin, end = f"<!-- matrix: {HOW} -->", "<!-- end of matrix -->"
    assert text.count(begin) == text.count(end) == 1, f"no place for a matrix in {document}"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{TABLES[document]()}\n\n{end}{after}"


@pytest.mark.parametrize("document", TABLES)
def test_a_matrix_is_not_stale(document: str) -> None:
    """What the document shows is what the tests try; if not, run this file."""
    text = (DOCS / document).read_text()
    assert with_matrix(text, document) == text


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    for name in TABLES:
        file = DOCS / name
        file.write_text(with_matrix(file.read_text(), name))
