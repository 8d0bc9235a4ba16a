"""The table of everything that an organization registers. A new kind of thing is tested by being listed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, inspect

from ascend_guard.api.endpoint import Access, Endpoint, segment
from ascend_guard.api.table import BY_NAME, REGISTRY


class Thing(Struct, frozen=True, kw_only=True):
    """One kind of thing: its endpoints by name, and what its rows look like.

    Args:
        kind: in the store.
        key: the field of a registration that names it; also the field of an answer, if the answer has it.
        register: registers one.
        list: lists them.
        shown: the field of a page with them.
        get: gets one.
        change: changes one.
        delete: deletes one.
        states: change its state.
        replaces: a second registration with the same name replaces the first one.
        numbered: paths have a thing's number instead of its name.
        text: a field of its row that may have any text, or a list of texts.
        own: agents' keys may write it.
    """

    kind: str
    key: str
    register: str
    list: str
    shown: str
    get: str | None = None
    change: str | None = None
    delete: str | None = None
    states: tuple[str, ...] = ()
    replaces: bool = False
    numbered: bool = False
    text: str = "registered_by"
    own: bool = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        """All of its endpoints."""
        named = (self.register, self.list, self.get, self.change, self.delete)
        return (*(name for name in named if name is not None), *self.states)

    @property
    def writes(self) -> tuple[str, ...]:
        """Those that write."""
        return tuple(name for name in self.endpoints if BY_NAME[name].method != "GET")


THINGS = (
    Thing(
        kind="agent",
        key="agent_id",
        register="register_agent",
        list="list_agents",
        shown="agents",
        get="get_agent",
        change="update_agent",
        delete="deregister_agent",
        states=("activate_agent", "suspend_agent", "deactivate_agent"),
        own=True,
    ),
    Thing(
        kind="model",
        key="model_id",
        register="register_model",
        list="list_models",
        shown="models",
        get="get_model",
        change="update_model",
        delete="delete_model",
    ),
    Thing(
        kind="mcp_server",
        key="server_name",
        register="register_mcp_server",
        list="list_mcp_servers",
        shown="servers",
        get="get_mcp_server",
        delete="delete_mcp_server",
        states=("activate_mcp_server", "deactivate_mcp_server"),
    ),
    Thing(
        kind="component",
        key="component_id",
        register="register_component",
        list="list_components",
        shown="components",
        get="get_component",
        change="update_component",
    ),
    Thing(
        kind="topology",
        key="orchestrator_agent_id",
        register="register_topology",
        list="list_topologies",
        shown="topologies",
        replaces=True,
        text="workers",
    ),
    Thing(
        kind="classification",
        key="resource_id",
        register="classify_resource",
        list="list_classifications",
        shown="classifications",
        delete="delete_classification",
        replaces=True,
        numbered=True,
        text="sensitivity_level",
    ),
)

OTHERS = {
    *("heartbeat", "get_agent_health", "issue_command", "broadcast_command", "list_commands"),
    *("acknowledge_command", "scan_mcp_network", "get_mcp_scan_results", "get_mcp_health"),
    *("get_component_stats", "get_component_impact", "get_agent_dependencies", "set_agent_dependencies"),
    *("get_cve_sync_status", "register_mcp_topology", "get_orchestration_session"),
    *("get_orchestration_session_risk", "get_orchestration_stats", "cascade_kill"),
    *("get_output_filter_config", "set_output_filter_config", "scan_output", "list_findings"),
    *("list_action_findings", "list_alerts", "acknowledge_alert"),
}
"""Endpoints of the registry that do what only one kind of thing does. Tests of their own cover them."""

LINKS = {"model_id"}
"""Fields of a change that need another thing."""


def unlisted() -> set[str]:
    """Endpoints of the registry that are in no row, and listed ones that do not exist."""
    listed = {name for thing in THINGS for name in thing.endpoints} | OTHERS
    return listed ^ {row.name for row in REGISTRY}


def registration(thing: Thing, name: str) -> dict[str, Any]:
    """The smallest body that registers a thing under this name."""
    return {**_required(BY_NAME[thing.register].body), thing.key: name}


def changes(thing: Thing) -> Iterator[dict[str, Any]]:
    """A body for each field that a change may have alone."""
    info = inspect.type_info(BY_NAME[thing.change or ""].body)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        if field.encode_name not in LINKS:
            yield {field.encode_name: _example(field.type)}


def objects(body: type[Struct]) -> list[str]:
    """The fields of a body that take JSON of the caller's own."""
    info = inspect.type_info(body)
    assert isinstance(info, inspect.StructType)
    return [
        field.encode_name
        for field in info.fields
        for kind in _alternatives(field.type)
        if isinstance(kind, inspect.DictType) and isinstance(kind.value_type, inspect.AnyType)
    ]


def path(endpoint: Endpoint, which: str | int) -> str:
    """The path of an endpoint about one thing."""
    return re.sub(r"{\w+}", segment(str(which)), endpoint.path)


def admins_only(endpoint: Endpoint) -> bool:
    """Whether an agent's key is refused."""
    return endpoint.access is Access.ADMIN


def _required(body: type[Struct]) -> dict[str, Any]:
    info = inspect.type_info(body)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: _example(field.type) for field in info.fields if field.required}


def _alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def _example(kind: inspect.Type) -> Any:
    """A value of a type."""
    for one in _alternatives(kind):
        match one:
            case inspect.StrType():
                return "some-text"
            case inspect.LiteralType(values=values):
                return values[0]
            case inspect.BoolType():
                return True
            case inspect.IntType(ge=least):
                return least or 0
            case inspect.ListType(item_type=item, min_length=least):
                return [_example(item)] * (least or 0)
            case inspect.DictType():
                return {}
            case inspect.StructType(cls=body):
                return _required(body)
    raise AssertionError(f"no example of {kind}")


def enlarged(thing: Thing, row: bytes, text: str) -> dict[str, Any]:
    """The value in a row of a thing with this text in it."""
    value: dict[str, Any] = msgspec.json.decode(row)
    value[thing.text] = [text] if isinstance(value[thing.text], list) else text
    return value
