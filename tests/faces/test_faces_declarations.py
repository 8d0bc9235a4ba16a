"""A wrong declaration is an error where it is written, and says what to write instead."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import Meanwhile, asked, rows

from ascend_guard import (
    AscendError,
    ConfigurationError,
    EmbeddedControlPlane,
    RiskLevel,
    ValidationError,
    governed,
    guard,
)


def tool(order: str, amount: float = 1.0) -> str:
    """A tool."""
    return order


def declared(**options: Any) -> Callable[[], Any]:
    """Declaring a tool with these options."""
    return lambda: governed("order_read", **options)(tool)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "no brackets": (lambda: governed(tool), r"in parentheses"),  # type: ignore[arg-type]
    "no action type": (lambda: governed(None)(tool), r"action_type"),  # type: ignore[arg-type]
    "empty action type": (lambda: governed("")(tool), r"action_type must be a non-empty string"),
    "number as action type": (lambda: governed(5)(tool), r"action_type must be a non-empty string"),  # type: ignore[arg-type]
    "surrogate in the action type": (lambda: governed("\ud800")(tool), r"lone surrogate"),
    "number as tool name": (lambda: governed("x", 5)(tool), r"tool_name must be a non-empty string"),  # type: ignore[arg-type]
    "class": (lambda: governed("x")(dict), r"class dict.*methods that act"),
    "property": (lambda: governed("x")(property(tool)), r"under @property"),
    "cached property": (
        lambda: governed("x")(functools.cached_property(tool)),
        r"callable, not cached_property",
    ),
    "not callable": (lambda: governed("x")(5), r"callable, not int"),
    "none": (lambda: governed("x")(None), r"callable, not NoneType"),
    "redact as text": (declared(redact="password"), r"redact=\('password',\)"),
    "redact as bytes": (declared(redact=b"password"), r"redact"),
    "redact as number": (declared(redact=5), r"redact"),
    "redact of lists": (declared(redact=[["password"]]), r"redact"),
    "redact of numbers": (declared(redact=[5]), r"redact"),
    "redact of no parameter": (
        declared(redact=("ordr",)),
        r"redact names 'ordr', which is not a parameter; did you mean 'order'\?.*'\*\.ordr'",
    ),
    "redact far from any": (declared(redact=("zzz",)), r"parameters: amount, order"),
    "redact inside no parameter": (declared(redact=("ordr.card",)), r"'ordr\.card'.*did you mean 'order'"),
    "redact of two stars": (declared(redact=("*.*",)), r"a key anywhere \('\*\.number'\)"),
    "redact of a star": (declared(redact=("*",)), r"a key anywhere"),
    "redact of an empty step": (declared(redact=("order..card",)), r"a key inside one \('card\.number'\)"),
    "exclude as text": (declared(exclude="order"), r"exclude=\('order',\)"),
    "exclude as number": (declared(exclude=5), r"exclude must be a tuple"),
    "exclude of no parameter": (declared(exclude=("ordr",)), r"exclude names 'ordr'.*did you mean 'order'\?"),
    "exclude inside a parameter": (declared(exclude=("order.id",)), r"only whole parameters.*redact"),
    "exclude anywhere": (declared(exclude=("*.id",)), r"only whole parameters"),
    "excluded in a template": (
        declared(exclude=("order",), resource="{order}"),
        r"\{order\}, which is excluded",
    ),
    "guard: redact of no parameter": (
        lambda: guard("x", parameters={"path": 1}, redact=("paht",)),
        r"did you mean 'path'\?",
    ),
    "guard: exclude of no parameter": (
        lambda: guard("x", parameters={"path": 1}, exclude=("pth",)),
        r"'pth'",
    ),
    "guard: vouch_for": (lambda: guard("x", vouch_for=(tool,)), r"no option 'vouch_for'"),  # type: ignore[call-arg]
    "unknown option": (declared(on_pendig="raise"), r"'on_pendig'; did you mean 'on_pending'\?"),
    "unknown option far from any": (declared(zzz=1), r"no option 'zzz'"),
    "unknown placeholder": (declared(resource="o/{ordr}"), r"\{ordr\}.*amount, order"),
    "unknown placeholder in the id": (declared(resource_id="{ordr}"), r"resource_id template.*\{ordr\}"),
    "attribute in a placeholder": (declared(resource="{order.id}"), r"resource=lambda args"),
    "index in a placeholder": (declared(resource="{order[0]}"), r"resource=lambda args"),
    "empty placeholder": (declared(resource="{}"), r"only parameter names"),
    "format in a placeholder": (declared(resource="{amount:.2f}"), r"resource"),
    "conversion in a placeholder": (declared(resource="{amount!r}"), r"resource"),
    "open brace": (declared(resource="{order"), r"malformed"),
    "number as resource": (declared(resource=5), r"resource must be a string, a template"),
    "wrong on_pending": (declared(on_pending="later"), r"'wait' or 'raise', not 'later'"),
    "unhashable on_pending": (declared(on_pending=["wait"]), r"'wait' or 'raise'"),
    "negative timeout": (declared(timeout=-1), r"at least 0.*not -1"),
    "text as timeout": (declared(timeout="5s"), r"number of seconds.*'5s'"),
    "true as timeout": (declared(timeout=True), r"number of seconds"),
    "nan as timeout": (declared(timeout=math.nan), r"number of seconds"),
    "wrong risk level": (declared(risk_level="hgih"), r"low, medium, high, critical, not 'hgih'"),
    "number as risk level": (declared(risk_level=5), r"low, medium, high, critical"),
    "text as context": (declared(context="production"), r"context"),
    "list as context": (declared(context=["production"]), r"context"),
    "number as risk indicators": (declared(risk_indicators=5), r"risk_indicators"),
    "keys of the context": (declared(context={1: 2}), r"name of an argument is not text|context"),
    "cyclic context": (lambda: declared(context=_cyclic())(), r"in itself|context"),
    "number as model": (declared(model_id=5), r"model_id must be a non-empty string"),
    "empty server": (declared(mcp_server_name=""), r"mcp_server_name must be a non-empty string"),
    "number as session": (declared(orchestration_session_id=5), r"orchestration_session_id"),
    "words as parent": (declared(parent_action_id="the first"), r"parent_action_id is an action's id"),
    "fraction as parent": (declared(parent_action_id=1.5), r"parent_action_id is an action's id"),
    "negative parent": (declared(parent_action_id=-1), r"parent_action_id is an action's id"),
    "enormous parent": (declared(parent_action_id=10**30), r"parent_action_id is an action's id"),
    "text as control plane": (declared(control_plane="sqlite:///x.db"), r"control_plane"),
    "guard: no action type": (lambda: guard(None), r"action_type"),  # type: ignore[arg-type]
    "guard: list as parameters": (lambda: guard("x", parameters=["a"]), r"dictionary of named values"),  # type: ignore[arg-type]
    "guard: redact as text": (lambda: guard("x", redact="password"), r"redact=\('password',\)"),
    "guard: unknown option": (lambda: guard("x", timout=1), r"did you mean 'timeout'\?"),  # type: ignore[call-arg]
    "guard: number as resource": (lambda: guard("x", resource=5), r"resource must be a string"),  # type: ignore[arg-type]
    "guard: wrong on_pending": (lambda: guard("x", on_pending="later"), r"'wait' or 'raise'"),  # type: ignore[arg-type]
    "guard: wrong risk level": (lambda: guard("x", risk_level="none"), r"low, medium, high, critical"),
}


def _cyclic() -> dict[str, Any]:
    cyclic: dict[str, Any] = {}
    cyclic["again"] = cyclic
    return cyclic


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_is_told_with_its_remedy(name: str) -> None:
    """Each is a ConfigurationError, raised before any call, whose message names the remedy."""
    declare, remedy = MISTAKES[name]
    with pytest.raises(ConfigurationError, match=f"(?s){remedy}"):
        declare()


def test_none_means_left_out(plane: EmbeddedControlPlane) -> None:
    """Options handed through as None are as good as not given."""
    options: Any = dict.fromkeys(
        (
            "resource",
            "resource_id",
            "risk_level",
            "risk_indicators",
            "context",
            "timeout",
            "model_id",
            "mcp_server_name",
            "orchestration_session_id",
            "parent_action_id",
            "control_plane",
        )
    )
    governed("order_read", None, **options)(tool)("o-1")
    (row,) = rows(plane)
    assert (row.tool_name, row.resource) == ("tool", "tool")


@given(
    order=st.text(max_size=20),
    amount=st.one_of(
        st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.booleans()
    ),
)
def test_templates_are_filled_from_the_arguments(
    plane: EmbeddedControlPlane, order: str, amount: Any
) -> None:
    """Text as it is, everything else as JSON, defaults included; braces can be doubled."""
    gate = governed("order_read", resource="orders/{order}/{{x}}", resource_id="{amount}")
    gate(tool)(order, amount)
    action = asked(plane, rows(plane)[-1].id)
    shown = action.action_details["order"]
    assert action.resource == f"orders/{shown if isinstance(shown, str) else action.resource[7:-4]}/{{x}}"
    if type(amount) is int and abs(amount) < 2**63:
        assert action.resource_id == str(amount)


NESTED: dict[str, Any] = {
    "card": {"number": "4111", "name": "ann", "owner": {"number": 7}},
    "items": [{"mark": "t1", "number": 1}, {"mark": "t2"}],
    "number": "o-1",
}


@pytest.mark.parametrize(
    ("redact", "hidden"),
    [
        (("card.number",), ["card.number"]),
        (("card.owner.number",), ["card.owner.number"]),
        (("items[].number", "card"), ["card", "items[0].number"]),
        (("items.mark",), ["items[0].mark", "items[1].mark"]),
        (("*.number",), ["card.number", "card.owner.number", "items[0].number", "number"]),
        (("number",), ["card.number", "card.owner.number", "items[0].number", "number"]),
        (("card.nothing",), []),
    ],
)
@pytest.mark.parametrize("face", ["governed", "guard"])
def test_keys_inside_arguments_are_redacted(
    plane: EmbeddedControlPlane, redact: tuple[str, ...], hidden: list[str], face: str
) -> None:
    """By their place, or anywhere; everything else stays readable."""

    def nested(card: Any, items: Any, number: Any) -> None: ...

    if face == "governed":
        governed("order_read", redact=redact)(nested)(**NESTED)
    else:
        with guard("order_read", parameters=NESTED, redact=redact):
            pass
    found = []

    def look(value: Any, place: str) -> None:
        if value == "[REDACTED]":
            found.append(place)
        for key, item in value.items() if isinstance(value, dict) else ():
            look(item, f"{place}.{key}".removeprefix("."))
        for index, item in enumerate(value) if isinstance(value, list) else ():
            look(item, f"{place}[{index}]")

    look(asked(plane, rows(plane)[-1].id).action_details, "")
    assert sorted(found) == hidden


def test_names_that_come_with_the_call(plane: EmbeddedControlPlane) -> None:
    """A function that takes any keyword can be called with any name, so any can be redacted or excluded."""

    @governed("order_read", redact=("note", "card.number"), exclude=("ctx",))
    def anything(**given: Any) -> None: ...

    anything(note="n", card={"number": 1, "name": "ann"}, ctx=object(), order="o-1")
    action = asked(plane, rows(plane)[-1].id)
    assert action.action_details == {
        "note": "[REDACTED]",
        "card": {"number": "[REDACTED]", "name": "ann"},
        "order": "o-1",
    }
    assert action.excluded == ("ctx",)


@pytest.mark.parametrize("wrong", [5, None, b"x", ["a"]])
def test_a_resource_that_is_no_text_blocks(plane: EmbeddedControlPlane, wrong: object) -> None:
    """A callable that describes a resource must say it in words."""
    ran: list[int] = []
    with pytest.raises(ValidationError, match="must return a string"):
        governed("order_read", resource=lambda _: wrong)(lambda: ran.append(1))()  # type: ignore[arg-type, return-value]
    assert ran == []
    assert rows(plane) == []


@pytest.mark.parametrize("timeout", [math.inf, 1e10, 10**30])
@pytest.mark.parametrize("style", ["sync", "async"])
def test_an_enormous_timeout_is_one(plane: EmbeddedControlPlane, timeout: float, style: str) -> None:
    """More seconds than any clock holds mean: as long as the approval is open."""
    import asyncio

    async def coroutine(amount: float) -> str:
        return "ran"

    gate = governed("refund", timeout=timeout)
    with Meanwhile(plane, lambda row: plane.approve(str(row.id), approver="ann")):
        if style == "sync":
            assert gate(lambda amount: "ran")(900.0) == "ran"
        else:
            assert asyncio.run(gate(coroutine)(900.0)) == "ran"


@pytest.mark.parametrize("level", [*RiskLevel, "high"])
def test_risk_levels_reach_the_policy(plane: EmbeddedControlPlane, level: str) -> None:
    """As text or as the enum, it is among the risk indicators."""
    governed("order_read", risk_level=level)(tool)("o-1")
    assert asked(plane, rows(plane)[0].id).risk_indicators == {"risk_level": str(level)}


def test_declarations_are_kept_apart(plane: EmbeddedControlPlane) -> None:
    """What is declared is copied: changing the dictionaries afterwards changes no tool."""
    context = {"environment": "production"}
    names = ["order"]
    governed_tool = governed("order_read", context=context, redact=names)(tool)
    context["environment"] = "test"
    names.clear()
    governed_tool("o-1")
    action = asked(plane, rows(plane)[0].id)
    assert action.context == {"environment": "production"}
    assert action.action_details["order"] == "[REDACTED]"


def test_one_gate_governs_many_tools(plane: EmbeddedControlPlane) -> None:
    """The decorator can be kept and used again; each tool has its own name."""
    gate = governed("order_read")

    @gate
    def first() -> None: ...

    @gate
    def second() -> None: ...

    first()
    second()
    assert [row.tool_name for row in rows(plane)] == ["first", "second"]


def test_errors_are_also_what_python_people_catch() -> None:
    """A declaration mistake is a ValueError, too."""
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(ConfigurationError, AscendError)
