"""What an endpoint is: one row of the table that clients send by and the server answers by."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from urllib.parse import quote

from msgspec import Struct


class Access(StrEnum):
    """Who may use an endpoint."""

    PUBLIC = "public"  # anybody
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
        answer: type of the body of a success; ``dict`` where its fields are the registered thing's own.
        body: type of the request's body; None when it has none.
        query: type whose fields are the query's parameters.
        access: who may use it.
        status: HTTP status of a success.
        refuses: other statuses it answers, besides those every endpoint has.
        aliases: other paths that do the same.
        summary: what it does, in one line.
        body_optional: whether the body may be left out.
        tolerant: whether fields that are unknown are let pass, because published clients send them; what resembles a known
            field is refused all the same. Every other body may have no field but its type's.
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
        """The path with its parameters filled in, each quoted whole, so that none can lead anywhere else."""
        filled = {name: segment(str(value)) for name, value in parameters.items()}
        return self.path.format(**filled)


def segment(text: str) -> str:
    """One path segment. ``.`` and ``..`` would be resolved away by servers and proxies, so they are escaped too."""
    quoted = quote(text, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted
