"""What the handlers of registered things share: pages, changes, and who may change what an agent says of itself."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import UNSET, Struct

from ascend_guard.engine.registry.records import Entry, Shelf, cleaned
from ascend_guard.errors import AuthorizationDeniedError, NotFoundError
from ascend_guard.model import iso
from ascend_guard.server.handling import Caller, Request
from ascend_guard.server.requests.pages import LARGEST_PAGE, behind, page
from ascend_guard.store.paging import Page
from ascend_guard.store.port import Reader

T = TypeVar("T")


def one_page(
    shelf: Shelf[T], reader: Reader, request: Request[Any, Any]
) -> tuple[list[Entry[T]], dict[str, Any]]:
    """The entries a query asks for, and what their page says of itself."""
    query, ours = request.query, request.organization
    entries = shelf.page(reader, ours, query.limit, query.offset, Page(behind(query.cursor), LARGEST_PAGE))
    last = entries[-1].number if entries else None
    more = last is not None and bool(shelf.page(reader, ours, 1, 0, Page(last)))
    return entries, page(
        shelf.count(reader, ours), len(entries), query.limit, query.offset, str(last) if more else None
    )


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
