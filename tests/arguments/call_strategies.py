"""Functions of any signature, and calls that fit them."""

from __future__ import annotations

import inspect
import types
from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "c", "_merge", "_0", "dict", "len", "bind", "self", "match", "é"]
KINDS = [
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
]


@st.composite
def functions(draw: st.DrawFn) -> types.FunctionType:
    """A function of any signature that returns its own locals."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    kinds = sorted(draw(st.lists(st.sampled_from(KINDS), min_size=len(names), max_size=len(names))))
    parameters = []
    optional = False
    for name, kind in zip(names, kinds, strict=True):
        has_default = draw(st.booleans())
        if kind is not inspect.Parameter.KEYWORD_ONLY:
            has_default = optional = optional or has_default
        default = f"default of {name}" if has_default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    if draw(st.booleans()):
        index = sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in kinds)
        parameters.insert(index, inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL))
    if draw(st.booleans()):
        parameters.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
    space: dict[str, Any] = {}
    exec(f"def tool{inspect.Signature(parameters)}: return locals()", space)
    return space["tool"]


calls = st.tuples(
    st.lists(st.integers(), max_size=5).map(tuple),
    st.dictionaries(st.sampled_from([*NAMES, "args", "kwargs", "x"]), st.integers(), max_size=4),
)


@st.composite
def fitting(draw: st.DrawFn) -> tuple[types.FunctionType, tuple[Any, ...], dict[str, Any]]:
    """A function and a call that fits it, with every argument another list."""
    tool = draw(functions())
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    positional = True
    for name, parameter in inspect.signature(tool).parameters.items():
        kind = parameter.kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            args += [[name, index] for index in range(draw(st.integers(0, 2) if positional else st.just(0)))]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            kwargs |= {extra: [extra] for extra in draw(st.sets(st.sampled_from(["x", "y", "kwargs"])))}
        elif parameter.default is not inspect.Parameter.empty and draw(st.booleans()):
            positional &= kind is inspect.Parameter.KEYWORD_ONLY
        elif kind is not inspect.Parameter.KEYWORD_ONLY and positional and draw(st.booleans()):
            args.append([name])
        elif kind is not inspect.Parameter.POSITIONAL_ONLY:
            positional &= kind is inspect.Parameter.KEYWORD_ONLY
            kwargs[name] = [name]
        elif positional:
            args.append([name])
    return tool, tuple(args), kwargs


def flattened(found: dict[str, Any]) -> dict[str, Any]:
    """What a function saw, with its ``**kwargs`` among the others."""
    return {**{name: value for name, value in found.items() if name != "kwargs"}, **found.get("kwargs", {})}
