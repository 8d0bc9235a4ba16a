"""pydantic: calls validated by it are governed, whichever of the two is on the outside."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from framework_tools import (
    ALLOWED,
    ANSWER,
    CALL,
    DENIED,
    assert_ran,
    assert_refused,
    decided,
    each_shape,
    make,
)
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, validate_call
from pydantic_core import ArgsKwargs

from ascend_guard import AuthorizationDeniedError, ConfigurationError, EmbeddedControlPlane, governed


async def finished(result: Any) -> Any:
    """The result, awaited when there is something to await."""
    return await result if inspect.isawaitable(result) else result


@each_shape
async def test_validate_call_of_a_denied_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """Validated after the raw function was, the governed one is denied and does not run."""
    pair = make(shape, DENIED)
    validate_call(pair.raw)
    tool: Any = validate_call(pair.governed)
    with pytest.raises(AuthorizationDeniedError):
        await finished(tool(**CALL))
    assert_refused(plane, pair)


@each_shape
async def test_validate_call_of_an_allowed_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """It runs once, on the validated arguments, which are also those decided on."""
    pair = make(shape, ALLOWED)
    validate_call(pair.raw)
    tool: Any = validate_call(validate_return=True)(pair.governed)
    assert await finished(tool("o-1", "25.5", ("a", "b"))) == ANSWER
    assert_ran(plane, pair)


@each_shape
def test_a_validated_function_below_the_gate_is_refused(shape: str) -> None:
    """pydantic converts arguments, so the tool would get others than were decided. The message shows the right order."""
    pair = make(shape, DENIED)
    with pytest.raises(
        ConfigurationError, match=r"(?s)update_wrapper_attributes.*@governed\(\.\.\.\)\n    def"
    ):
        governed(DENIED, "orders")(validate_call(pair.raw))
    assert pair.ran == []


@each_shape
async def test_type_adapters_of_a_denied_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """A ``TypeAdapter`` of the governed function, from Python or from JSON, asks and does not run it."""
    pair = make(shape, DENIED)
    TypeAdapter(pair.raw)
    adapter: TypeAdapter[Any] = TypeAdapter(pair.governed)
    for ask in (
        lambda: adapter.validate_python(CALL),
        lambda: adapter.validate_python(ArgsKwargs(("o-1", 25.5, ["a", "b"]))),
        lambda: adapter.validate_json('{"order_id": "o-1", "amount": 25.5, "tags": ["a", "b"]}'),
    ):
        with pytest.raises(AuthorizationDeniedError):
            await finished(ask())
    assert_refused(plane, pair, 3)


@each_shape
async def test_type_adapters_of_an_allowed_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """It runs once for each call."""
    pair = make(shape, ALLOWED)
    TypeAdapter(pair.raw)
    adapter: TypeAdapter[Any] = TypeAdapter(pair.governed)
    assert await finished(adapter.validate_python(CALL)) == ANSWER
    assert_ran(plane, pair)


@each_shape
def test_the_schema_is_the_same(shape: str) -> None:
    """Types, descriptions, defaults and what is required, of the adapter and of the validated function."""
    pair = make(shape, DENIED)
    raw, made = (TypeAdapter[Any](function) for function in (pair.raw, pair.governed))
    assert made.json_schema() == raw.json_schema()
    assert set(made.json_schema()["properties"]) == {"order_id", "amount", "tags", "note"}
    validated = validate_call(pair.governed)
    assert validated.__name__ == pair.raw.__name__
    assert validated.__doc__ == pair.raw.__doc__
    assert inspect.signature(validated) == inspect.signature(validate_call(pair.raw))


@each_shape
async def test_invalid_arguments_are_asked_about_nowhere(plane: EmbeddedControlPlane, shape: str) -> None:
    """What pydantic refuses reaches neither the control plane nor the body."""
    pair = make(shape, ALLOWED)
    tool: Any = validate_call(pair.governed)
    with pytest.raises(ValidationError):
        await finished(tool("o-1", "many", []))
    assert decided(plane) == []
    assert pair.ran == []


async def test_generators_are_governed_under_validation(plane: EmbeddedControlPlane) -> None:
    """Denied generators give no chunk through ``validate_call``, allowed ones all of them, sync and async."""
    ran: list[str] = []

    def chunks(order_id: str) -> Iterator[str]:
        ran.append(order_id)
        yield order_id

    async def achunks(order_id: str) -> AsyncIterator[str]:
        ran.append(order_id)
        yield order_id

    for raw in (chunks, achunks):
        validate_call(raw)
    denied, allowed = governed(DENIED, "orders"), governed(ALLOWED, "orders")
    with pytest.raises(AuthorizationDeniedError):
        list(validate_call(denied(chunks))("o-1"))
    with pytest.raises(AuthorizationDeniedError):
        [chunk async for chunk in validate_call(denied(achunks))("o-1")]
    assert ran == []
    assert list(validate_call(allowed(chunks))("o-2")) == ["o-2"]
    assert [chunk async for chunk in validate_call(allowed(achunks))("o-3")] == ["o-3"]
    assert ran == ["o-2", "o-3"]


def test_governed_functions_as_fields_of_models(plane: EmbeddedControlPlane) -> None:
    """Models that hold a tool as a field hold the governed one, also after copying."""
    pair = make("function", DENIED)

    class Agent(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        tool: Callable[..., Any]

    Agent(tool=pair.raw)
    agent = Agent(tool=pair.governed)
    for holder in (agent, agent.model_copy(), agent.model_copy(deep=True), Agent(**agent.model_dump())):
        with pytest.raises(AuthorizationDeniedError):
            holder.tool(**CALL)
    assert_refused(plane, pair, 4)


def test_governed_methods_of_models(plane: EmbeddedControlPlane) -> None:
    """A method of a model can be governed; the decision is made on its arguments, not on the model."""
    ran: list[str] = []

    class Desk(BaseModel):
        name: str = "desk"

        @governed(DENIED, "orders")
        def drop(self, order_id: str) -> str:
            ran.append(order_id)
            return self.name

        @validate_call
        @governed(ALLOWED, "orders")
        def look(self, order_id: str) -> str:
            ran.append(order_id)
            return self.name

    with pytest.raises(AuthorizationDeniedError):
        Desk().drop("o-1")
    assert ran == []
    assert Desk().look("o-2") == "desk"
    assert ran == ["o-2"]
    assert [seen for _, seen, _ in decided(plane)] == [{"order_id": "o-1"}, {"order_id": "o-2"}]
