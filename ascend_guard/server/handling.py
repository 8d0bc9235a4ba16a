"""What the handler of an endpoint receives, and what it may use."""

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
    """The authenticated caller of a request.

    Args:
        organization: the organization whose data the caller sees.
        name: for the audit trail: a person's address, or ``key:`` and the key's identifier.
        person: a person who signed in, as opposed to an API key.
        role: for a key ``agent`` or ``admin``; for a person ``viewer``, ``approver`` or ``admin``.
        agent_id: the only agent of a key, or None.
        groups: a person's groups.
        issuer: the issuer of a person's token.
        subject: the issuer's ``sub``: with the issuer, it identifies the person, even under a new name.
        signing_secret: signs a key's requests; None if they need no signature.
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
        """Return whether the caller may change what is registered."""
        return self.role == "admin"

    def require_agent(self, agent_id: str) -> None:
        """Require that a key for one agent acts only as that agent.

        Raises:
            AuthorizationDeniedError: the key is for another agent.
        """
        if self.agent_id is not None and agent_id != self.agent_id:
            raise AuthorizationDeniedError(
                "This API key is for another agent. Set ASCEND_AGENT_ID to that agent, or use this agent's own key."
            )


class Services(Struct):
    """What handlers use.

    Args:
        store: the database.
        policy: the policy.
        clock: seconds since the epoch.
        settings: see ``ServerSettings``.
        register: renews the leases of processes behind HTTP.
        intake: accepts actions.
        meter: counts for the metrics.
        digest_key: the key of argument digests, for clients that send none.
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
    """The settings of a server.

    Args:
        environment: its name, for ``/api/deployment-info``.
        region: its region, for the same.
        private_webhooks: whether webhooks may use private addresses, and plain HTTP.
        heartbeat: seconds between two heartbeats on the pushed stream.
        tier: the rate limit of the organization ``local``.
        connections_per_address: the most open connections of one address; None for half of all that the process can have.
        streams_per_key: the most open pushed streams of one key or person.
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
        services: what the handler may use.
        caller: the authenticated caller.
        path: the path's parameters.
        body: decoded to the endpoint's type; None for no body.
        query: likewise.
        headers: the request's headers, by lower-case name.
        correlation_id: connects the answer, its logs and its spans.
        sent: the body as received.
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
        """The organization of the request."""
        return self.caller.organization

    async def read(self, work: Callable[[Reader], R]) -> R:
        """Read from the store."""
        return await self.services.store.aread(work, current=True)

    async def write(self, work: Callable[[Transaction], R]) -> R:
        """Write to the store; durable when this returns. ``work`` may run more than once."""
        return await self.services.store.awrite(work)


Handler = Callable[[Request[Any, Any]], Awaitable[Any]]
"""Answers an endpoint with a value of its ``answer`` type; raises ``AscendError`` to refuse."""
