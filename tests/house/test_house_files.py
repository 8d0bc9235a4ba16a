"""The house's rules about its files."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import tokenize
from functools import cache
from pathlib import Path

import pytest
from house_modules import ROOT, SOURCES

SIZES = Path(__file__).with_name("module_sizes.txt")
FREE = 200
"""Lines of code, without comments, docstrings and blank lines: explaining more is always allowed."""

NEEDS_A_REASON = 320
SLACK = 20

# Written in pieces, so that this file does not break its own rule.
MACHINE_PATHS = re.compile(r"(?<![\w.:/-])/(?:ho" r"me|wo" r"rk|ro" r"ot|Us" r"ers)/[\w.-]+", re.ASCII)


def sizes() -> dict[str, tuple[int, str]]:
    """What each listed module may have, and why."""
    rows = [line.split(None, 2) for line in SIZES.read_text().splitlines() if not line.startswith("#")]
    return {name: (int(lines), " ".join(why)) for lines, name, *why in rows}


def code_lines(path: Path) -> int:
    """Lines that hold code: no comment, no docstring, not blank."""
    text = path.read_text()
    said = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = {
        number
        for token in tokens
        if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.STRING)
        for number in range(token.start[0], token.end[0] + 1)
    }
    return len(code - said)


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


@cache
def parsed_tests() -> dict[Path, list[ast.Assert | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The functions and assertions of every file of tests."""
    kinds = (ast.Assert, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        path: [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
        for path in sorted((ROOT / "tests").rglob("*.py"))
    }


def test_every_test_says_in_one_line_what_it_holds() -> None:
    """A one-line docstring, on every test of every class and module."""
    wrong = []
    for path, nodes in parsed_tests().items():
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                said = ast.get_docstring(node)
                if not said or "\n" in said:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert wrong == []


def test_no_test_asserts_how_long_something_took() -> None:
    """On a busy machine it would fail by chance. Assert an order or count the work; ``timeout`` ends what hangs."""
    assert [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, nodes in parsed_tests().items()
        for node in nodes
        if isinstance(node, ast.Assert) and any(map(_is_duration, ast.walk(node.test)))
    ] == []


def _is_duration(node: ast.AST) -> bool:
    """Whether it subtracts from what a clock says."""
    clocks = ("time.monotonic", "time.perf_counter", "time.process_time", "time.thread_time", "time.time")
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and ast.unparse(node.left).removesuffix("()").removesuffix("_ns") in clocks
    )


def test_no_module_grows_without_a_reason() -> None:
    """A module over 200 lines of code is listed, and does not grow past its size; one over 320 says why it is one idea."""
    listed, wrong = sizes(), []
    found = {str(path.relative_to(ROOT)): code_lines(path) for path in SOURCES}
    for name, lines in found.items():
        most, why = listed.get(name, (FREE, ""))
        if lines > most:
            wrong.append(
                f"{name} has {lines} lines, and may have {most}: divide it by ideas, or give {SIZES.name} a reason"
            )
        elif name in listed and lines < most - SLACK:
            wrong.append(f"{name} shrank to {lines} lines: run this file as a script, so that it stays so")
        if most > NEEDS_A_REASON and not why:
            wrong.append(f"{name} may have {most} lines without a reason in {SIZES.name}")
    assert wrong == []
    assert set(listed) <= set(found), "modules that are listed, and gone"


def test_every_module_says_what_it_is_for() -> None:
    """A docstring at the top of every module of the package."""
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name != "_version.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    """No absolute path of anybody's home or working directory in what is kept."""
    wrong = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{number}: {found[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (found := MACHINE_PATHS.search(line))
        ]
    assert wrong == []


def test_test_modules_have_names_of_their_own() -> None:
    """Two modules of one name hide one another, for the folders of tests are no packages."""
    names: dict[str, list[str]] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name != "conftest.py":
            names.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}


if __name__ == "__main__":
    known = sizes()
    head = [line for line in SIZES.read_text().splitlines() if line.startswith("#")]
    for path in SOURCES:
        name, lines = str(path.relative_to(ROOT)), code_lines(path)
        most, why = known.get(name, (lines, ""))
        if FREE < lines <= most:
            head.append(f"{lines:4} {name} {why}".rstrip())
        elif lines > most:
            print(f"{name} grew from {most} to {lines} lines: change {SIZES.name} by hand, with a reason")
            head.append(f"{most:4} {name} {why}".rstrip())
    SIZES.write_text("\n".join(head) + "\n")
