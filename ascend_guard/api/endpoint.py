"""The type of an endpoint: one row of the table that the clients and the server use."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from urllib.parse import quote

from msgspec import Struct


class Access(StrEnum):
    """The access that an endpoint requires."""

    PUBLIC = "public"  # anyone
    CALLER = "caller"  # an API key or a person
    ADMIN = "admin"  # an admin's API key, or a person who is an admin
    PERSON = "person"  # people only: an API key gets 401 (REST API document, "Authentication Requirements")
    PERSON_ADMIN = "person-admin"  # a person who is an admin


class Endpoint(Struct, frozen=True):
    """One operation of the API.

    Args:
        name: its operation id.
        method: HTTP method.
        path: with ``{parameters}``.
        answer: type of a success's body; ``dict`` where the registered thing itself defines the fields.
        body: type of the request's body; None for no body.
        query: type whose fields are the query's parameters.
        access: the required access.
        status: HTTP status of a success.
        refuses: further statuses that it answers, besides those of every endpoint.
        aliases: other paths of the same operation.
        summary: what it does, in one line.
        body_optional: whether the body may be left out.
        tolerant: whether unknown fields are accepted, because published clients send them. A name similar to a known field
            is refused even then. Other bodies may have only the fields of their type.
    """

    name: str
    method: str
    path: str
    answer: Any
    body: Any = None
    query: Any = None
    access: Access = Access.CALLER
    status: int = 200
    refuses: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    summary: str = ""
    body_optional: bool = False
    tolerant: bool = False

    def url(self, **parameters: Any) -> str:
        """Return the path with its parameters, each percent-encoded, so that no parameter can change the path."""
        filled = {name: segment(str(value)) for name, value in parameters.items()}
        return self.path.format(**filled)


def segment(text: str) -> str:
    """Encode one path segment. ``.`` and ``..`` are escaped too, because servers and proxies would resolve them."""
    quoted = quote(text, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted
