"""The tables in the documents are the ones in the code: run this file as a script to write them anew."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ascend_guard import AscendClient, AsyncAscendClient
from ascend_guard.api.endpoint import Access
from ascend_guard.api.table import ENDPOINTS

DOCS = Path(__file__).parents[2] / "docs"
HOW = "written by `python tests/house/test_house_endpoints.py`"

WHO = {
    Access.PUBLIC: "anybody",
    Access.CALLER: "key, person",
    Access.ADMIN: "admin",
    Access.PERSON: "person",
    Access.PERSON_ADMIN: "person, admin",
}
RESULTS = {"Data": "dict", "list[Data]": "list[dict]"}


def endpoints() -> str:
    """Every endpoint of the table: how it is called, who may, and what it does."""
    lines = ["| | path | who | |", "| --- | --- | --- | --- |"]
    for endpoint in ENDPOINTS:
        paths = ", ".join(f"`{path}`" for path in (endpoint.path, *endpoint.aliases))
        lines.append(f"| {endpoint.method} | {paths} | {WHO[endpoint.access]} | {endpoint.summary} |")
    return "\n".join(lines)


def methods() -> str:
    """Every method of the client: what it needs, what it gives, and what it does."""
    lines = ["| method | gives | |", "| --- | --- | --- |"]
    for name, method in vars(AscendClient).items():
        if name.startswith("_") or not callable(method):
            continue
        signature = inspect.signature(method)
        given = list(signature.parameters.values())[1:]
        needed = [f"{part.name}=" if part.kind is part.KEYWORD_ONLY else part.name
                  for part in given if part.default is part.empty]  # fmt: skip
        rest = ["..."] if len(needed) < len(given) else []
        gives = re.sub(r"^Exchange\[(.*)\]$", r"\1", str(signature.return_annotation))
        what = inspect.getdoc(method).split("\n")[0].replace("``", "`")  # type: ignore[union-attr]
        what = re.sub(r" \((REST API|SDK) document[^)]*\)", "", what)
        lines.append(f"| `{name}({', '.join(needed + rest)})` | `{RESULTS.get(gives, gives)}` | {what} |")
    return "\n".join(lines)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "endpoints": ("server.md", endpoints),
    "methods": ("client.md", methods),
}


def with_table(text: str, name: str) -> str:
    """A document with this table written anew between its markers."""
    begin, end = f"<!-- {name}: {HOW} -->", f"<!-- end of {name} -->"
    assert text.count(begin) == text.count(end) == 1, f"no place for the table of {name}"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{TABLES[name][1]()}\n\n{end}{after}"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_not_stale(name: str) -> None:
    """What the document shows is what the code has; if not, run this file."""
    text = (DOCS / TABLES[name][0]).read_text()
    assert with_table(text, name) == text


def test_both_clients_have_the_same_methods() -> None:
    """One table is enough for the two of them."""
    named = [
        {name for name in vars(kind) if not name.startswith("_")}
        for kind in (AscendClient, AsyncAscendClient)
    ]
    assert named[0] == named[1]


if __name__ == "__main__":
    for table, (document, _) in TABLES.items():
        path = DOCS / document
        path.write_text(with_table(path.read_text(), table))
