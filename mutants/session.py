"""A pytest plugin: collects the tests of one module once, then tries every mutant of it in a process forked from there.

Everything is imported and collected before a mutant's process starts, so a mutant costs only the time of its tests. The
child replaces the code of the functions that differ; a mutant of code that ran at import gets a new interpreter instead.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import operators
import pytest
from hypothesis import Phase, settings
from targets import TARGETS, Target

SECONDS_OF_TESTS = 60.0
"""The most seconds for the tests of one mutant together, by their times without a fault."""


def digest(*contents: bytes) -> str:
    return hashlib.sha256(b"\0".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[
        :24
    ]


class Session:
    """One module's mutants."""

    def __init__(self, target: Target, tree: Path, cache: Path) -> None:
        self.target, self.tree, self.cache = target, tree, cache
        self.path = tree / target.module
        self.source = self.path.read_text()
        self.failed: Callable[[str], NoReturn] | None = None
        self.survivors: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        phases = (Phase.explicit, Phase.generate)  # the first failure is enough: no shrinking
        settings.register_profile("mutants", settings.default, phases=phases, database=None, derandomize=True)
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failed is not None:
            self.failed(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        gc.unfreeze()  # the tests freeze what collecting has loaded, and what is frozen is not found
        functions = self._functions()
        gc.freeze()
        if not functions:
            raise session.Interrupted(f"no function of {self.path.name} is loaded")
        self.items = {item.nodeid: item for item in session.items}
        covered = self._coverage()
        found = operators.mutants(self.source, list(self.target.by_hand))
        kept = self._read("results")
        listed = self.target.equivalent
        counts = dict.fromkeys(("killed", "equivalent", "survived"), 0)
        begun = time.monotonic()
        for number, mutant in enumerate(found, 1):
            chosen = self._chosen(mutant, covered)
            key = digest(self.source.encode(), mutant.name.encode())
            verdict = kept.get(key)
            if verdict is None or verdict["tests"] != self._hash(verdict["by"] or chosen):
                by, how = self._try(mutant, chosen, covered, functions)
                verdict = {
                    "by": [by] if by else None,
                    "how": how,
                    "name": mutant.name,
                    "tests": self._hash([by] if by else chosen),
                }
                kept[key] = verdict
                self._write("results", kept)
            kind = "killed" if verdict["by"] else "equivalent" if mutant.name in listed else "survived"
            counts[kind] += 1
            if kind == "survived":
                self.survivors.append(mutant.name)
                self._say(f"\r  survived ({verdict['how']}): line {mutant.lines[0]}: {mutant.name}\n")
            elif kind == "killed" and mutant.name in listed:
                self.survivors.append(mutant.name)
                self._say(f"\r  killed, though listed as equivalent: {mutant.name}\n")
            if number % 10 == 0 and sys.__stdout__ is not None and sys.__stdout__.isatty():
                self._say(f"\r  {self.target.name}: {number} of {len(found)}")
        for name in sorted(listed.keys() - {mutant.name for mutant in found}):
            self.survivors.append(name)
            self._say(f"\r  listed as equivalent, but there is no such mutant: {name}\n")
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        self._say(f"\r{self.target.name}: {len(found)} mutants, {told} ({time.monotonic() - begun:.0f} s)\n")
        session.testsfailed = len(self.survivors)
        return True

    def _say(self, text: str) -> None:
        os.write(int(os.environ["MUTANTS_STDOUT"]), text.encode())

    def _read(self, what: str) -> dict[str, Any]:
        path = self.cache / f"{self.target.name}.{what}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _write(self, what: str, kept: dict[str, Any]) -> None:
        path = self.cache / f"{self.target.name}.{what}.json"
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(kept))
        beside.replace(path)  # an interrupted run leaves the old file complete

    def _hash(self, nodes: list[str]) -> str:
        files = sorted({node.partition("::")[0] for node in nodes})
        return digest(
            *(name.encode() for name in nodes), *((self.tree / name).read_bytes() for name in files)
        )

    # Which tests reach which line, and how long they take.

    def _coverage(self) -> dict[str, Any]:
        """Return the tests that pass without a mutant, each with its seconds and the lines of this module that it reaches.

        One run of a test file is measured for all modules, because several modules share their tests.
        """
        tests = self.tree / "tests"
        sources = {target.module: (self.tree / target.module).read_bytes() for target in TARGETS}
        files: dict[str, list[pytest.Item]] = {}
        for item in self.items.values():
            files.setdefault(item.nodeid.partition("::")[0], []).append(item)
        covered: dict[str, Any] = {}
        for name, items in files.items():
            beside = sorted({*tests.glob("*.py"), *(self.tree / name).parent.glob("*.py")})
            helpers = [path.read_bytes() for path in beside if path.name[:5] != "test_"]
            written = (self.tree / name).read_bytes()
            keys = {module: digest(source, written, *helpers) for module, source in sources.items()}
            file = self.cache / f"coverage of {name.replace('/', ' ')}.json"
            kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"keys": {}}
            if kept["keys"].get(self.target.module) != keys[self.target.module]:
                self._say(f"  which lines {name} reaches\n")
                found = self._in_child(lambda report, items=items: self._traced(items, report), 900.0)
                kept = {"keys": keys, "tests": json.loads(found) if found else {}}
                file.write_text(json.dumps(kept))
            for node, (seconds, lines) in kept["tests"].items():
                covered[node] = seconds, lines.get(self.target.module, ())
        return covered

    def _traced(self, items: list[pytest.Item], report: Callable[[str], NoReturn]) -> None:
        modules = {str(self.tree / target.module): target.module for target in TARGETS}
        lines: dict[str, set[int]] = {}
        wrong: list[str] = []
        self.failed = wrong.append  # type: ignore[assignment]  # here the run continues

        def line(frame: types.FrameType, event: str, argument: object) -> Any:
            lines.setdefault(modules[frame.f_code.co_filename], set()).add(frame.f_lineno)
            return line

        def call(frame: types.FrameType, event: str, argument: object) -> Any:
            return line(frame, event, argument) if frame.f_code.co_filename in modules else None

        seen: dict[str, Any] = {}
        for index, item in enumerate(items):
            lines.clear()
            threading.settrace(call)
            sys.settrace(call)
            begun = time.monotonic()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=([*items, None])[index + 1])
            sys.settrace(None)
            if item.nodeid not in wrong:
                took = round(time.monotonic() - begun, 3)
                seen[item.nodeid] = took, {module: sorted(reached) for module, reached in lines.items()}
        report(json.dumps(seen))

    def _chosen(self, mutant: operators.Mutant, covered: dict[str, Any]) -> list[str]:
        """Return the tests that reach a mutant, quick ones first, as far as the time allows."""
        first, last = mutant.lines
        chosen, spent = [], 0.0
        for node, (seconds, lines) in sorted(covered.items(), key=lambda entry: entry[1][0]):
            if mutant.in_function and not any(first <= line <= last for line in lines):
                continue
            spent += seconds
            if chosen and spent > SECONDS_OF_TESTS:
                break
            chosen.append(node)
        return chosen

    # One mutant.

    def _try(
        self,
        mutant: operators.Mutant,
        chosen: list[str],
        covered: dict[str, Any],
        functions: dict[tuple[str, int], list[types.FunctionType]],
    ) -> tuple[str | None, str]:
        if not chosen:
            return None, "no test reaches it"
        limit = 20 + 10 * sum(covered[node][0] for node in chosen)
        tree = mutant.tree()
        code = compile(tree, str(self.path), "exec")
        self.path.write_text(ast.unparse(tree))  # for tests that start processes
        try:
            if not mutant.in_function:
                return self._in_new_interpreter(chosen, limit)
            try:
                found = self._in_child(lambda report: self._run(code, functions, chosen, report), limit)
            except TimeoutError:  # it hangs, which counts as killed
                return chosen[-1], "too slow"
            if found == "other variables":
                return self._in_new_interpreter(chosen, limit)
            return (None, f"{len(chosen)} tests") if found == "survived" else (found or chosen[0], "killed")
        finally:
            self.path.write_text(self.source)

    def _in_new_interpreter(self, chosen: list[str], limit: float) -> tuple[str | None, str]:
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *chosen]
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        try:
            done = subprocess.run(
                command, cwd=self.tree, env=environment, capture_output=True, timeout=limit + 60
            )
        except subprocess.TimeoutExpired:
            return chosen[0], "too slow"
        return (chosen[0], "killed") if done.returncode else (None, f"{len(chosen)} tests")

    def _run(
        self,
        code: types.CodeType,
        functions: dict[tuple[str, int], list[types.FunctionType]],
        chosen: list[str],
        report: Callable[[str], NoReturn],
    ) -> None:
        self.failed = report
        for new in _codes(code):
            for function in functions.get((new.co_qualname, new.co_firstlineno), ()):
                if function.__code__.co_freevars != new.co_freevars:
                    report("other variables")
                function.__code__ = new
        items = [self.items[node] for node in chosen]
        for index, item in enumerate(items):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=([*items, None])[index + 1])
        report("survived")

    def _functions(self) -> dict[tuple[str, int], list[types.FunctionType]]:
        found: dict[tuple[str, int], list[types.FunctionType]] = {}
        for thing in gc.get_objects():
            if type(thing) is types.FunctionType and thing.__code__.co_filename == str(self.path):
                key = thing.__code__.co_qualname, thing.__code__.co_firstlineno
                found.setdefault(key, []).append(thing)
        return found

    def _in_child(self, work: Callable[[Callable[[str], NoReturn]], None], limit: float) -> str:
        """Return what a forked process reports before it ends; empty when it ended otherwise.

        Raises:
            TimeoutError: it did not end in time. It is killed then, with the processes that it started.
        """
        answer = self.cache / f"{self.target.name}.answer"
        answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                with (self.cache / f"{self.target.name}.log").open("w") as log:
                    os.dup2(log.fileno(), 1)
                    os.dup2(log.fileno(), 2)

                def report(text: str) -> NoReturn:
                    if not answer.exists():
                        answer.write_text(text)
                    os._exit(0)

                work(report)
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(3)
        last = time.monotonic() + limit
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > last:
                _kill(child)
                os.waitpid(child, 0)
                raise TimeoutError
            time.sleep(0.003)
        _kill(child)  # the processes that it started and left
        return answer.read_text() if answer.exists() else ""


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)
