"""The handlers that kinds of registered things have in common: register, list, get, change, delete, change the state.

The ``HANDLERS`` of a module say which of them an endpoint has, and for which registry. What only one kind does is an
ordinary handler in that kind's module (decision 43). These rules hold for all of them:

1. The caller's right is checked first, then secrets are removed from the body, then one transaction writes the thing and its
   audit record. A refused request has changed nothing (promises 5 and 8).
2. Things are looked up in the caller's organization only (promise 9).
3. A page has at most as many things as the query asks for and ``LARGEST_PAGE`` bytes, and names the cursor of the next page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from ascend_guard.api.agents import WhyBody
from ascend_guard.api.fields import Done, PageQuery
from ascend_guard.engine.registry.records import Entry, R, Records, Registry
from ascend_guard.server.handling import Caller, Handler, Request
from ascend_guard.store.port import Reader, Transaction

from .registered import fields_of, one_page

A = TypeVar("A", bound=Struct)
B = TypeVar("B", bound=Struct)
T = TypeVar("T")
X = TypeVar("X")

Right: TypeAlias = Callable[[Caller, str], None]
"""Raises ``AuthorizationDeniedError`` when the caller may not use the thing with this name."""

Turn: TypeAlias = Callable[[Transaction, str, str, X, str | None, str], Entry[R]]
"""Changes the state of a thing: of this organization, with this name, to this state, for this reason, by this caller."""


def any_caller(caller: Caller, name: str) -> None:
    """The endpoint's own access is enough."""


def registering(
    registry: Registry[R], key: str, title: str, answer: Callable[[Entry[R]], A], right: Right = any_caller
) -> Handler:
    """Register a new thing.

    Args:
        registry: where it is kept.
        key: the field of the body with its name.
        title: the field with its display name; its name is used when the body has none.
        answer: the answer for the thing.
        right: who may.
    """

    async def register(request: Request[Struct, None]) -> A:
        name: str = getattr(request.body, key)
        by = request.caller.name
        right(request.caller, name)
        fields = fields_of(request.body)
        fields[title] = fields[title] or name
        value = msgspec.convert(fields, registry.type, from_attributes=True)
        return answer(
            await request.write(lambda tx: registry.register(tx, request.organization, name, value, by))
        )

    return register


def listing(
    records: Records[T],
    page: Callable[[list[B], dict[str, Any]], A],
    body: Callable[[Entry[T]], B],
    right: Right = any_caller,
) -> Handler:
    """List things, oldest first.

    Args:
        records: where they are kept.
        page: the answer for the things and the fields of ``Many``.
        body: a thing as answers show it.
        right: who may; it gets no name.
    """

    async def listed(request: Request[None, PageQuery]) -> A:
        right(request.caller, "")

        def look(reader: Reader) -> A:
            entries, about = one_page(records, reader, request)
            return page([body(entry) for entry in entries], about)

        return await request.read(look)

    return listed


def getting(
    registry: Registry[R], parameter: str, body: Callable[[Entry[R]], B], right: Right = any_caller
) -> Handler:
    """Get a thing by the parameter of the path that names it."""

    async def get(request: Request[None, None]) -> B:
        name = request.path[parameter]
        right(request.caller, name)
        return body(await request.read(lambda reader: registry.named(reader, request.organization, name)))

    return get


def changing(registry: Registry[R], parameter: str, answer: Callable[[Entry[R]], A]) -> Handler:
    """Change the fields of a thing that the body has."""

    async def change(request: Request[Struct, None]) -> A:
        name, by, changes = request.path[parameter], request.caller.name, fields_of(request.body)
        return answer(
            await request.write(lambda tx: registry.update(tx, request.organization, name, changes, by))
        )

    return change


def deleting(registry: Registry[R], parameter: str, effect: str = "") -> Handler:
    """Delete a thing. ``effect`` is what the message adds."""

    async def delete(request: Request[None, None]) -> Done:
        name, by = request.path[parameter], request.caller.name
        await request.write(lambda tx: registry.remove(tx, request.organization, name, by))
        return Done(message=f"The {registry.what} {name!r} is no longer registered{effect}.")

    return delete


def turning(
    turn: Turn[X, R],
    state: X,
    parameter: str,
    answer: Callable[[Entry[R]], A],
    right: Right = any_caller,
) -> Handler:
    """Change a thing to this state, with a reason for the audit trail."""

    async def turned(request: Request[WhyBody, None]) -> A:
        name, by, reason = request.path[parameter], request.caller.name, request.body.reason
        right(request.caller, name)
        return answer(await request.write(lambda tx: turn(tx, request.organization, name, state, reason, by)))

    return turned
