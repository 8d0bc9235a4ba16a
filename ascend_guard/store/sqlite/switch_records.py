"""The content of a switch file: its records, its damage, and which switches are on. See ``switch_file``."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from ascend_guard.model import KillSwitchState, iso

EVERYONE = ""
QUIET = "0" * 32
START = len(QUIET) + 1
"""The offset of the header, after the alarm and its line break."""

_STATE = "It is unknown which agents are stopped, so all agents are"

Identity = tuple[int, int, int, int, int]
"""Inode, size, both times in nanoseconds, and device: to find out whether a file has changed."""

Part = tuple[int, int, str]
"""A part of a file: first byte, end, SHA-256 of its content."""


class Entry(Struct, frozen=True, omit_defaults=True):
    """One record.

    Args:
        id: random and unique.
        kind: ``on`` or ``off``.
        organization: the organization of the agents.
        agent: the agent; empty for every agent.
        reason: the reason of an ``on``.
        by: who turned it on or off.
        at: seconds since the epoch.
        released: of an ``off``: the switches that it turns off, by ``id``.
        void: of an ``off``: damage that it clears, as (first byte, end, SHA-256 of the content).
        alarm: of an ``off``: the alarm that it clears.
    """

    id: str
    kind: str
    organization: str
    agent: str = EVERYONE
    reason: str = ""
    by: str = ""
    at: float = 0.0
    released: tuple[str, ...] = ()
    void: tuple[Part, ...] = ()
    alarm: str = ""

    @property
    def state(self) -> KillSwitchState:
        """Return its state for the agents that it stops."""
        return KillSwitchState(True, self.reason, self.agent or None, iso(self.at), self.by)


class Mark(Struct, frozen=True):
    """How much of which file the database has recorded: ``size`` bytes with this SHA-256, without the alarm."""

    nonce: str
    size: int
    digest: bytes


class _Header(Struct, frozen=True, rename={"file": "ascend-guard"}):
    file: str
    version: int
    nonce: str


class Damage(Struct, frozen=True):
    """What is wrong with the file.

    Args:
        what: the text for people.
        beyond_repair: a new file is needed.
        void: what an ``off`` can clear; see ``Entry``.
        alarm: likewise.
    """

    what: str
    beyond_repair: bool = False
    void: tuple[Part, ...] = ()
    alarm: str = ""


class Snapshot:
    """One reading of the file. Immutable."""

    __slots__ = ("by_organization", "content", "damage", "entries", "everyone", "identity", "nonce", "on")

    def __init__(
        self,
        identity: Identity | None,
        content: bytes,
        nonce: str | None,
        entries: Sequence[tuple[int, Entry]] = (),
        damage: Damage | None = None,
    ) -> None:
        self.identity = identity
        self.content = content
        self.nonce = nonce
        self.entries = tuple(entries)
        self.damage = damage
        released = {id_ for _, entry in entries for id_ in entry.released}
        self.on = tuple(entry for _, entry in entries if entry.kind == "on" and entry.id not in released)
        self.by_organization: dict[str, dict[str, KillSwitchState]] = {}
        for entry in self.on:
            self.by_organization.setdefault(entry.organization, {})[entry.agent] = entry.state
        self.everyone = None if damage is None else KillSwitchState(True, f"{damage.what}. {_STATE}")

    def switches(self, organization: str) -> dict[str, KillSwitchState]:
        """Return the switches that are on, by agent; ``''`` is every agent."""
        on = self.by_organization.get(organization, {})
        return dict(on) if self.everyone is None else {**on, EVERYONE: self.everyone}

    def mark(self) -> Mark:
        """Return what the database must store once it has recorded all of this."""
        assert self.nonce is not None
        return Mark(self.nonce, len(self.content), self.digest(len(self.content)))

    def beginning(self) -> Mark:
        """The same before anything is recorded."""
        assert self.nonce is not None
        size = self.content.index(b"\n", START) + 1
        return Mark(self.nonce, size, self.digest(size))

    def digest(self, size: int) -> bytes:
        """Return the digest of the first ``size`` bytes, without the alarm."""
        return hashlib.sha256(self.content[START:size]).digest()

    def contains(self, mark: Mark) -> bool:
        """Return whether this is the file that the database names, with everything that the database has recorded."""
        return (
            self.nonce == mark.nonce
            and len(self.content) >= mark.size
            and self.digest(mark.size) == mark.digest
        )


class Parsed(Struct, frozen=True):
    """The records of a file and where each ends, the invalid parts, and whether a record occurs twice."""

    entries: list[tuple[int, Entry]]
    void: list[Part]
    repeated: bool


class Codec:
    """Writes and reads records under one key.

    Args:
        secret: the store's.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"kill switch file", "sha256")

    def new(self, entries: Sequence[Entry]) -> tuple[str, bytes]:
        """Return the nonce and the content of a new file."""
        nonce = secrets.token_hex(16)
        body = msgspec.json.encode(_Header("kill switches", 1, nonce))
        head = QUIET.encode() + b"\n" + body + b"\t" + self._mac("", body) + b"\n"
        return nonce, head + self.lines(nonce, entries)

    def lines(self, nonce: str, entries: Sequence[Entry]) -> bytes:
        """Return records in their written form."""
        lines = []
        for entry in entries:
            body = msgspec.json.encode(entry)
            lines.append(b"\n" + body + b"\t" + self._mac(nonce, body) + b"\n")
        return b"".join(lines)

    def header(self, content: bytes) -> tuple[str | None, int]:
        """Return the nonce, None for a foreign file, and where the header ends."""
        end = content.find(b"\n", START)
        if content[START - 1 : START] != b"\n" or end < 0:
            return None, 0
        body, _, mac = content[START:end].rpartition(b"\t")
        if not hmac.compare_digest(mac, self._mac("", body)):
            return None, 0
        header = msgspec.json.decode(body, type=_Header)
        return (header.nonce, end + 1) if header.version == 1 else (None, 0)

    def parse(self, content: bytes, nonce: str, start: int, known: Sequence[tuple[int, Entry]]) -> Parsed:
        """Read the records from ``start`` on; earlier ones are known."""
        entries = list(known)
        used = {entry.id for _, entry in entries}
        void: list[Part] = []
        repeated = False
        while start < len(content):
            end = content.find(b"\n", start)
            end = len(content) if end < 0 else end
            line = content[start:end]
            if line:
                entry = self._entry(line, nonce) if end < len(content) else None
                if entry is None:
                    void.append((start, end, hashlib.sha256(line).hexdigest()))
                else:
                    repeated |= entry.id in used
                    used.add(entry.id)
                    entries.append((end + 1, entry))
            start = end + 1
        return Parsed(entries, void, repeated)

    def _entry(self, line: bytes, nonce: str) -> Entry | None:
        body, _, mac = line.rpartition(b"\t")
        if not hmac.compare_digest(mac, self._mac(nonce, body)):
            return None
        return msgspec.json.decode(body, type=Entry)

    def _mac(self, nonce: str, body: bytes) -> bytes:
        return hmac.digest(self._key, nonce.encode() + b"\n" + body, "sha256").hex().encode()


def damage_of(content: bytes, parsed: Parsed, name: str) -> Damage | None:
    """Return what is wrong with a file whose header is valid, without damage that has been cleared."""
    cleared = {part for _, entry in parsed.entries for part in entry.void}
    void = tuple(part for part in parsed.void if part not in cleared)
    alarm = content[: len(QUIET)].decode("latin-1")
    if alarm == QUIET or any(entry.alarm == alarm for _, entry in parsed.entries):
        alarm = ""
    if parsed.repeated:
        return Damage(f"{name} contains a record twice", beyond_repair=True)
    if void:
        what = "contains a record that is torn or was not written with the store's key"
        return Damage(f"{name} {what}", void=void, alarm=alarm)
    if alarm:
        return Damage(f"{name} says that a kill switch was turned on while the disk was full", alarm=alarm)
    return None


def turned_on(organization: str, agent_id: str, reason: str, by: str, at: float) -> Entry:
    """A new ``on`` record."""
    return Entry(secrets.token_hex(16), "on", organization, agent_id, _text(reason), _text(by), at)


def turned_off(organization: str, agent_id: str, at: float, seen: Snapshot) -> Entry:
    """A new ``off`` record for this agent's switches in a snapshot. For every agent, it clears damage too."""
    released = tuple(
        entry.id for entry in seen.on if (entry.organization, entry.agent) == (organization, agent_id)
    )
    damage = seen.damage if agent_id == EVERYONE else None
    void, alarm = ((), "") if damage is None else (damage.void, damage.alarm)
    return Entry(
        secrets.token_hex(16),
        "off",
        organization,
        agent_id,
        at=at,
        released=released,
        void=void,
        alarm=alarm,
    )


def _text(text: str) -> str:
    """Remove characters that UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()
