"""What a handler of an endpoint gets, and what it may reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from ascend_guard.engine.intake import Intake
from ascend_guard.engine.liveness import Register
from ascend_guard.engine.policy import Policy
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.redaction.hidden import masks
from ascend_guard.store.port import Reader, Store, Transaction

from .metrics import Meter

B = TypeVar("B")
Q = TypeVar("Q")
R = TypeVar("R")


@masks("signing_secret")
class Caller(Struct, frozen=True):
    """Who asks.

    Args:
        organization: whose things they see.
        name: for the audit trail: a person's address, or ``key:`` and the key's identifier.
        person: signed in, as opposed to an API key.
        role: of a key ``agent`` or ``admin``; of a person ``viewer``, ``approver`` or ``admin``.
        agent_id: the one agent a key was made for.
        groups: a person's.
        issuer: who vouches for a person.
        subject: what the issuer calls them (``sub``): with it, who they are, whatever their name is by now.
        signing_secret: with which a key's requests are signed; None where they need not be.
    """

    organization: str
    name: str
    person: bool = False
    role: str = "agent"
    agent_id: str | None = None
    groups: frozenset[str] = frozenset()
    issuer: str | None = None
    subject: str | None = None
    signing_secret: str | None = None

    @property
    def admin(self) -> bool:
        """Whether they may change what is registered."""
        return self.role == "admin"

    def require_agent(self, agent_id: str) -> None:
        """A key made for an agent acts only as that agent.

        Raises:
            AuthorizationDeniedError: it is another one.
        """
        if self.agent_id is not None and agent_id != self.agent_id:
            raise AuthorizationDeniedError(
                "This API key was made for another agent. Set ASCEND_AGENT_ID to that one, or use this agent's own key."
            )


class Services(Struct):
    """What handlers work with.

    Args:
        store: the database.
        policy: what is allowed.
        clock: seconds since the epoch.
        settings: see ``ServerSettings``.
        register: which processes behind HTTP were heard of.
        intake: takes actions in.
        meter: counts what happens.
        digest_key: of argument digests, for clients that send none.
    """

    store: Store
    policy: Policy
    clock: Callable[[], float]
    settings: ServerSettings
    register: Register
    intake: Intake
    meter: Meter
    digest_key: bytes


class ServerSettings(Struct, frozen=True, kw_only=True):
    """How a server is set up.

    Args:
        environment: its name, for ``/api/deployment-info``.
        region: the same.
        private_webhooks: whether webhooks may lead to private addresses, and over plain HTTP.
        heartbeat: seconds between two heartbeats on the pushed stream.
        tier: how often callers of the organization ``local`` may ask.
        connections_per_address: how many may be open at once; half of all that the process can have when None.
        streams_per_key: how many pushed streams of a key or a person may be open at once.
    """

    environment: str = "production"
    region: str = "local"
    private_webhooks: bool = False
    heartbeat: float = 5.0
    tier: str = "unlimited"
    connections_per_address: int | None = None
    streams_per_key: int = 1000


@masks("headers", "body", "sent")
class Request(Struct, Generic[B, Q], frozen=True):
    """One request, checked against its endpoint.

    Args:
        services: what it may reach.
        caller: who asks.
        path: the path's parameters.
        body: decoded to the endpoint's type; None when there is none.
        query: likewise.
        headers: the request's, by lower-case name.
        correlation_id: ties the answer, its logs and its spans together.
        sent: the body as it came.
    """

    services: Services
    caller: Caller
    path: dict[str, str]
    body: B
    query: Q
    headers: dict[str, str]
    correlation_id: str
    sent: bytes = b""

    @property
    def organization(self) -> str:
        """Whose things are asked for."""
        return self.caller.organization

    async def read(self, work: Callable[[Reader], R]) -> R:
        """Answer a question from the store."""
        return await self.services.store.aread(work)

    async def write(self, work: Callable[[Transaction], R]) -> R:
        """Change something; durable when this returns. ``work`` may run more than once."""
        return await self.services.store.awrite(work)


Handler = Callable[[Request[Any, Any]], Awaitable[Any]]
"""Answers an endpoint with a value of its ``answer`` type; raises ``AscendError`` to refuse."""
