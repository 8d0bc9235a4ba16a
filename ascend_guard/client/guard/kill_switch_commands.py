"""Kill-switch commands from SNS and SQS, and the MCP servers that they stop.

The wire format is the SDK document's ("MCP governance", "Kill-switch HTTP fallback"). SQS may deliver a message twice,
late, or before an older one. So the state depends on the set of received commands, never on their order.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from ascend_guard.errors import ValidationError
from ascend_guard.processes import renewed_in_children

__all__ = ["MCPKillSwitchConsumer"]

Key = tuple[str, str]
"""The target of a command: its kind and its name; an empty name means every target of the kind."""

ORGANIZATION: Key = ("organization", "")
EVERY_AGENT: Key = ("agent", "")
EVERY_SERVER: Key = ("server", "")

CLOCK_SKEW = 300.0
"""The most seconds that an UNBLOCK may be dated ahead of this machine's clock. If it were accepted, it would override every
BLOCK until its date."""

_STOPS = frozenset({"BLOCK", "SUSPEND", "QUARANTINE"})
_COMMANDS = _STOPS | {"UNBLOCK", "RATE_LIMIT"}
_TARGETS = frozenset({"agent", "organization", "broadcast", "mcp_server"})
_CONFIRMATIONS = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
_MOST_WRAPPINGS = 8

_log = logging.getLogger("ascend_guard")


class _Wire(msgspec.Struct):
    """The fields that are read from a command; all others are ignored."""

    command_type: str
    command_id: str | int | None = None
    target_type: str | None = None
    target_id: str | int | None = None
    agent_id: str | None = None
    mcp_server: str | None = None
    target_mcp_server_config_id: str | int | None = None
    reason: str | None = None
    parameters: dict[str, Any] | None = None
    issued_by: str | int | None = None
    created_at: str | None = None
    expires_at: str | None = None
    is_broadcast: bool | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was understood, or the block that replaces one that was not.

    Args:
        kind: BLOCK, UNBLOCK, SUSPEND, RATE_LIMIT or QUARANTINE.
        keys: its targets.
        created: when it was issued, seconds since the epoch.
        ends: when it expires; infinite if it has no expiry.
        command_id: its identifier; empty if it has none.
        reason: the reason, as written by the issuer.
        issued_by: the issuer.
        understood: False for the block that replaces an unreadable message.
    """

    kind: str
    keys: frozenset[Key]
    created: float
    ends: float = math.inf
    command_id: str = ""
    reason: str | None = None
    issued_by: str | None = None
    understood: bool = True

    @property
    def stops(self) -> bool:
        """Return whether it blocks: BLOCK, SUSPEND and QUARANTINE do."""
        return self.kind in _STOPS

    def rank(self) -> tuple[object, ...]:
        """Sort key: the newest first, then the longest; the other fields only make the order total."""
        words = (self.command_id, self.reason or "", self.issued_by or "", self.kind)
        return (self.created, self.ends, words, sorted(self.keys))


def parse_command(message: object, now: float) -> Command | None:
    """Read one command from any of its wrappers.

    Args:
        message: a command as a dict, as JSON (str or bytes), in an SNS envelope, or in a raw SQS message.
        now: seconds since the epoch; used as the date of a command without a date in itself or its envelope.

    Returns:
        None when its target is not an agent, organization or MCP server, or when it is not a command (an SNS
        subscription's confirmation).

    Raises:
        ValidationError: it cannot be read; the message says why.
    """
    try:
        fields, sent = _unwrap(message)
        if fields is None or _about_something_else(fields):
            return None
        wire = msgspec.convert(fields, _Wire)
        created = sent if wire.created_at is None else _seconds(wire.created_at)
        ends = None if wire.expires_at is None else _seconds(wire.expires_at)
        kind = wire.command_type.upper()
        if kind not in _COMMANDS:
            raise ValidationError(f"there is no command {wire.command_type!r}")
        keys = _keys(wire)
    except ValidationError:
        raise
    except Exception as error:
        raise ValidationError(str(error)) from error
    return Command(
        kind=kind,
        keys=keys,
        created=now if created is None else created,
        ends=math.inf if ends is None else ends,
        command_id="" if wire.command_id is None else str(wire.command_id),
        reason=wire.reason or None,
        issued_by=None if wire.issued_by is None else str(wire.issued_by),
    )


def read_command(message: object, now: float) -> Command | None:
    """Return the command in any message; None when there is nothing to do.

    An unreadable message may have been a BLOCK. It becomes a block of everything that it may have meant: of all agents
    or all MCP servers if it names that target type, else of the whole organization.

    An UNBLOCK that has expired, or is dated more than ``CLOCK_SKEW`` ahead, is ignored: it releases nothing.
    """
    try:
        command = parse_command(message, now)
    except ValidationError as error:
        _log.error("A kill switch message cannot be read, so everything that it may concern is blocked")
        return Command(
            kind="BLOCK",
            keys=frozenset({_intended(message)}),
            created=now,
            reason=f"a kill switch message could not be read ({error.message[:200]})",
            understood=False,
        )
    if command is not None and command.kind == "UNBLOCK" and not now < command.ends:
        _log.warning("An UNBLOCK (%r) arrived after it had expired; it releases nothing", command.command_id)
        return None
    if command is not None and command.kind == "UNBLOCK" and command.created > now + CLOCK_SKEW:
        _log.warning("An UNBLOCK (%r) is dated in the future; it releases nothing", command.command_id)
        return None
    return command


def _unwrap(message: object) -> tuple[dict[str, Any] | None, float | None]:
    """Return the innermost object, and the time of its envelope; no object for a confirmation."""
    sent: float | None = None
    for _ in range(_MOST_WRAPPINGS):
        if isinstance(message, str | bytes):
            message = msgspec.json.decode(message)
        elif not isinstance(message, dict):
            raise ValidationError(f"it is not a JSON object but {type(message).__name__}")
        elif "command_type" in message:
            break
        elif "Body" in message:
            stamp = (message.get("Attributes") or {}).get("SentTimestamp")
            sent = None if stamp is None else datetime.fromtimestamp(int(stamp) / 1000, UTC).timestamp()
            message = message["Body"]
        elif "Message" in message:
            if message.get("Type") in _CONFIRMATIONS:
                return None, None
            sent = sent if message.get("Timestamp") is None else _seconds(message["Timestamp"])
            message = message["Message"]
        else:
            break
    if not isinstance(message, dict):
        raise ValidationError("it is wrapped too often")
    return message, sent


def _seconds(stamp: str) -> float:
    # In UTC: a time that cannot be expressed in UTC could not be shown later.
    when = datetime.fromisoformat(stamp)
    return (when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)).timestamp()


def _target_type(fields: dict[str, Any]) -> str | None:
    named = fields.get("target_type")
    return named.lower() if isinstance(named, str) and named else None


def _about_something_else(fields: dict[str, Any]) -> bool:
    target_type = _target_type(fields)
    return target_type is not None and target_type not in _TARGETS


def _keys(wire: _Wire) -> frozenset[Key]:
    # A command without a target type is about an agent: published clients read it so.
    target_type = (wire.target_type or "agent").lower()
    everyone = {EVERY_SERVER} if target_type == "mcp_server" else {ORGANIZATION, EVERY_AGENT}
    named: list[tuple[str, object]] = []
    if target_type == "agent":
        named = [("agent", wire.agent_id if wire.target_id is None else wire.target_id)]
    elif target_type == "mcp_server":
        parameter = (wire.parameters or {}).get("mcp_server")
        if not isinstance(parameter, str | None):
            raise ValidationError("parameters.mcp_server is not text")
        named = [
            ("config" if isinstance(wire.target_id, int) else "server", wire.target_id),
            ("config", wire.target_mcp_server_config_id),
            ("server", wire.mcp_server),
            ("server", parameter),
        ]
    keys = {(kind, str(name)) for kind, name in named if name not in (None, "")}
    if wire.is_broadcast or target_type in ("organization", "broadcast"):
        return frozenset(keys | everyone)
    if not keys:
        raise ValidationError(f"it does not say which {target_type} it is about")
    return frozenset(keys)


def _intended(message: object) -> Key:
    try:
        fields, _ = _unwrap(message)
    except Exception:  # any message may concern anything
        return ORGANIZATION
    target_type = _target_type(fields or {})
    return {"agent": EVERY_AGENT, "mcp_server": EVERY_SERVER}.get(target_type or "", ORGANIZATION)


class _Register(msgspec.Struct, frozen=True):
    """The commands about one key: the newest release, and the blocks that it does not end.

    Only blocks that can make a difference are kept: none of the same date that another one outlasts.
    """

    released: float = -math.inf
    blocks: tuple[Command, ...] = ()

    def joined(self, command: Command) -> _Register:
        blocks, released = self.blocks, self.released
        if command.stops:
            blocks = (*blocks, command)
        else:
            released = max(released, command.created)
        kept: list[Command] = []
        for block in sorted(blocks, key=Command.rank, reverse=True):
            # At the same time the block wins.
            if block.created >= released and (not kept or block.ends > kept[-1].ends):
                kept.append(block)
        return _Register(released, tuple(kept))

    def in_force(self, now: float) -> Command | None:
        return next((block for block in self.blocks if now < block.ends), None)


class Switches:
    """The stopped keys. Threads may share it; reading takes no lock, so it also works after a fork."""

    def __init__(self) -> None:
        self._registers: dict[Key, _Register] = {}
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Create a new lock in a forked child: the thread that held the old one stayed in the parent."""
        self._lock = threading.Lock()

    def apply(self, command: Command, keys: Iterable[Key]) -> None:
        """Apply a command to these keys. Repeating it, or another order, changes nothing."""
        if command.stops or command.kind == "UNBLOCK":
            with self._lock:
                registers = dict(self._registers)
                for key in keys:
                    registers[key] = registers.get(key, _Register()).joined(command)
                self._registers = registers

    def stopped_by(self, keys: Iterable[Key], now: float) -> Command | None:
        """Return the newest block in force on the first of these keys that has one."""
        registers = self._registers
        found = (registers[key].in_force(now) for key in keys if key in registers)
        return next((block for block in found if block is not None), None)

    def in_force(self, now: float) -> dict[Key, Command]:
        """Return every stopped key with its newest block in force."""
        found = ((key, register.in_force(now)) for key, register in self._registers.items())
        return {key: block for key, block in found if block is not None}

    def clear(self) -> None:
        """Forget all commands."""
        with self._lock:
            self._registers = {}


class MCPKillSwitchConsumer:
    """Which MCP servers the kill switch stops, fed by the application's own SQS poll loop (SDK document, "MCP
    governance")::

        consumer = MCPKillSwitchConsumer()
        for msg in sqs_messages:
            consumer.apply_message(msg)
        if consumer.is_blocked("filesystem-server"):
            raise RuntimeError("MCP server blocked by administrator")

    - BLOCK, SUSPEND and QUARANTINE block the server that they name; UNBLOCK releases exactly what it names; RATE_LIMIT
      blocks nothing. A command for the organization, or for all its agents, concerns every server; so does a broadcast
      with target type ``mcp_server``. Releasing one server does not lift a block of all, and vice versa.
    - Commands are ordered by ``created_at``, not by their arrival, and may arrive repeatedly; at the same time the block
      wins. A command without a date gets that of its envelope, else the time of its arrival.
    - A block ends at its ``expires_at``. An UNBLOCK that arrives after its own expiry, or is dated more than five minutes
      ahead, releases nothing.
    - A message that cannot be read (no JSON, a wrong type, an unknown command, no target) may have been a BLOCK: it
      blocks every server until an UNBLOCK for all of them (of the organization; or a broadcast with target type
      ``mcp_server``, if the message named that type) is issued after it arrived, or until ``reset``. A message that says
      that it concerns an agent, or anything else that is not an MCP server, is ignored, readable or not.
    - A server has a name and may have a configuration id. When a block and a question have neither in common, it is
      unknown whether they mean the same server, and the server counts as blocked: pass both.

    Anyone who can write to the queue can release: its policy must admit only the topic. Threads may share a consumer.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.switches = Switches()

    def apply_message(self, message: object) -> None:
        """Apply one message. Never raises.

        Args:
            message: a raw SQS message, an SNS envelope, or the command itself; as a dict, or as JSON in str or bytes.
        """
        command = read_command(message, self._clock())
        if command is not None:
            self.apply(command)

    def apply(self, command: Command) -> None:
        """Apply a command that was read before, if it concerns MCP servers."""
        keys = [key for key in command.keys if key == ORGANIZATION or key[0] in ("server", "config")]
        if keys:
            self.switches.apply(command, keys)
            _log.warning("Kill switch: %s (%r) for %r", command.kind, command.command_id, sorted(keys))

    def is_blocked(
        self, mcp_server: str | None = None, mcp_server_config_id: int | str | None = None
    ) -> bool:
        """Return whether this server is stopped. Without a name and an id: whether any server may be stopped.

        Args:
            mcp_server: its name.
            mcp_server_config_id: the id of its configuration.
        """
        return self._stopped_by(mcp_server, mcp_server_config_id) is not None

    def reason(
        self, mcp_server: str | None = None, mcp_server_config_id: int | str | None = None
    ) -> str | None:
        """Return why the server is stopped, as written by the issuer; None when it is not. Arguments as for
        ``is_blocked``."""
        command = self._stopped_by(mcp_server, mcp_server_config_id)
        return None if command is None else command.reason or "kill switch on"

    @property
    def blocked_servers(self) -> list[str]:
        """The names of servers that are blocked by name, sorted. A block of all servers adds no names."""
        return sorted(
            name for kind, name in self.switches.in_force(self._clock()) if kind == "server" and name
        )

    def reset(self) -> None:
        """Forget every command: no server is blocked afterwards. For tests, and for a person who has checked the state."""
        self.switches.clear()

    def _stopped_by(self, server: str | None, config: int | str | None) -> Command | None:
        now = self._clock()
        asked: list[Key] = [("server", server)] if server else []
        if config is not None:
            asked.append(("config", str(config)))
        command = self.switches.stopped_by([ORGANIZATION, EVERY_SERVER, *asked], now)
        if command is not None:
            return command
        kinds = {kind for kind, _ in asked}
        others = self.switches.in_force(now).values()
        maybe = (other for other in others if kinds.isdisjoint(kind for kind, _ in other.keys))
        return max(maybe, key=Command.rank, default=None)
