"""Find the tools of the agents and servers that ``doctor`` is given, and whether each is governed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ascend_guard.errors import AscendError

from .checks import Check, what_and_remedy

if TYPE_CHECKING:
    from rich.table import Table

Kind = Literal["agent", "server"]

_FRAMEWORKS = {"agent": ("langchain", "langchain_core", "langgraph"), "server": ("mcp", "fastmcp")}
_EXTRA = {"agent": "langchain", "server": "mcp"}
_REMEDIES = {
    "agent": "Put GovernanceMiddleware last in create_agent(middleware=[...]), or give the agent govern_tools(tools).",
    "server": "Call govern_server(server) where the server is created.",
}
_SHOWN, _LONGEST = 8, 60


class Tool(NamedTuple):
    """One tool, for programs: see ``ToolState`` of the integrations."""

    name: str
    governed: bool
    by: str | None
    where: str
    note: str | None


class _Unfit(Exception):
    """The target cannot be inspected.

    Args:
        what: why, in one line.
        remedy: how to fix it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Look(NamedTuple):
    """The tools of agents and servers; none at all if one of them could not be inspected."""

    checks: list[Check]
    tools: list[Tool] | None


def look(agents: list[str], servers: list[str], *, strict: bool) -> Look:
    """Import the targets and find their tools. Output of the imported code goes to standard error.

    Args:
        agents: as typed after ``--agent``: ``module:name`` or ``file.py:name``.
        servers: as typed after ``--server``.
        strict: an ungoverned tool is an error, not only a warning.
    """
    checks: list[Check] = []
    tools: list[Tool] | None = []
    asked: list[tuple[Kind, str]] = [
        *(("agent", name) for name in agents),
        *(("server", name) for name in servers),
    ]
    with _importing(), _quiet():
        for kind, target in asked:
            try:
                found, more = _tools(kind, target, strict=strict)
            except _Unfit as unfit:
                checks.append(Check("tools", "wrong", unfit.what, unfit.remedy))
                tools = None
            except AscendError as error:
                checks.append(Check("tools", "wrong", *what_and_remedy(error)))
                tools = None
            else:
                checks += [_judged(kind, target, found, strict=strict), *more]
                tools = None if tools is None else tools + found
    return Look(checks, tools)


def table(tools: list[Tool]) -> Table:
    """A table of the tools, for people."""
    from rich.text import Text

    from ascend_guard.cli.output import cell
    from ascend_guard.cli.output import table as empty

    grid = empty("tool", "found in", "governed by")
    for tool in tools:
        by = cell(tool.by, "green") if tool.governed else Text("NOT governed", "bold red")
        if tool.note:
            by.append("\n").append_text(cell(tool.note, "dim"))
        grid.add_row(cell(tool.name), cell(tool.where), by)
    return grid


def _judged(kind: Kind, target: str, tools: list[Tool], *, strict: bool) -> Check:
    loose = [tool.name for tool in tools if not tool.governed]
    count = "1 tool" if len(tools) == 1 else f"{len(tools)} tools"
    if not tools:
        return Check(
            "tools",
            "warning",
            f"{target}: no tools were found in it",
            "Is this the object that your program runs?",
        )
    if not loose:
        return Check("tools", "ok", f"{target}: {count}, all governed")
    names = ", ".join(name if len(name) <= _LONGEST else name[:_LONGEST] + "…" for name in loose[:_SHOWN])
    names += ", …" if len(loose) > _SHOWN else ""
    run = "runs" if len(loose) == 1 else "run"
    what = f"{target}: {len(loose)} of {count} {run} without a decision: {_one_line(names)}"
    return Check("tools", "wrong" if strict else "warning", what, _REMEDIES[kind])


def _tools(kind: Kind, target: str, *, strict: bool) -> tuple[list[Tool], list[Check]]:
    """The tools of one target, and further findings."""
    framework = _FRAMEWORKS[kind][0]
    if importlib.util.find_spec(framework) is None:
        what = f"--{kind} inspects objects of {framework}, which is not installed"
        raise _Unfit(what, f"pip install 'ascend-guard[{_EXTRA[kind]}]'")
    thing = _made(_loaded(target), target)
    if kind == "server":
        from ascend_guard_mcp import inspection as servers

        return [Tool(*state) for state in servers.tools_of(thing, target)], []
    from ascend_guard_langchain import inspection as agents

    found = agents.tools_of(thing, target)
    checks = [Check("tools", "warning", _one_line(warning)) for warning in found.warnings]
    if not found.complete:
        what = f"{target}: only a part was inspected, because it refers to more than {agents.MOST:,} objects"
        remedy = "Keep data out of the variables that its functions use."
        checks.append(Check("tools", "wrong" if strict else "warning", what, remedy))
    return [Tool(*state) for state in found.tools], checks


# --- loading --------------------------------------------------------------------------------------------------------


def _loaded(target: str) -> Any:
    """Return the object that ``module:name`` names."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        example = f"{place or name or 'app'}:agent"
        raise _Unfit(
            f"{target} does not name an object in a module", f"Write module:name, such as {example}."
        )
    found: Any = _by_path(Path(place)) if place.endswith(".py") or os.sep in place else _by_name(place)
    owner = place
    for part in name.split("."):
        try:
            further = getattr(found, part)
        except AttributeError:
            raise _Unfit(f"{owner} has no {part}", _meant(part, found)) from None
        except Exception as error:  # computed by code of the application
            raise _failed(target, error, "read") from error
        found, owner = further, f"{owner}{':' if owner == place else '.'}{part}"
    return found


def _meant(name: str, held: object) -> str:
    public = [known for known in vars(held) if not known.startswith("_")] if hasattr(held, "__dict__") else []
    close = get_close_matches(name, public, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    own = [known for known in public if not isinstance(getattr(held, known, None), ModuleType | type)]
    return f"It has: {', '.join(own[-_SHOWN:])}." if own else "It is empty: is this the right file?"


def _by_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise _failed(name, error) from error
        files = [path.stem for path in Path.cwd().glob("*.py")]
        close = get_close_matches(missing, files, n=1)
        remedy = (
            f"Did you mean {close[0]}?" if close else "Run this in its folder, or write the path of its file."
        )
        raise _Unfit(f"there is no module {missing} in {Path.cwd()}, and none is installed", remedy) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _by_path(path: Path) -> ModuleType:
    if not path.is_file():
        file = path.with_name(path.name + ".py")
        remedy = f"Did you mean {file}?" if file.is_file() else "Check the path."
        raise _Unfit(f"there is no file {path}", remedy)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    sys.path.insert(0, str(path.resolve().parent))  # as when it is run
    name = path.stem if known is None else f"_ascend_guard_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise _Unfit(f"{path} is not a Python file", "Name its .py file.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _failed(str(path), error) from error
    return module


def _made(thing: Any, target: str) -> Any:
    """Return the object itself: a function or class is called, an awaitable is awaited."""
    if type(thing) is not functools.partial and not inspect.isclass(thing) and not _is_plain_function(thing):
        return thing
    if needed := _needed(thing):
        what = f"{target} needs arguments ({', '.join(needed)}), which are not available here"
        raise _Unfit(
            what, "Name the agent or server itself, or a function without arguments that returns it."
        )
    try:
        made = thing()
        return asyncio.run(_awaited(made)) if inspect.isawaitable(made) else made
    except (Exception, SystemExit) as error:
        raise _failed(target, error, "called") from error


def _is_plain_function(thing: object) -> bool:
    """Return whether it is a plain function. A governed function is a tool, and is not called to inspect it."""
    return inspect.isroutine(thing) and type(thing).__module__ in ("builtins", "functools")


def _needed(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


async def _awaited(promise: Any) -> Any:
    return await promise


def _failed(what: str, error: BaseException, done: str = "imported") -> _Unfit:
    """Describe in one line why imported code could not be run, and how to fix it."""
    if isinstance(error, SystemExit):
        return _Unfit(
            f"{what} ends the process when it is {done}",
            'Put the code that it runs under if __name__ == "__main__".',
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    said = str(error)
    if isinstance(error, SyntaxError):
        place, said = f" at {error.filename}:{error.lineno}", error.msg
    remedy = "Fix the error, or set what the code needs. It is imported as in your program."
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        extra = next(
            (_EXTRA[kind] for kind, tops in _FRAMEWORKS.items() if top in tops and top != "fastmcp"), None
        )
        remedy = (
            f"pip install 'ascend-guard[{extra}]'"
            if extra
            else f"Install the package that contains the module {top}."
        )
        if Path(f"{top}.py").is_file():
            remedy = f"The file {top}.py here hides the package of that name: rename the file."
    return _Unfit(f"{what} cannot be {done}: {type(error).__name__}: {_one_line(said)}{place}", remedy)


def _is_theirs(file: str) -> bool:
    """Return whether a file belongs to neither Python, nor an installed package, nor this one: the reader can change it."""
    places = {Path(place) for place in sysconfig.get_paths().values()}
    return not file.startswith("<") and file != __file__ and places.isdisjoint(Path(file).parents)


def _one_line(text: str) -> str:
    """Return the text as one line. Only our own texts have several lines."""
    return " ".join(text.split())


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Search modules in the current folder first, as ``python -m`` does."""
    before = list(sys.path)
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send all output to standard error, also from programs and libraries that do not use ``sys.stdout``."""
    sys.stdout.flush()
    kept: int | None = None
    with contextlib.suppress(OSError):
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
