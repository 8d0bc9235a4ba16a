"""Where a framework opened the tool call's span, the governed call joins it."""

from __future__ import annotations

from typing import Any

import pytest
from listening import Heard, Script
from opentelemetry.trace import StatusCode

from ascend_guard import AuthorizationDeniedError, governed

FOREIGN = {
    "attribute": ("lookup", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup"}),
    "name": ("execute_tool lookup", {}),
    "mcp": ("tools/call lookup", {"mcp.method.name": "tools/call", "gen_ai.tool.name": "lookup"}),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_frameworks_span_is_joined_and_left_open(heard: Heard, kind: str) -> None:
    """It gets what it lacked, keeps what it had, and is ended by whoever opened it."""
    name, attributes = FOREIGN[kind]

    @governed("read", "database", control_plane=Script())
    def lookup() -> str:
        with heard.tracer().start_as_current_span("sql"):
            return "found"

    with heard.tracer().start_as_current_span(name, attributes=attributes) as foreign:
        assert lookup() == "found"
        assert foreign.is_recording()
    (span,) = heard.spans(name)
    assert [each.name for each in heard.spans()] == ["sql", "ascend.submit", "ascend.claim", name]
    for child in heard.spans()[:-1]:
        assert child.parent is not None
        assert child.parent.span_id == span.context.span_id
    found = span.attributes or {}
    assert found["gen_ai.operation.name"] == "execute_tool"
    assert found["gen_ai.tool.name"] == ("database" if kind == "name" else "lookup")
    assert found["gen_ai.agent.id"] == "agent-7"
    assert found["ascend.decision"] == "approved"
    assert found["ascend.action.id"] == "1001"
    assert found["ascend.outcome"] == "completed"


def test_its_duration_is_left_to_whoever_opened_it(heard: Heard) -> None:
    """One tool execution is measured once; what was decided is ours to count."""

    @governed("read", "database", control_plane=Script())
    def lookup() -> None: ...

    with heard.tracer().start_as_current_span("execute_tool lookup"):
        lookup()
    assert heard.points("gen_ai.execute_tool.duration") == []
    assert heard.points("ascend.decisions")[0][1] == 1


def test_a_denial_shows_on_the_joined_span(heard: Heard) -> None:
    """Even when the framework turns the exception into a message for the model."""

    @governed("read", "database", control_plane=Script({"database": "denied"}))
    def lookup() -> None: ...

    with heard.tracer().start_as_current_span("execute_tool lookup"), pytest.raises(AuthorizationDeniedError):
        lookup()
    span = heard.span("execute_tool lookup")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "AuthorizationDeniedError"
    assert (span.attributes or {})["ascend.decision"] == "denied"


def test_one_governed_call_joins_a_span_others_get_their_own(heard: Heard) -> None:
    """Nested in the joined call, or after it under the same framework span."""
    plane = Script({"second": "denied"})

    @governed("read", "nested", control_plane=plane)
    def nested() -> None: ...

    @governed("read", "first", control_plane=plane)
    def first() -> None:
        nested()

    @governed("read", "second", control_plane=plane)
    def second() -> None: ...

    with heard.tracer().start_as_current_span("execute_tool lookup"):
        first()
        with pytest.raises(AuthorizationDeniedError):
            second()
    foreign = heard.span("execute_tool lookup")
    for name in ("nested", "second"):
        own = heard.span(f"execute_tool {name}")
        assert own.parent is not None
        assert own.parent.span_id == foreign.context.span_id
    assert heard.spans("execute_tool first") == []
    assert foreign.status.status_code is StatusCode.UNSET
    assert (foreign.attributes or {})["ascend.decision"] == "approved"


def test_frameworks_inside_a_governed_call_are_joined_too(heard: Heard) -> None:
    """A governed agent tool that runs a framework whose tools are governed."""
    plane = Script()

    @governed("read", "inner", control_plane=plane)
    def inner() -> None: ...

    @governed("order", "outer", control_plane=plane)
    def outer() -> None:
        with heard.tracer().start_as_current_span("execute_tool framework"):
            inner()

    outer()
    assert (heard.span("execute_tool framework").attributes or {})["ascend.action.type"] == "read"
    assert heard.spans("execute_tool inner") == []


def test_a_stream_goes_on_in_the_joined_span(heard: Heard) -> None:
    """Its later steps are in the framework's span even where that is not current any more."""

    @governed("read", "rows", control_plane=Script())
    def rows() -> Any:
        for number in range(2):
            with heard.tracer().start_as_current_span(f"fetch {number}"):
                pass
            yield number

    stream = rows()
    foreign = heard.tracer().start_span("execute_tool lookup")
    from opentelemetry import trace

    with trace.use_span(foreign):
        next(stream)
    assert list(stream) == [1]
    foreign.end()
    span = heard.span("execute_tool lookup")
    for number in range(2):
        fetch = heard.span(f"fetch {number}")
        assert fetch.parent is not None
        assert fetch.parent.span_id == span.context.span_id
    assert (span.attributes or {})["ascend.outcome"] == "completed"


def test_a_span_that_ended_meanwhile_is_left_alone(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    """A stream may outlive the framework's span; the SDK would warn of every write to it."""

    @governed("read", "rows", control_plane=Script())
    def rows() -> Any:
        yield from range(2)

    stream = rows()
    with heard.tracer().start_as_current_span("execute_tool lookup"):
        next(stream)
    assert list(stream) == [1]
    assert heard.span("execute_tool lookup")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("chat model", {"gen_ai.operation.name": "chat"}),
        ("execute_toolbox", {}),
        ("tools/list", {"mcp.method.name": "tools/list"}),
    ],
)
def test_other_spans_are_parents(heard: Heard, name: str, attributes: dict[str, str]) -> None:
    """Only the span of a tool call is joined."""

    @governed("read", "database", control_plane=Script())
    def lookup() -> None: ...

    with heard.tracer().start_as_current_span(name, attributes=attributes):
        lookup()
    own, parent = heard.span("execute_tool database"), heard.span(name)
    assert own.parent is not None
    assert own.parent.span_id == parent.context.span_id
    assert "ascend.action.type" not in (parent.attributes or {})


async def test_the_span_of_a_real_mcp_server_is_joined(heard: Heard) -> None:
    """mcp 2 opens a span for every tools/call it serves."""
    from mcp import Client
    from mcp.server import MCPServer

    server = MCPServer("shop")

    @server.tool()
    @governed("read", "database", control_plane=Script())
    def lookup(order_id: str) -> str:
        return order_id

    async with Client(server) as client:
        await client.call_tool("lookup", {"order_id": "o-1"})
    (served,) = [span for span in heard.spans() if "ascend.action.type" in (span.attributes or {})]
    assert served.name == "tools/call lookup"
    assert (served.attributes or {})["gen_ai.tool.name"] == "lookup"
    assert (served.attributes or {})["ascend.decision"] == "approved"


async def test_the_span_of_a_real_fastmcp_server_is_joined(heard: Heard) -> None:
    """fastmcp's span has the MCP conventions' attributes only."""
    import fastmcp

    server = fastmcp.FastMCP("shop")

    @server.tool
    @governed("read", "database", control_plane=Script())
    def lookup(order_id: str) -> str:
        return order_id

    async with fastmcp.Client(server) as client:
        await client.call_tool("lookup", {"order_id": "o-1"})
    (served,) = [span for span in heard.spans() if "ascend.action.type" in (span.attributes or {})]
    assert (served.attributes or {})["mcp.method.name"] == "tools/call"
    assert not served.name.startswith("execute_tool")
