"""The ``when`` of a rule: CEL, type-checked when the policy loads, evaluated on plain JSON data.

The fields of ``action, tool, resource, agent, risk, session`` are declared one by one under their dotted
names, so a misspelt name does not compile; ``args``, ``context`` and ``risk.indicators`` are maps of any content.
Numbers are declared dynamic, because CEL then compares them across int and float as people expect
(``args.amount > 500`` for 500.01).

Language: https://github.com/google/cel-spec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache
from typing import TypeAlias

import msgspec
from cel_expr_python import cel

from ascend_guard.engine.risk import Risk
from ascend_guard.model import AgentAction

from .functions import functions

__all__ = ["VARIABLES", "Condition", "ConditionError", "Scene", "compile_condition", "scene"]

Reader = Callable[[AgentAction, Risk], object]

VARIABLES: dict[str, tuple[str, Reader]] = {
    "action.type": ("STRING", lambda action, risk: action.action_type),
    "action.excluded": ("DYN", lambda action, risk: [*action.excluded]),
    "action.vouched_decorators": ("DYN", lambda action, risk: [*action.vouched_decorators]),
    "tool.name": ("STRING", lambda action, risk: action.tool_name),
    "tool.mcp_server_name": ("DYN", lambda action, risk: action.mcp_server_name),
    "resource.name": ("STRING", lambda action, risk: action.resource),
    "resource.id": ("DYN", lambda action, risk: action.resource_id),
    "args": ("MAP", lambda action, risk: action.action_details),
    "agent.id": ("STRING", lambda action, risk: action.agent_id),
    "agent.name": ("STRING", lambda action, risk: action.agent_name),
    "agent.model_id": ("DYN", lambda action, risk: action.model_id),
    "context": ("MAP", lambda action, risk: action.context),
    "risk.score": ("DYN", lambda action, risk: risk.score),
    "risk.level": ("STRING", lambda action, risk: risk.level.value),
    "risk.indicators": ("MAP", lambda action, risk: action.risk_indicators),
    "session.id": ("DYN", lambda action, risk: action.session_id),
    "session.orchestration_id": ("DYN", lambda action, risk: action.orchestration_session_id),
    "session.depth": ("DYN", lambda action, risk: action.orchestration_depth),
    "session.parent_action_id": ("DYN", lambda action, risk: action.parent_action_id),
}
"""The variables of conditions: the CEL type of each, and the source of its value.

Strings that an action may lack are declared DYN, and are null when missing.
"""

_ROOTS = sorted({name.partition(".")[0] for name in VARIABLES})
_LONGEST = 10_000
_LITERAL = r"""[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_MATCHES = re.compile(rf"\.\s*matches\s*\(\s*({_LITERAL})\s*\)")
_HAS_FIXED = re.compile(r"\bhas\s*\(\s*((?:" + "|".join(_ROOTS) + r")\s*\.\s*\w+)\s*\)")
_ROOT_WORD = re.compile(r"\b(?:" + "|".join(_ROOTS) + r")\b")
_COMPILER_SAYS = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_OPERATOR = re.compile(r"(?<!\w)(?:_|(?=[-!]))([^\w\s()]+)_(?!\w)")
_STATUS_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")

Scene: TypeAlias = cel.Activation
"""The variables of one call, for any number of conditions."""


class ConditionError(ValueError):
    """A condition that does not compile.

    Args:
        what: what is wrong with it.
        remedy: how to fix it.
        line: which line of the condition, from 1.
    """

    def __init__(self, what: str, remedy: str, line: int = 1) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy, self.line = what, remedy, line


class Condition:
    """A compiled condition. Safe to share between threads.

    Args:
        text: as written.
        program: the compiled expression.
        uses: names of the variables it may read (never too few).
        constant: its constant value, when it reads no variable.
    """

    __slots__ = ("_evaluate", "constant", "text", "uses")

    def __init__(
        self, text: str, program: cel.Expression, uses: frozenset[str], constant: bool | None
    ) -> None:
        self.text = text
        self._evaluate = program.eval
        self.uses = uses
        self.constant = constant

    def test(self, on: Scene | str) -> bool | str:
        """Return True, False, or why the condition could not be evaluated. Never raises.

        Args:
            on: the result of ``scene``; if that is an error, it is returned.
        """
        if isinstance(on, str):
            return on
        try:
            result = self._evaluate(on)
            value = result.value()
            if value is True:
                return True
            if value is False:
                return False
            kind = result.type().name()
        except Exception as error:
            return _plain(str(error) or type(error).__name__)
        if kind in ("ERROR", "UNKNOWN"):
            return _plain(str(value))
        return f"its result is {_kind(kind)}, not true or false"


def scene(action: AgentAction, risk: Risk, uses: Iterable[str]) -> Scene | str:
    """Return the variables named in ``uses``, or why CEL cannot take them. Never raises.

    Only plain bounded JSON data may be passed in (anything else can crash the CEL library); the creator of the action
    ensures this. A text with a NUL character is not passed in: the library cuts it there, and would judge ``safe``
    where the tool gets ``safe\\0rest``. The condition is then an error, so it never allows.
    """
    try:
        values = {name: VARIABLES[name][1](action, risk) for name in uses}
        if _may_hold_nul(values) and _holds_nul(values):
            return "a text of the call has a NUL character, and conditions would not see the text after it"
        made: Scene = _environment().Activation(values)
    except Exception as error:
        return _plain(str(error) or type(error).__name__)
    return made


def _may_hold_nul(values: dict[str, object]) -> bool:
    """Return whether the values may contain NUL. Fast; False is always correct."""
    try:
        return b"\\u0000" in msgspec.json.encode(values)
    except Exception:  # values that cannot be encoded are searched below
        return True


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def compile_condition(text: str) -> Condition:
    """Compile and type-check.

    Raises:
        ConditionError: a syntax error, an unknown name, a wrong operator, a type other than bool or dynamic,
            a regular expression that does not compile, or a condition that is an error for every call.
    """
    if len(text) > _LONGEST:
        raise ConditionError(
            f"the condition has {len(text):,} characters",
            f"at most {_LONGEST:,} are allowed: split it into several rules",
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConditionError("the condition contains a lone surrogate, which is not valid text", "remove it")
    if "\0" in text:
        raise ConditionError("the condition contains a NUL character, which ends it", "remove it")
    program = _compile(text)
    for field in _HAS_FIXED.findall(re.sub(_LITERAL, "''", text)):
        name = re.sub(r"\s", "", field)
        if name in VARIABLES and VARIABLES[name][0] != "MAP":
            raise ConditionError(f"has({name}) does not work: {name} always exists", f"write {name} != null")
    kind = program.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise ConditionError(
            f"the condition is {_kind(kind)}, not true or false", "compare it with something"
        )
    for literal in _MATCHES.findall(text):
        wrong = Condition(text, _compile(f"''.matches({literal})"), frozenset(), None).test(_nothing())
        if isinstance(wrong, str):
            raise ConditionError(f"matches({literal}) never works: {wrong}", "fix the RE2 regular expression")
    condition = Condition(text, program, _uses(text), None)
    if not condition.uses:
        constant = condition.test(_nothing())
        if isinstance(constant, str):
            raise ConditionError(
                f"the condition is an error for every call: {constant}", "compare a value of the call"
            )
        condition.constant = constant
    return condition


def _nothing() -> Scene:
    made: Scene = _environment().Activation({})
    return made


@cache
def _environment() -> cel.Env:
    kinds = {
        "STRING": cel.Type.STRING,
        "DYN": cel.Type.DYN,
        "MAP": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }
    variables = {name: kinds[kind] for name, (kind, _) in VARIABLES.items()}
    return cel.NewEnv(variables=variables, functions=functions())


def _compile(text: str) -> cel.Expression:
    try:
        return _environment().compile(text)
    except Exception as error:
        raise _explained(str(error)) from None


def _uses(text: str) -> frozenset[str]:
    # Words in strings and comments count too: reading an unneeded variable is harmless, missing one is not.
    roots = set(_ROOT_WORD.findall(text))
    return frozenset(
        name
        for name in VARIABLES
        if name.partition(".")[0] in roots and re.search(r"\b" + name.rpartition(".")[2] + r"\b", text)
    )


def _explained(said: str) -> ConditionError:
    first = _COMPILER_SAYS.search(said)
    if first is None or int(first[1]) < 1:
        if "recursion" in said:
            return ConditionError(
                "the condition is nested too deeply", "at most 32 levels: split it into several rules"
            )
        return ConditionError(_plain(said), "fix the condition")
    line, where = int(first[1]), f"(column {first[2]})"
    what = (
        first[3].removesuffix(" (in container '')").partition(" expecting ")[0].removeprefix("Syntax error: ")
    )
    undeclared = re.fullmatch(r"undeclared reference to '(.*)'", what)
    if undeclared:
        name = undeclared[1]
        what = f"the condition uses {_plain(name)!r}, which does not exist {where}"
        return ConditionError(what, _known(name), line)
    overload = "no matching overload" in what
    what = _plain(what).replace("<EOF>", "end of the condition")
    what = f"the condition does not compile: {what} {where}"
    if overload:
        return ConditionError(what, "compare like with like (3.0 with a float, '3' with text)", line)
    return ConditionError(what, "fix the CEL expression (operators are &&, ||, ! and ==)", line)


def _known(name: str) -> str:
    """Return what to write instead of an unknown name."""
    if name.lower() in ("true", "false", "null", "none"):
        return "in CEL, write true, false and null"
    inside = [variable for variable in VARIABLES if variable.startswith(f"{name}.")]
    if inside:
        return f"name one of its fields: {', '.join(inside)}"
    root, dot, rest = name[:60].partition(".")
    roots = get_close_matches(root, ("args", "context"), n=1, cutoff=0.8)
    close = [f"{roots[0]}{dot}{rest}"] if roots else get_close_matches(name[:60], VARIABLES, n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]}?"
    return f"a condition may use {', '.join(VARIABLES)}, mail_within, one_line and CEL's standard functions"


def _plain(said: str) -> str:
    """The library's message, one line of at most 200 characters, without its codes and operator names."""
    said = _STATUS_CODE.sub("", said[:1000])
    said = said.replace("Key not found in map : ", "there is no ")
    said = said.replace("No matching overloads found : ", "the types do not match: ")
    said = _OPERATOR.sub(r"\1", said).rstrip(".")
    said = "".join(c if c.isprintable() else " " for c in said)
    return said if len(said) <= 200 else said[:197] + "..."


def _kind(name: str) -> str:
    known = {"STRING": "a text", "INT": "a number", "UINT": "a number", "DOUBLE": "a number", "NULL": "null"}
    return known.get(name, f"of type {name.lower()}")
