"""Imports point downwards, and importing the package loads next to nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import ascend_guard

PACKAGE = Path(ascend_guard.__file__).parent

LAYERS = (
    ("processes", "event_stream", "bounded_socket"),
    ("_version", "calling.discarded_results", "redaction.decodings", "redaction.hidden", "interrupts"),
    ("errors", "model", "redaction.secret_names", "redaction.secret_values", "printable", "durations"),
    ("errors.remedies", "kill_switch", "callables.type_hints", "calling.governable"),
    ("calling.waiting_notice",),
    ("errors.not_run",),
    ("replies",),
    (
        "redaction",
        "callables.exclusion",
        "callables.vouching",
        "callables.receivers",
        "arguments.walk",
        "exceptions",
        "api",
        "flow",
    ),
    (
        "arguments.canonical",
        "arguments.objects",
        "calling.refusals",
        "callables.signatures",
        "callables.wrappers",
    ),
    ("arguments.standard_library",),
    ("arguments.instances", "callables.binders"),
    ("callables.binding",),
    ("arguments",),
    ("calling.descriptions", "edits.record_types", "edits.conversions"),
    ("edits.places",),
    ("edits",),
    ("calling.scope",),
    ("drivers",),
    ("calling.declarations",),
    ("telemetry", "calling.bound_call", "client"),
    ("mcp",),
    ("calling.execution", "calling.result_kinds"),
    ("calling.followed_objects",),
    ("calling.followed_methods",),
    ("calling.deferred",),
    ("calling.tool_kinds", "calling.stand_in"),
    ("config",),
    ("calling.governed", "calling.guard", "testing"),
    ("testing_plugin",),
    ("store",),
    ("engine",),
    ("server",),
    ("cli",),
    ("__main__",),
)
"""From the bottom to the top. The store and the engine are above the core, which reaches them only when first used."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

STORE = (
    *(
        "sqlite.keyfile",
        "sqlite.running_calls",
        "sqlite.locks",
        "failures",
        "rows",
        "log",
        "projections",
        "scratch",
        "paging",
        "port",
        "sqlite.watched_files",
        "writer",
        "opening",
        "commits",
        "forks",
        "log_queries",
        "queries",
        "ends",
        "tables",
        "changes",
        "migrations.to_logs",
        "migrations",
    ),
    *(
        "sqlite.switch_records",
        "sqlite.switch_file",
        "sqlite.barrier",
        "sqlite.switch_turning",
        "sqlite.queries",
        "sqlite.store",
        "sqlite.switch_without_database",
    ),
    *("postgres.connection", "postgres.queries", "postgres.listener", "postgres.store"),
)

HEAVY = (
    *("ascend_guard.client", "ascend_guard.api", "ascend_guard.server", "urllib3", "starlette", "psycopg"),
    *("ascend_guard.engine", "ascend_guard.store", "ascend_guard.cli", "ascend_guard.telemetry.observer"),
    *("sqlite3", "yaml", "cel_expr_python", "rich", "typer", "opentelemetry", "asyncio", "requests"),
    *("cryptography", "cvss", "httpx", "multiprocessing"),
)


@cache
def modules() -> dict[str, Path]:
    """Every module that has more than a docstring or one line."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "__init__.py" and len(ast.parse(path.read_text()).body) < 2:
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(name: str, *, everywhere: bool = True) -> Iterator[str]:
    """Absolute names of what a module imports, those for type checkers left out; without those in functions if asked."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not everywhere:
            continue
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["ascend_guard", *(part for part in package.split(".") if part)]
                base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def ours(name: str, *, everywhere: bool = True) -> set[str]:
    """Modules of the package that a module imports, below ``ascend_guard.``."""
    known = modules()
    found = {imported.removeprefix("ascend_guard.") for imported in imports(name, everywhere=everywhere)}
    return {imported for imported in found if imported and imported in known} - {name}


def layer(name: str) -> str:
    """The longest entry of the layers that names this module or a package it is in."""
    parts = name.split(".")
    prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in LEVEL), parts[0])


def test_every_module_has_its_layer() -> None:
    """A new module is put somewhere on purpose. A package that says what it is, and no more, needs none."""
    found = {
        layer(name) for name, path in modules().items() if name and len(ast.parse(path.read_text()).body) > 1
    }
    assert found - {"_version"} == set(LEVEL) - {"_version"}


def test_imports_point_downwards() -> None:
    """No module imports, when it is loaded, one of a layer above; nor one beside it, except in its own package."""
    wrong = [
        (name, imported)
        for name in modules()
        if name
        for imported in ours(name, everywhere=False)
        if layer(imported) != layer(name) and LEVEL[layer(imported)] >= LEVEL[layer(name)]
    ]
    assert wrong == []


def test_the_core_reaches_up_only_in_config() -> None:
    """Engine, store and command line are loaded by functions of ``config`` alone."""
    wrong = [
        (name, imported)
        for name in modules()
        if name and LEVEL[layer(name)] < LEVEL["store"] and name != "config"
        for imported in ours(name)
        if layer(imported) in ("store", "engine", "cli")
    ]
    assert wrong == []
    assert {layer(imported) for imported in ours("config") - ours("config", everywhere=False)} == {
        "client",
        "engine",
        "store",
    }


def test_the_engine_knows_no_sql() -> None:
    """It imports the store's port, its log and what a record changes, and nothing that speaks SQL."""
    for name in modules():
        if layer(name) == "engine":
            assert not {imported for imported in imports(name) if imported.startswith("sqlite3")}, name
            stored = {imported for imported in ours(name) if layer(imported) == "store"}
            known = {"store", "store.paging", "store.port", "store.log", "store.projections", "store.scratch"}
            assert stored <= known, name


def test_the_store_knows_no_rule() -> None:
    """It imports errors, words of the core and what hides its key, and nothing of the engine."""
    for name in modules():
        if layer(name) == "store":
            foreign = {imported for imported in ours(name) if layer(imported) != "store"}
            assert foreign <= {
                "errors",
                "redaction.hidden",
                "interrupts",
                "processes",
                "model",
                "_version",
            }, name


def test_the_store_has_its_own_order() -> None:
    """Locks, the log and what it changes, the port, the writer, queries, changes, and the store itself."""
    assert {name.removeprefix("store.") for name in modules() if name.startswith("store.")} == set(STORE)
    for above, name in enumerate(STORE):
        inside = {i.removeprefix("store.") for i in ours(f"store.{name}") if i.startswith("store.")}
        assert inside <= set(STORE[:above]), name


def reached(name: str) -> set[str]:
    """Modules that a module needs at any time. ``from . import one`` is about that one alone, not about the package."""
    package = name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]
    takes = [
        (node.module, node.level, {alias.name for alias in node.names})
        for node in ast.walk(ast.parse(modules()[name].read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    beside = [names for module, level, names in takes if module is None and level == 1]
    whole = any(not level and module == f"ascend_guard.{package}" for module, level, _ in takes)
    alone = all(f"{package}.{each}" in modules() for names in beside for each in names)
    return ours(name) - ({package} if beside and alone and not whole else set())


def test_nothing_imports_in_a_circle() -> None:
    """Modules can be loaded in any order; and none needs, in a function, what needs it."""
    graph = {name: reached(name) for name in modules()}
    while graph:
        free = [name for name, below in graph.items() if not below & set(graph)]
        assert free, f"these import one another: {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize(
    "statement",
    [
        "import ascend_guard",
        "from ascend_guard import governed",
        "from ascend_guard import guard, scope, configure, AscendError, Redact, Decision",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    """Neither engine nor store nor any library that is needed later, if at all."""
    program = f"""
import json, sys
import msgspec, wrapt  # what these two load themselves is theirs
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    heavy = [name for name in loaded if any(name == top or name.startswith(f"{top}.") for top in HEAVY)]
    assert heavy == []


def test_importing_the_package_loads_nothing_at_all() -> None:
    """Not even what it is made with: only a name that is used is loaded."""
    program = "import sys, json, ascend_guard; print(json.dumps(sorted(sys.modules)))"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=unmeasured
    )
    loaded = set(json.loads(done.stdout))
    assert loaded.isdisjoint({*HEAVY, "wrapt", "msgspec", "inspect", "logging"})
    assert {name for name in loaded if name.startswith("ascend_guard")} == {
        "ascend_guard",
        "ascend_guard._version",
    }
