"""What handlers of registered things share: pages, fields of bodies without secrets, the right to act for an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct

from ascend_guard.engine.registry.records import Entry, R, Records, cleaned
from ascend_guard.errors import AuthorizationDeniedError, NotFoundError
from ascend_guard.model import iso
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Caller, Request
from ascend_guard.server.requests.pages import LARGEST_PAGE, Gathered, behind, gather, page
from ascend_guard.store.paging import Page
from ascend_guard.store.port import Reader

B = TypeVar("B")
T = TypeVar("T")

_FREE_JSON = ("metadata", "connection_config")
"""Fields with JSON of the caller's own, in which secrets are redacted by their names and by their shapes."""

_ADDRESSES = ("server_url", "source_url")
"""Fields with an address, in which credentials are redacted."""


def one_page(
    records: Records[T], reader: Reader, request: Request[Any, Any]
) -> tuple[list[Entry[T]], dict[str, Any]]:
    """The entries that a query asks for, and the fields of their page (``Many``)."""
    query, ours = request.query, request.organization
    entries = records.page(reader, ours, query.limit, query.offset, Page(behind(query.cursor), LARGEST_PAGE))
    last = entries[-1].number if entries else None
    more = last is not None and bool(records.page(reader, ours, 1, 0, Page(last)))
    return entries, page(
        records.count(reader, ours), len(entries), query.limit, query.offset, str(last) if more else None
    )


def part(
    entries: Iterable[Entry[T]],
    body: Callable[[Entry[T]], B],
    limit: int,
    first: int | None,
    offset: int = 0,
) -> tuple[Gathered[Entry[T], B], str | None]:
    """A page of entries that must be filtered or counted one by one, oldest first, and the cursor of the next page.

    Args:
        entries: all of them.
        body: what an answer shows of one.
        limit: the most that are shown.
        first: the number after which the page begins.
        offset: how many are skipped before.
    """
    found = gather(entries, body, limit, offset=offset, after=lambda entry: entry.number > (first or 0))
    return found, None if found.last is None else str(found.last.number)


def shown(entry: Entry[R], key: str) -> dict[str, Any]:
    """The fields that answers show of a thing, with its name as ``key``."""
    return {
        "id": entry.number,
        key: entry.name,
        **msgspec.structs.asdict(entry.value),
        "created_at": iso(entry.created_at),
        "updated_at": iso(entry.updated_at),
    }


def fields_of(body: Struct) -> dict[str, Any]:
    """The fields that a body has, without the secrets in them.

    Raises:
        ValidationError: a field of the caller's own JSON is too large or too deep.
    """
    named = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: _without_secrets(name, value) for name, value in named.items() if value is not UNSET}


def _without_secrets(name: str, value: Any) -> Any:
    if name in _FREE_JSON:
        return cleaned(value)
    return scrub(value) if name in _ADDRESSES and value is not None else value


def require_own(caller: Caller, agent_id: str) -> None:
    """What an agent does for itself is allowed to its key, to a key for any agent, and to people who are admins.

    Raises:
        AuthorizationDeniedError: the key is another agent's, or the person is no admin.
    """
    caller.require_agent(agent_id)
    if caller.person and not caller.admin:
        raise AuthorizationDeniedError("Only an agent's key or an admin may do this. Ask an admin.")


def number(text: str, what: str) -> int:
    """A number in a path.

    Raises:
        NotFoundError: nothing can have this number.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFoundError(f"There is no {what} {text!r}.")
    return int(text)
