"""Organizations and their API keys. Only a key's hash is stored, so a key cannot be recovered, not even from a backup."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from ascend_guard.errors import ConflictError, NotFoundError, ValidationError
from ascend_guard.store.port import Reader, Record, Transaction
from ascend_guard.store.projections import Put, thing

LOCAL = "local"
TIERS = ("free", "pro", "enterprise")
ROLES = ("agent", "admin")

KEY = re.compile(r"(?:owkai|ask)_[A-Za-z0-9_-]{32,128}")
"""The format of a key; use ``fullmatch``. Both prefixes are in use (REST API document, "Authentication")."""

_ORGANIZATION, _KEY = "organization", "api_key"
_EVERYWHERE = ""  # the name under which organizations themselves are registered; no organization has it
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_RANDOM_BYTES = 32
_PREFIX = len("owkai_") + 4
_LONGEST = 255
_PAGE = 1000


class Organization(Struct, frozen=True):
    """A tenant: its agents, actions and keys are separate from all others'.

    Args:
        name: lower-case letters, digits and hyphens.
        tier: free, pro or enterprise; decides the rate limits.
        created_at: seconds since the epoch; None for ``local``, which always exists.
    """

    name: str
    tier: str
    created_at: float | None = None


class KeyInfo(Struct, frozen=True):
    """A key's data without the key itself.

    Args:
        key_id: its number, for revoking it and for the audit trail.
        organization: its organization.
        prefix: its first characters, for people.
        agent_id: the only agent that it may act for; None for any agent of the organization.
        role: agent or admin.
        created_at: seconds since the epoch.
        created_by: who created it.
        revoked_at: seconds since the epoch; None while it is valid.
        signing: its signing secret is derived from this; None when its requests need no signature.
    """

    key_id: str
    organization: str
    prefix: str
    agent_id: str | None
    role: str
    created_at: float
    created_by: str
    revoked_at: float | None = None
    signing: str | None = None


class _Kept(Struct, omit_defaults=True):
    prefix: str
    role: str
    created_by: str
    agent_id: str | None = None
    revoked_at: float | None = None
    revoked_by: str | None = None
    signing: str | None = None


class _Tier(Struct):
    tier: str


# --- organizations -----------------------------------------------------------------------------------------------------


def make_organization(tx: Transaction, name: str, tier: str, by: str) -> Organization:
    """Register an organization.

    Raises:
        ConflictError: an organization of this name exists.
        ValidationError: the name or the tier is invalid.
    """
    if not _NAME.fullmatch(name):
        raise ValidationError(
            f"{name!r} is not a valid name for an organization. Use lower-case letters, digits and hyphens, beginning "
            f"with a letter or a digit, 63 at most."
        )
    if tier not in TIERS:
        raise ValidationError(f"{tier!r} is not a tier. Tiers are {', '.join(TIERS)}.")
    if known(tx, name):
        raise ConflictError(f"Organization {name!r} already exists. Use it, or choose another name.")
    put = [thing(_ORGANIZATION, name, _Tier(tier))]
    tx.record("organization.registered", organization=_EVERYWHERE, actor=by, put=put)
    tx.record("organization.created", organization=name, actor=by, tier=tier)
    return Organization(name, tier, tx.now)


def known(reader: Reader, organization: str) -> bool:
    """Return whether this organization exists."""
    return organization == LOCAL or reader.record_of(_EVERYWHERE, _ORGANIZATION, organization) is not None


def organizations(reader: Reader) -> list[Organization]:
    """Return all organizations, with ``local`` first."""
    made = [
        Organization(record.name, _tier(record), record.created_at)
        for record in _all(reader, _EVERYWHERE, _ORGANIZATION)
    ]
    return [Organization(LOCAL, "enterprise"), *made]


def organization_number(reader: Reader, organization: str) -> int | None:
    """Return an organization's number, for clients that need one; None when it was never created."""
    if organization == LOCAL:
        return 1
    record = reader.record_of(_EVERYWHERE, _ORGANIZATION, organization)
    return None if record is None else record.id + 1


def tier_of(reader: Reader, organization: str) -> str:
    """Return an organization's tier; the smallest for an organization that was never created."""
    if organization == LOCAL:
        return "enterprise"
    record = reader.record_of(_EVERYWHERE, _ORGANIZATION, organization)
    return "free" if record is None else _tier(record)


def _tier(record: Record) -> str:
    return msgspec.json.decode(record.body, type=_Tier).tier


# --- keys ----------------------------------------------------------------------------------------------------------


def make_key(
    tx: Transaction, organization: str, *, agent_id: str | None, role: str, by: str, signed: bool = False
) -> tuple[str, KeyInfo]:
    """Create a key. Only this call returns it.

    Args:
        tx: the transaction.
        organization: its organization.
        agent_id: the only agent that it may act for; None for any.
        role: agent or admin.
        by: who creates it.
        signed: whether its requests must be signed, with the secret from ``signing_secret_of``.

    Raises:
        NotFoundError: there is no such organization.
        ValidationError: the agent's name is empty, which must not mean any agent, or the role is unknown.
    """
    if agent_id is not None and not 0 < len(agent_id.strip()) <= len(agent_id) <= _LONGEST:
        raise ValidationError(
            f"agent_id is empty or longer than {_LONGEST} characters. Name an agent, or leave it out to mean any."
        )
    if role not in ROLES:
        raise ValidationError(f"{role!r} is not a role for a key. Roles are {', '.join(ROLES)}.")
    if not known(tx, organization):
        raise NotFoundError(f"There is no organization {organization!r}. Create it first.")
    key = f"owkai_{secrets.token_urlsafe(_RANDOM_BYTES)}"
    signing = secrets.token_hex(_RANDOM_BYTES) if signed else None
    kept = _Kept(key[:_PREFIX], role, by, agent_id, signing=signing)
    number = str(tx.next_seq(organization))
    info = KeyInfo(number, organization, kept.prefix, agent_id, role, tx.now, by, signing=signing)
    _audit(tx, "api_key.created", info, by, thing(_KEY, hash_of(key), kept))
    return key, info


def revoke_key(tx: Transaction, organization: str, key_id: str, *, by: str) -> KeyInfo:
    """Revoke a key. It cannot be restored. A key that was revoked before stays unchanged.

    Raises:
        NotFoundError: the organization does not have this key.
    """
    number = int(key_id) if _NUMBER.fullmatch(key_id) else 0
    record = tx.record_number(organization, _KEY, number)
    if record is None:
        raise NotFoundError(f"There is no API key {key_id!r}. See `ascend-guard keys list`.")
    info = _info(record)
    if info.revoked_at is not None:
        return info
    kept = msgspec.json.decode(record.body, type=_Kept)
    kept.revoked_at, kept.revoked_by = tx.now, by
    _audit(tx, "api_key.revoked", info, by, thing(_KEY, record.name, kept))
    return msgspec.structs.replace(info, revoked_at=tx.now)


def keys(reader: Reader, organization: str) -> list[KeyInfo]:
    """Return an organization's keys, oldest first, including revoked ones."""
    return [_info(record) for record in _all(reader, organization, _KEY)]


def key_of(reader: Reader, key: str) -> KeyInfo | None:
    """Return a key's data; None when it is unknown or revoked."""
    if not KEY.fullmatch(key):
        return None
    name = hash_of(key)
    record = reader.find_record(_KEY, name)
    # A database may compare text by its own rules, for example case-insensitively.
    if record is None or not hmac.compare_digest(record.name, name):
        return None
    info = _info(record)
    return None if info.revoked_at is not None else info


def signing_secret_of(secret: bytes, info: KeyInfo) -> str | None:
    """Return the secret that signs a key's requests; None when they need no signature.

    It is derived from the store's secret and stored nowhere, so a copy of the database cannot sign.
    """
    if info.signing is None:
        return None
    about = msgspec.json.encode(["request signing", info.organization, info.key_id, info.signing])
    return f"ascs_{hmac.digest(secret, about, 'sha256').hex()}"


def hash_of(key: str) -> str:
    """The hash under which a key is stored. A fast hash is right: 256 random bits cannot be guessed as a password can."""
    return hashlib.sha256(key.encode()).hexdigest()


def _info(record: Record) -> KeyInfo:
    kept = msgspec.json.decode(record.body, type=_Kept)
    return KeyInfo(
        str(record.id),
        record.organization,
        kept.prefix,
        kept.agent_id,
        kept.role,
        record.created_at,
        kept.created_by,
        kept.revoked_at,
        kept.signing,
    )


def _audit(tx: Transaction, event: str, info: KeyInfo, by: str, put: Put) -> None:
    tx.record(
        event,
        organization=info.organization,
        actor=by,
        key_id=info.key_id,
        prefix=info.prefix,
        agent_id=info.agent_id,
        role=info.role,
        **({} if info.signing is None else {"signed": True}),
        put=[put],
    )


def _all(reader: Reader, organization: str, kind: str) -> Iterator[Record]:
    offset = 0
    while page := reader.records(organization, kind, limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)
