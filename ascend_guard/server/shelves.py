"""What the handlers of registered things share: pages, changes, and who may change what an agent says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import UNSET, Struct

from ascend_guard.engine.records import Entry, Shelf, cleaned
from ascend_guard.errors import AuthorizationDeniedError, NotFoundError
from ascend_guard.model import iso
from ascend_guard.store.port import Reader

from .handling import Call, Caller

R = TypeVar("R")
T = TypeVar("T")


def page(total: int, shown: int, limit: int, offset: int) -> dict[str, Any]:
    """What a page of a list says of itself."""
    return {"total": total, "limit": limit, "offset": offset, "has_more": offset + shown < total}


def one_page(shelf: Shelf[T], reader: Reader, call: Call[Any, Any]) -> tuple[list[Entry[T]], dict[str, Any]]:
    """The entries a query asks for, and what their page says of itself."""
    limit, offset = call.query.limit, call.query.offset
    entries = shelf.all(reader, call.organization, limit, offset)
    return entries, page(shelf.count(reader, call.organization), len(entries), limit, offset)


def when(entry: Entry[Any]) -> dict[str, Any]:
    """When it was made and changed, as the API writes times."""
    return {"created_at": iso(entry.created_at), "updated_at": iso(entry.updated_at)}


def changes(body: Struct) -> dict[str, Any]:
    """The fields a body names; an organization's own JSON without its secrets."""
    named = {name: getattr(body, name) for name in body.__struct_fields__}
    given = {name: value for name, value in named.items() if value is not UNSET}
    if "metadata" in given:
        given["metadata"] = cleaned(given["metadata"])
    return given


def require_own(caller: Caller, agent_id: str) -> None:
    """Agents' own doings are for agents and admins.

    Raises:
        AuthorizationDeniedError: the key is another agent's, or the person is no admin.
    """
    caller.require_agent(agent_id)
    if caller.person and not caller.admin:
        raise AuthorizationDeniedError("Only an agent's key or an admin may do this. Ask an admin.")


def number(text: str, what: str) -> int:
    """A number in a path.

    Raises:
        NotFoundError: it is none that anything could have.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFoundError(f"There is no {what} {text!r}.")
    return int(text)


async def look_long(call: Call[Any, Any], work: Callable[[Reader], R]) -> R:
    """Answer a question that takes more than a moment without holding up the other requests."""
    return await asyncio.to_thread(call.services.store.snapshot, work)
