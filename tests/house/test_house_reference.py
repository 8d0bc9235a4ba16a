"""The reference is complete and as the code is: run this file as a script to write its generated parts anew."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import ascend_guard_langchain
import ascend_guard_mcp
import pytest
from opentelemetry.metrics import NoOpMeter
from reference_texts import ATTRIBUTES, OPTIONS, REMEDIES, SETTINGS, SPANS

from ascend_guard import AscendClient, EmbeddedControlPlane, RemoteControlPlane, errors
from ascend_guard.calling import declarations as declarations_module
from ascend_guard.calling.declarations import Declaration, Details, Options, ToolDeclaration
from ascend_guard.calling.governed import FunctionDeclaration, governed
from ascend_guard.calling.guard import guard
from ascend_guard.calling.scope import scope
from ascend_guard.cli.app import _commands
from ascend_guard.config import Sources, configure
from ascend_guard.model import Decision, OutcomeStatus, RiskLevel
from ascend_guard.server.metrics import Meter
from ascend_guard.telemetry import attribute_names as attribute_names
from ascend_guard.telemetry.instruments import Instruments

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EFFECTS = ("allow", "require_approval", "deny")
HOW = "written by `python tests/house/test_house_reference.py`"
SOURCES = [*(ROOT / "ascend_guard").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]
SHARED = ("policy", "database_url", "as_json")
"""Options that nearly every command takes; the page describes them once."""
WHOLE = ("ascend-guard", "ascend-guard demo", "ascend-guard mcp-proxy")
"""The commands whose shared options are shown: the first has them for all, the others lack one."""


def table(head: str, rows: list[tuple[str, ...]]) -> str:
    """Rows as a Markdown table."""
    lines = [head, "| " + " | ".join("---" for _ in rows[0]) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


# --- options ------------------------------------------------------------------------------------------------


def _plain(annotation: object, names: Mapping[str, object]) -> str:
    """A type as it is written, with the values of literals, and without the modules that only a type checker needs.

    Args:
        annotation: the type, or its text.
        names: the module's names, among which aliases of literals are found.
    """
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:typing|collections\.abc|os|ascend_guard[\w.]*)\.", "", text)
    text = re.sub(r"\bDescribe\b", "Callable", text)

    def literal(word: re.Match[str]) -> str:
        values = get_args(names.get(word[0])) if get_origin(names.get(word[0])) is Literal else ()
        return f"Literal[{', '.join(map(repr, values))}]" if values else word[0]

    text = re.sub(r"\b[A-Z]\w+\b", literal, text)
    return "`" + text.replace("|", r"\|") + "`"


def _defaults() -> dict[str, object]:
    fields = zip(
        Options.__struct_fields__[-len(Options.__struct_defaults__) :],
        Options.__struct_defaults__,
        strict=True,
    )
    return dict(fields)


def taken(entry: Callable[..., Any], *declarations: type) -> dict[str, tuple[str, str]]:
    """The options of an entry point, with their types and defaults."""
    found: dict[str, tuple[str, str]] = {}
    signature = inspect.signature(entry)
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name == "self":
            continue
        required = parameter.default is parameter.empty
        found[name] = (
            _plain(parameter.annotation, vars(declarations_module)),
            "required" if required else f"`{parameter.default!r}`",
        )
    defaults = _defaults()
    for declaration in declarations:
        for name, annotation in declaration.__annotations__.items():
            default = defaults.get(name)
            shown = f"`{default!r}`" if isinstance(default, str) else "none"
            text = getattr(annotation, "__forward_arg__", annotation)
            found[name] = _plain(text, vars(declarations_module)), shown
    return found


ENTRIES: dict[str, dict[str, tuple[str, str]]] = {
    "governed": taken(governed, Details, Declaration, ToolDeclaration, FunctionDeclaration),
    "guard": taken(guard.__init__, Details, Declaration),
    "scope": taken(scope),
    "configure": taken(configure, Sources),
}


def described(entry: str, option: str) -> str:
    """What an option of an entry point is for."""
    own = OPTIONS[entry]
    return own[option] if option in own else OPTIONS["governed"][option]


def options(entry: str) -> str:
    """Every option of one entry point."""
    rows = [
        (f"`{option}`", kind, default, described(entry, option))
        for option, (kind, default) in ENTRIES[entry].items()
    ]
    return table("| option | type | default | |", rows)


def test_every_option_is_described_once() -> None:
    """The texts name the options of the entry points, no more and no fewer."""
    for entry, texts in OPTIONS.items():
        assert set(texts) <= set(ENTRIES[entry]), entry
        assert all(described(entry, option) for option in ENTRIES[entry]), entry
    assert set(OPTIONS) == set(ENTRIES)


def arguments(entry: Any) -> str:
    """The arguments of a class or a function, by the ``Args:`` section of its docstring or of the class that takes them."""
    taking: Any = entry
    if isinstance(entry, type):
        entry = next(base for base in entry.__mro__ if "__init__" in vars(base))
        taking = entry.__init__
    names = vars(sys.modules[entry.__module__])
    _, _, section = (inspect.getdoc(entry) or "").partition("Args:\n")
    said = {
        name: " ".join(text.split()).replace("``", "`")
        for name, text in re.findall(r"^    (\w+): (.+(?:\n     +.+)*)", section.partition("\n\n")[0], re.M)
    }
    rows = []
    for name, parameter in inspect.signature(taking).parameters.items():
        if name == "self" or parameter.kind is parameter.VAR_KEYWORD:
            continue
        default = "required" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
        if callable(parameter.default) and parameter.default is not parameter.empty:
            default = f"`{parameter.default.__name__}`"
        rows.append((f"`{name}`", _plain(parameter.annotation, names), default, said[name]))
    return table("| argument | type | default | |", rows)


# --- errors -------------------------------------------------------------------------------------------------


def error_tree() -> list[tuple[int, type[errors.AscendError]]]:
    """Every public error under its parent, with its depth."""

    def under(kind: type[errors.AscendError], depth: int) -> Iterator[tuple[int, type[errors.AscendError]]]:
        yield depth, kind
        for inner in kind.__subclasses__():
            if inner.__module__ == errors.__name__:
                yield from under(inner, depth + 1)

    return list(under(errors.AscendError, 0))


def errors_table() -> str:
    """Every error: what it also is, what it means, and what to do."""
    rows = []
    for depth, kind in error_tree():
        also = [base.__name__ for base in kind.__mro__[1:] if base.__module__ == "builtins"]
        builtin = next((name for name in also if name not in ("Exception", "BaseException", "object")), "")
        meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()).replace("``", "`")
        shown = ". . " * depth + f"`{kind.__name__}`"
        rows.append((shown, f"`{builtin}`" if builtin else "", meaning, REMEDIES[kind.__name__]))
    return table("| error | also a | means | what to do |", rows)


def test_every_error_has_a_remedy() -> None:
    """The tree that is shown is the one that is exported, and each error says what to do."""
    shown = {kind.__name__ for _, kind in error_tree()}
    assert shown == set(errors.__all__) == set(REMEDIES)


# --- settings -----------------------------------------------------------------------------------------------


def variables() -> set[str]:
    """Every environment variable that the source names in a string of its own."""
    found: set[str] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        reads = {
            argument.value
            for node in ast.walk(tree)
            for argument in _read(node)
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        }
        named = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"(?:ASCEND|OTEL)_[A-Z_]*[A-Z]|ASCEND_MCP_HEADER_", node.value)
        }
        found |= reads | named
    found |= {f"ASCEND_{name.upper()}" for name in Sources.__annotations__}
    return {name + "*" if name.endswith("_") else name for name in found}


def _read(node: ast.AST) -> list[ast.expr]:
    """What ``node`` looks up in ``os.environ``, if it does."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"), args=[first, *_]):
            return [first]
        case ast.Subscript(value=ast.Attribute(attr="environ"), slice=index):
            return [index]
        case ast.Compare(left=left, comparators=[ast.Attribute(attr="environ")]):
            return [left]
        case ast.Dict(keys=keys, values=values) if any(
            key is None and isinstance(value, ast.Attribute) and value.attr == "environ"
            for key, value in zip(keys, values, strict=True)
        ):
            return [key for key in keys if key is not None]
    return []


def settings() -> str:
    """Every environment variable."""
    rows = [(f"`{name}`", who, what) for name, (who, what) in SETTINGS.items()]
    return table("| variable | read by | sets |", rows)


def test_every_environment_variable_is_described() -> None:
    """Those that the source names are those that the reference has."""
    assert variables() == set(SETTINGS)


# --- telemetry ----------------------------------------------------------------------------------------------


class _Recording(NoOpMeter):
    """A meter that keeps what it was asked to make."""

    def __init__(self) -> None:
        super().__init__("reference")
        self.made: list[tuple[str, str, str, str]] = []

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Any:
        self.made.append((name, "counter", unit, description))
        return super().create_counter(name, unit, description)

    def create_histogram(self, name: str, unit: str = "", description: str = "", **advice: Any) -> Any:
        self.made.append((name, "histogram", unit, description))
        return super().create_histogram(name, unit, description)


def metrics() -> str:
    """Every metric of governed calls, by its own description."""
    meter = _Recording()
    Instruments(meter)
    rows = [(f"`{name}`", kind, unit.strip("{}"), what) for name, kind, unit, what in meter.made]
    return table("| metric | kind | unit | |", rows)


def server_metrics() -> str:
    """Every metric that the server exposes to Prometheus."""
    rows = []
    for family in Meter().collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        rows.append((f"`{name}`", str(family.type), labels, family.documentation))
    return table("| metric | kind | labels | |", rows)


def attributes() -> str:
    """Every attribute of spans and metrics."""
    return table("| attribute | |", [(f"`{name}`", what) for name, what in ATTRIBUTES.items()])


def spans() -> str:
    """Every span."""
    return table("| span | |", [(f"`{name}`", what) for name, what in SPANS.items()])


def test_every_attribute_and_span_is_described() -> None:
    """Those that telemetry names, and those that the server's spans name."""
    own = {value for name, value in vars(attribute_names).items() if name.isupper() and "." in str(value)}
    tracing = ast.parse((ROOT / "ascend_guard/server/tracing.py").read_text())
    strings = {node.value for node in ast.walk(tracing) if isinstance(node, ast.Constant)}
    servers = {
        text for text in strings if isinstance(text, str) and re.fullmatch(r"(?:http|ascend)\.[a-z_.]+", text)
    }
    assert own | servers == set(ATTRIBUTES)
    observer = (ROOT / "ascend_guard/telemetry/observer.py").read_text()
    opened = set(re.findall(r'\("(ascend\.[a-z]+)", "', observer))
    assert opened == {name for name in SPANS if name.startswith("ascend.")}


def test_the_telemetry_page_has_every_name_too() -> None:
    """The page that explains spans and metrics leaves none of the agent's out."""
    page = (DOCS / "telemetry.md").read_text()
    missing = [name for name in ATTRIBUTES if not name.startswith("http.") and f"`{name}`" not in page
               and f"`{name}=" not in page]  # fmt: skip
    assert missing == ["ascend.correlation_id"]  # of the server's: docs/server.md has it
    assert "`ascend.correlation_id`" in (DOCS / "server.md").read_text()


# --- commands -----------------------------------------------------------------------------------------------


def _plain_help(text: str) -> str:
    return re.sub(r"\[/?bold\]", "`", text).replace("|", r"\|")


def _option(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        shown = parameter.metavar or parameter.name.upper()
    else:
        shown = ", ".join((*parameter.opts, *parameter.secondary_opts))
        shown += f" {parameter.metavar}" if parameter.metavar else ""
    default = parameter.default
    kept = (
        default is not None and default is not False and default not in ("", [], ()) and not callable(default)
    )
    told = (
        "required"
        if parameter.required
        else f"`{'--' + parameter.name if default is True else default}`"
        if kept
        else ""
    )
    text = _plain_help(parameter.help or "")
    variable = f" (`{parameter.envvar}`)" if getattr(parameter, "envvar", None) else ""
    return f"`{shown}`", told, text + variable


def _each(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _each(inner, f"{words} {name}")


def commands() -> str:
    """Every command, with what it does and its own options."""
    parts = []
    for words, command in _each(_commands(), "ascend-guard"):
        inner = getattr(command, "commands", None)
        own = [parameter for parameter in command.params if parameter.name not in SHARED or words in WHOLE]
        summary = _plain_help(" ".join((command.help or "").split()))
        lines = [f"{'##' if words.count(' ') < 2 else '###'} `{words}`", "", summary]
        if inner and words != "ascend-guard":
            lines += ["", "Commands: " + ", ".join(f"`{name}`" for name in inner) + "."]
        if own:
            lines += ["", table("| option | default | |", [_option(parameter) for parameter in own])]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


# --- the glossary -------------------------------------------------------------------------------------------


def test_the_glossary_defines_each_term_once() -> None:
    """In alphabetical order, one or two sentences each, and with every value of a decision and of an outcome."""
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", (DOCS / "glossary.md").read_text(), re.M)[2:]
    terms = [term.casefold() for term, _ in rows]
    assert terms == sorted(terms, key=lambda term: re.sub(r"[^a-z]", "", term))
    assert len(set(terms)) == len(terms)
    assert all(meaning.count(". ") < 3 and meaning.endswith(".") for _, meaning in rows)
    text = " ".join(meaning for _, meaning in rows)
    assert all(f"`{word}`" in text for word in (*Decision, *OutcomeStatus, *RiskLevel, *EFFECTS))


# --- troubleshooting ----------------------------------------------------------------------------------------


def texts() -> list[str]:
    """Every text in the source, as it is put together; ``…`` where a value is filled in."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (
                    getattr(part, "value", "") if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                )
                found.append("".join(str(part) for part in parts))
    return found


def test_the_errors_that_are_explained_are_those_of_the_code() -> None:
    """Each text that the page quotes stands in the source, piece by piece and in this order."""
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = re.findall(r"^### `(.+?)`(?: \(\d+\))?$", page, re.M)
    assert len(quoted) >= 30
    source = "\n".join(texts())
    patterns = {text: ".{0,80}?".join(map(re.escape, filter(None, text.split("…")))) for text in quoted}
    assert [text for text, pattern in patterns.items() if not re.search(pattern, source)] == []


# --- adapters -----------------------------------------------------------------------------------------------

ADAPTERS = [
    (package.__name__, getattr(package, name))
    for package in (ascend_guard_langchain, ascend_guard_mcp)
    for name in ("govern_tool", "govern_tools", "govern_server", "GovernanceMiddleware", "require_governed")
    if hasattr(package, name)
]
"""What the packages for frameworks export that takes options."""


# --- the pages ----------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "options of governed": ("reference.md", lambda: options("governed")),
    "options of guard": ("reference.md", lambda: options("guard")),
    "options of scope": ("reference.md", lambda: options("scope")),
    "options of configure": ("reference.md", lambda: options("configure")),
    "arguments of AscendClient": ("reference.md", lambda: arguments(AscendClient)),
    "arguments of RemoteControlPlane": ("reference.md", lambda: arguments(RemoteControlPlane)),
    "arguments of EmbeddedControlPlane": ("reference.md", lambda: arguments(EmbeddedControlPlane)),
    **{
        f"arguments of {entry.__name__} ({package})": ("reference.md", functools.partial(arguments, entry))
        for package, entry in ADAPTERS
    },
    "errors": ("reference.md", errors_table),
    "settings": ("reference.md", settings),
    "spans": ("reference.md", spans),
    "attributes": ("reference.md", attributes),
    "metrics": ("reference.md", metrics),
    "server metrics": ("reference.md", server_metrics),
    "commands": ("commands.md", commands),
}


def with_part(text: str, name: str) -> str:
    """A page with this part written anew between its markers."""
    begin, end = f"<!-- {name}: {HOW} -->", f"<!-- end of {name} -->"
    assert text.count(begin) == text.count(end) == 1, f"no place for {name}"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{PARTS[name][1]()}\n\n{end}{after}"


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_not_stale(name: str) -> None:
    """What the page shows is what the code has; if not, run this file."""
    text = (DOCS / PARTS[name][0]).read_text()
    assert with_part(text, name) == text


def test_every_command_is_in_the_reference() -> None:
    """Each has a heading of its own, and each option of its own a row."""
    page = (DOCS / "commands.md").read_text()
    for words, command in _each(_commands(), "ascend-guard"):
        assert f"# `{words}`\n" in page
        for parameter in command.params:
            assert all(f"{option}" in page for option in parameter.opts if option.startswith("--")), words


if __name__ == "__main__":
    for part, (document, _) in PARTS.items():
        path = DOCS / document
        path.write_text(with_part(path.read_text(), part))
