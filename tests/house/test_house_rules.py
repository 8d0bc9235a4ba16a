"""Rules for the sources, kept by tests."""

from __future__ import annotations

import ast

from house_modules import MODULES, ROOT, SOURCES, tree_of


def test_every_function_says_what_it_returns() -> None:
    """Annotations on every parameter and result: what checkers do not know, they do not check."""
    bare = []
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [
                    *node.args.posonlyargs,
                    *node.args.args,
                    *node.args.kwonlyargs,
                    *filter(None, (node.args.vararg, node.args.kwarg)),
                ]
                missing = [
                    arg.arg for arg in arguments if arg.annotation is None and arg.arg not in ("self", "cls")
                ]
                if node.returns is None or missing:
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert bare == []


def test_nothing_is_printed() -> None:
    """A library speaks through results, errors and its logger; only the command line prints."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for name, path in MODULES.items()
        if not name.startswith(("cli", "__main__"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


def test_one_logger() -> None:
    """All modules log under the package's name, or below it: one line of configuration reaches them."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "getLogger"
        and not (
            node.args
            and isinstance(node.args[0], ast.Constant)
            and str(node.args[0].value).partition(".")[0] == "ascend_guard"
        )
    ]
    assert found == []


def test_forks_are_handled_in_one_place() -> None:
    """Only ``processes`` registers with the interpreter; nothing else tells processes apart by their ids."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path not in (MODULES["processes"], MODULES["cli.nearby_files"])  # which looks for itself in /proc
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute) and node.attr == "register_at_fork")
        or (isinstance(node, ast.Compare) and "os.getpid()" in ast.unparse(node))
    ]
    assert found == []
