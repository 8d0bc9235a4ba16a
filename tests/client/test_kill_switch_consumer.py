"""Kill-switch messages for MCP servers: every shape, any order, any number of times, and whatever is no message at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import SCHEDULES

from ascend_guard.client.guard.kill_switch_commands import MCPKillSwitchConsumer, parse_command

NOW = 1_800_000_000.0
SERVERS = ("files", "mail")
STOPS = ("BLOCK", "SUSPEND", "QUARANTINE")


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def command(
    kind: str, target_id: str | int | None = "files", at: float = NOW, **fields: Any
) -> dict[str, Any]:
    return {
        "command_id": fields.pop("command_id", f"{kind}-{target_id}-{at}"),
        "command_type": kind,
        "target_type": "mcp_server",
        "target_id": target_id,
        "reason": "looks wrong",
        "parameters": {},
        "status": "pending",
        "issued_by": "ops",
        "issued_via": "console",
        "created_at": stamp(at),
        "expires_at": None,
        "is_broadcast": False,
        **fields,
    }


def envelope(message: object) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {
        "Type": "Notification",
        "MessageId": "1",
        "Message": text,
        "Timestamp": "2027-01-15T08:00:00.123Z",
    }


SHAPES: dict[str, Any] = {
    "dict": lambda it: it,
    "str": json.dumps,
    "bytes": lambda it: json.dumps(it).encode(),
    "sns": envelope,
    "sns as str": lambda it: json.dumps(envelope(it)),
    "sqs raw": lambda it: {"MessageId": "1", "ReceiptHandle": "r", "Body": json.dumps(it)},
    "sqs decoded": lambda it: {"Body": it, "Attributes": {"SentTimestamp": "1800000000123"}},
    "sqs of sns": lambda it: {"MessageId": "1", "ReceiptHandle": "r", "Body": json.dumps(envelope(it))},
}


def consumer_with(*messages: object, clock: Clock | None = None) -> MCPKillSwitchConsumer:
    consumer = MCPKillSwitchConsumer(clock=clock or Clock())
    for message in messages:
        consumer.apply_message(message)
    return consumer


# --- what commands do --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", STOPS)
def test_a_stop_and_its_release_in_every_shape(kind: str, shape: str) -> None:
    """BLOCK, SUSPEND and QUARANTINE stop the server they name, and UNBLOCK lets it go, whatever they are wrapped in."""
    wrap = SHAPES[shape]
    consumer = consumer_with(wrap(command(kind)))
    assert consumer.is_blocked("files")
    assert not consumer.is_blocked("mail")
    assert consumer.reason("files") == "looks wrong"
    assert consumer.blocked_servers == ["files"]
    consumer.apply_message(wrap(command("UNBLOCK", at=NOW + 1)))
    assert not consumer.is_blocked("files")
    assert consumer.reason("files") is None
    assert consumer.blocked_servers == []


@pytest.mark.parametrize(
    "fields",
    [
        {"target_id": None, "parameters": {"mcp_server": "files"}},
        {"target_id": None, "mcp_server": "files"},
        {"target_id": None, "parameters": None, "target_mcp_server_config_id": 7, "mcp_server": "files"},
        {"command_type": "block"},
        {"target_type": "MCP_SERVER"},
        {"issued_by": 4, "command_id": 12, "colour": "red"},
        {"created_at": None},
        {"created_at": "2027-01-15T08:00:00"},
        {"created_at": "2027-01-15T08:00:00Z"},
    ],
    ids=str,
)
def test_the_ways_to_say_block(fields: dict[str, Any]) -> None:
    """What the published backend and consumer use for a name, a case and a date is understood as it was meant."""
    consumer = consumer_with({**command("BLOCK"), **fields})
    assert consumer.is_blocked("files")
    assert not consumer.is_blocked("mail")


def test_as_code_for_the_published_consumer_has_it() -> None:
    """Undated plain commands count in the order they come in; ``reset`` and the keyword names are there."""
    clock = Clock()
    consumer = MCPKillSwitchConsumer(clock=clock)
    bare = {
        "target_type": "mcp_server",
        "parameters": {"mcp_server": "files"},
        "target_mcp_server_config_id": 7,
    }
    consumer.apply_message({**bare, "command_type": "BLOCK"})
    assert consumer.is_blocked(mcp_server="files")
    assert consumer.is_blocked(mcp_server_config_id=7)
    assert consumer.is_blocked("mail", 7)
    assert not consumer.is_blocked("mail", 8)
    assert not consumer.is_blocked(mcp_server_config_id=8)
    clock.now += 1
    consumer.apply_message({**bare, "command_type": "UNBLOCK"})
    assert not consumer.is_blocked("files", 7)
    consumer.apply_message({**bare, "command_type": "BLOCK"})
    consumer.reset()
    assert not consumer.is_blocked("files", 7)


def test_rate_limit_neither_blocks_nor_releases() -> None:
    """It is understood and leaves the state as it was."""
    assert not consumer_with(command("RATE_LIMIT")).is_blocked("files")
    assert consumer_with(command("BLOCK"), command("RATE_LIMIT", at=NOW + 1)).is_blocked("files")


def test_release_of_what_was_never_blocked() -> None:
    """Nothing happens, and a block issued before that release still does not outrank it."""
    consumer = consumer_with(command("UNBLOCK"))
    assert not consumer.is_blocked("files")
    consumer.apply_message(command("BLOCK", at=NOW - 1))
    assert not consumer.is_blocked("files")


WIDE = {
    "organization": {"target_type": "organization", "target_id": None},
    "organization by id": {"target_type": "organization", "target_id": "org-1"},
    "broadcast to agents": {"target_type": "agent", "target_id": None, "is_broadcast": True},
    "broadcast to servers": {"target_id": None, "is_broadcast": True},
}


@pytest.mark.parametrize("wide", WIDE.values(), ids=WIDE)
def test_a_broadcast_is_about_every_server(wide: dict[str, Any]) -> None:
    """It blocks them all, and only a release as wide lifts it, which lifts no server's own block."""
    consumer = consumer_with({**command("BLOCK"), **wide})
    assert consumer.is_blocked("files")
    assert consumer.is_blocked("never heard of")
    assert consumer.is_blocked(mcp_server_config_id=3)
    consumer.apply_message(command("UNBLOCK", "files", NOW + 1))
    assert consumer.is_blocked("files")
    consumer.apply_message(command("BLOCK", "mail"))
    consumer.apply_message({**command("UNBLOCK", at=NOW + 2), **wide})
    assert not consumer.is_blocked("files")
    assert consumer.is_blocked("mail")


def test_a_broadcast_that_names_one_as_well_is_about_both() -> None:
    """Its block of the one outlives a release of all."""
    consumer = consumer_with({**command("BLOCK", "files"), "is_broadcast": True})
    assert consumer.is_blocked("mail")
    consumer.apply_message({**command("UNBLOCK", at=NOW + 1), **WIDE["broadcast to servers"]})
    assert consumer.is_blocked("files")
    assert not consumer.is_blocked("mail")


def test_the_organizations_block_outlives_a_release_of_all_servers() -> None:
    """UNBLOCK releases exactly what it names: every server is less than the organization."""
    consumer = consumer_with({**command("BLOCK"), **WIDE["organization"]})
    consumer.apply_message({**command("UNBLOCK", at=NOW + 1), **WIDE["broadcast to servers"]})
    assert consumer.is_blocked("files")


@pytest.mark.parametrize(
    "message",
    [
        {**command("BLOCK"), "target_type": "agent"},
        {**command("BLOCK"), "target_type": None, "agent_id": "billing"},
        {**command("BLOCK"), "target_type": "model"},
        {**command("BLOCK"), "target_type": "model", "reason": 5},
        {**command("MELT"), "target_type": "agent"},
        {**envelope("You have chosen to subscribe"), "Type": "SubscriptionConfirmation"},
    ],
    ids=str,
)
def test_what_is_about_something_else_is_ignored(message: dict[str, Any]) -> None:
    """A message for an agent or an unknown kind of target stops no server, nor does a subscription's confirmation."""
    assert not consumer_with(message).is_blocked("files")


def test_a_block_by_id_alone_counts_for_names_too() -> None:
    """A block and a question with neither name nor id in common may be about the same server: it counts as blocked."""
    by_id = consumer_with(command("BLOCK", 7))
    assert by_id.is_blocked("files")
    assert by_id.is_blocked("files", 7)
    assert not by_id.is_blocked("files", 8)
    by_name = consumer_with(command("BLOCK", "files"))
    assert by_name.is_blocked(mcp_server_config_id=8)
    assert not by_name.is_blocked("mail", 8)
    assert by_name.is_blocked()
    assert not consumer_with().is_blocked()


# --- order, date and expiry --------------------------------------------------------------------------------------------


def test_an_older_release_does_not_undo_a_newer_block() -> None:
    """Nor does one of the same instant; a newer one does."""
    consumer = consumer_with(command("BLOCK"), command("UNBLOCK", at=NOW - 0.001), command("UNBLOCK", at=NOW))
    assert consumer.is_blocked("files")
    consumer.apply_message(command("UNBLOCK", at=NOW + 0.001))
    assert not consumer.is_blocked("files")


def test_envelopes_date_what_has_no_date() -> None:
    """An undated release counts from when its envelope was sent, however late it is delivered."""
    clock = Clock(NOW + 1000)
    undated = {**command("UNBLOCK"), "created_at": None}
    sent = {"Body": json.dumps(undated), "Attributes": {"SentTimestamp": str(int((NOW - 1) * 1000))}}
    assert consumer_with(command("BLOCK"), sent, clock=clock).is_blocked("files")
    sent["Attributes"] = {"SentTimestamp": str(int((NOW + 1) * 1000))}
    assert not consumer_with(command("BLOCK"), sent, clock=clock).is_blocked("files")
    notified = {**envelope(undated), "Timestamp": stamp(NOW - 1)}
    assert consumer_with(command("BLOCK"), notified, clock=clock).is_blocked("files")


def test_a_block_ends_when_it_expires() -> None:
    """Not an instant earlier, and a lasting block below it goes on."""
    clock = Clock()
    brief = command("SUSPEND", at=NOW, expires_at=stamp(NOW + 60))
    consumer = consumer_with(brief, clock=clock)
    clock.now = NOW + 59.9
    assert consumer.is_blocked("files")
    clock.now = NOW + 60
    assert not consumer.is_blocked("files")
    assert consumer.blocked_servers == []
    consumer.apply_message(command("BLOCK", at=NOW - 60, reason="for good"))
    assert consumer.reason("files") == "for good"


@pytest.mark.parametrize(
    "late",
    [
        command("UNBLOCK", at=NOW + 1, expires_at=stamp(NOW + 2)),
        command("UNBLOCK", at=NOW + 1000),
    ],
    ids=["expired", "dated in the future"],
)
def test_a_release_that_cannot_be_trusted_releases_nothing(late: dict[str, Any]) -> None:
    """An expired one, or one dated so far ahead that it would outrank blocks to come."""
    clock = Clock(NOW + 3)
    assert consumer_with(command("BLOCK"), late, clock=clock).is_blocked("files")
    assert consumer_with(late, command("BLOCK", at=NOW + 2), clock=clock).is_blocked("files")


# --- any order, any number of times ------------------------------------------------------------------------------------

WHOM = st.sampled_from([{"target_id": name} for name in SERVERS] + list(WIDE.values()))


@st.composite
def commands(draw: st.DrawFn) -> dict[str, Any]:
    at = NOW + draw(st.integers(-5, 5))
    ends = draw(st.none() | st.integers(-4, 12))
    kind = draw(st.sampled_from([*STOPS, "UNBLOCK", "UNBLOCK", "UNBLOCK", "RATE_LIMIT"]))
    return {
        **command(kind, at=at, command_id=str(draw(st.integers(0, 3)))),
        **draw(WHOM),
        "reason": draw(st.sampled_from(["one", "two", None])),
        "expires_at": None if ends is None else stamp(NOW + ends),
    }


def everything_seen(consumer: MCPKillSwitchConsumer) -> object:
    names = [*SERVERS, "another", None]
    return consumer.blocked_servers, [(consumer.is_blocked(name), consumer.reason(name)) for name in names]


@settings(max_examples=SCHEDULES)
@given(st.data(), st.lists(commands(), max_size=9))
def test_order_and_repetition_change_nothing(data: st.DataObject, issued: list[dict[str, Any]]) -> None:
    """The same commands, delivered in any order and some more than once, give the same answers now and at any later time."""
    again = data.draw(st.lists(st.sampled_from(issued), max_size=5)) if issued else []
    shuffled = data.draw(st.permutations(issued + again))
    clock = Clock()
    one, other = consumer_with(*issued, clock=clock), consumer_with(*shuffled, clock=clock)
    for later in (0, 3, 6, 13):
        clock.now = NOW + later
        assert everything_seen(one) == everything_seen(other)


def named_by(issued: dict[str, Any]) -> set[str]:
    if issued["target_type"] != "mcp_server":
        return {"the organization"}
    return {"every server"} if issued["is_broadcast"] else {issued["target_id"]}


def test_the_newest_reason_is_given_in_any_order() -> None:
    """Also to a question that any of several blocks may be about."""
    blocks = [command("BLOCK", name, NOW + at, reason=f"at {at}") for at, name in enumerate(SERVERS)]
    for order in (blocks, blocks[::-1]):
        assert consumer_with(*order).reason() == "at 1"
        assert consumer_with(*order).reason(mcp_server_config_id=3) == "at 1"


def test_repetition_takes_no_room() -> None:
    """However often a server is blocked, only blocks that could still make a difference are kept."""
    blocks = [command("BLOCK", at=NOW + number) for number in range(9)]
    one, many = consumer_with(blocks[-1]), consumer_with(*blocks, *blocks)
    assert one.switches._registers == many.switches._registers


class Deliveries(RuleBasedStateMachine):
    """A queue that delivers late, twice and out of order, against the rule written down plainly."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.consumer = MCPKillSwitchConsumer(clock=self.clock)
        self.sent: list[dict[str, Any]] = []
        self.counted: list[dict[str, Any]] = []
        self.unread_since = -1.0

    @rule(issued=commands())
    def issue(self, issued: dict[str, Any]) -> None:
        self.sent.append(issued)

    @rule(data=st.data(), shape=st.sampled_from(sorted(SHAPES)))
    def deliver(self, data: st.DataObject, shape: str) -> None:
        if self.sent:
            issued = data.draw(st.sampled_from(self.sent))
            self.consumer.apply_message(SHAPES[shape](issued))
            expired = issued["expires_at"] is not None and issued["expires_at"] <= stamp(self.clock.now)
            if not (issued["command_type"] == "UNBLOCK" and expired):
                self.counted.append(issued)

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(junk=st.sampled_from([b"\xff", "{}", None, '{"command_type": "MELT"}']))
    def deliver_junk(self, junk: object) -> None:
        self.consumer.apply_message(junk)
        self.unread_since = self.clock.now

    @rule()
    def reset(self) -> None:
        self.consumer.reset()
        self.counted.clear()
        self.unread_since = -1.0

    @invariant()
    def stopped_as_the_rule_says(self) -> None:
        for server in (*SERVERS, "another"):
            expected = any(self.stopped(whom) for whom in (server, "every server", "the organization"))
            assert self.consumer.is_blocked(server) == expected
            assert (self.consumer.reason(server) is not None) == expected

    def stopped(self, whom: str) -> bool:
        about = [issued for issued in self.counted if whom in named_by(issued)]
        releases = [issued["created_at"] for issued in about if issued["command_type"] == "UNBLOCK"]
        released = max(releases, default="")
        if whom == "the organization" and self.unread_since >= 0 and stamp(self.unread_since) >= released:
            return True
        return any(
            issued["command_type"] in STOPS
            and issued["created_at"] >= released
            and (issued["expires_at"] is None or stamp(self.clock.now) < issued["expires_at"])
            for issued in about
        )


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=SCHEDULES, stateful_step_count=30)


# --- what is no message ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(command("BLOCK"))


def wrapped_often(message: dict[str, Any]) -> dict[str, Any]:
    for _ in range(10):
        message = {"Body": message}
    return message


@st.composite
def spoiled(draw: st.DrawFn) -> object:
    """A release of ``files`` that would count, with something wrong in it or around it."""
    release: dict[str, Any] = command("UNBLOCK", at=NOW + 1)
    how = draw(st.sampled_from(["field", "kind", "target", "cut", "date", "envelope", "list"]))
    if how == "field":
        field = draw(st.sampled_from(sorted({*FIELDS, "mcp_server"} - {"status", "issued_via"})))
        release[field] = draw(st.sampled_from([["files"], {"a": []}, 1.5, [None]]))
        if field == "parameters":
            release[field] = draw(st.sampled_from([["files"], 1.5, "files", {"mcp_server": 5}]))
    elif how == "kind":
        release["command_type"] = draw(
            st.text(max_size=7).filter(lambda it: it.upper() not in {*STOPS, "UNBLOCK"})
        )
    elif how == "target":
        release["target_id"] = draw(st.sampled_from([None, ""]))
    elif how == "date":
        release[draw(st.sampled_from(["created_at", "expires_at"]))] = draw(
            st.sampled_from(
                ["", "soon", "2027-13-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]
            )
        )
    text = json.dumps(release)
    if how == "cut":
        return text[: draw(st.integers(0, len(text) - 1))]
    if how == "envelope":
        return draw(
            st.sampled_from(
                [
                    {"Body": text, "Attributes": {"SentTimestamp": "9" * 400}},
                    {"Body": text, "Attributes": 5},
                    {"Body": None},
                    {**envelope(text), "Timestamp": "then"},
                    {**envelope(text), "Timestamp": 7},
                    {"Body": {"Message": wrapped_often(release)}},
                ]
            )
        )
    if how == "list":
        return [release]
    return draw(st.sampled_from(list(SHAPES.values())))(release)


@settings(max_examples=SCHEDULES)
@given(spoiled())
def test_a_spoiled_release_blocks_everything(message: object) -> None:
    """It does not raise, it releases nothing, and every server is blocked until a release of all of them comes."""
    clock = Clock()
    consumer = consumer_with(command("BLOCK"), message, clock=clock)
    assert consumer.is_blocked("files")
    assert consumer.is_blocked("mail")
    assert "could not be read" in (consumer.reason("mail") or "")
    consumer.apply_message(command("BLOCK", "mail", at=NOW + 1))
    consumer.apply_message(command("UNBLOCK", "mail", at=NOW + 2))
    assert consumer.is_blocked("mail")
    for wide in ("organization", "broadcast to servers"):
        consumer.apply_message({**command("UNBLOCK", at=NOW + 3), **WIDE[wide]})
    assert consumer.is_blocked("files")
    assert not consumer.is_blocked("mail")


@settings(max_examples=SCHEDULES)
@given(
    st.lists(
        JSON
        | st.binary(max_size=20)
        | st.text(max_size=20)
        | JSON.map(lambda it: {"Body": it})
        | JSON.map(lambda it: {"Message": it})
        | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=12)
        | st.just("[" * 100_000)
        | st.builds(object)
    )
)
def test_rubbish_never_raises_and_never_releases(messages: list[object]) -> None:
    """Whatever comes in, what was blocked stays blocked, and the next question is answered."""
    consumer = consumer_with(command("BLOCK", at=NOW + 1), *messages)
    assert consumer.is_blocked("files")
    assert isinstance(consumer.reason("files"), str)
    assert consumer.blocked_servers == ["files"]


@pytest.mark.parametrize(
    "message", [None, 5, [], {}, "", b"\xff", "null", "[]", '{"command_type": "BLOCK"}', {1: 2}]
)
def test_the_smallest_rubbish_blocks_everything(message: object) -> None:
    """It may have been a BLOCK of anything; ``reset`` is how a person lifts it by hand."""
    consumer = consumer_with(message)
    assert consumer.is_blocked("files")
    consumer.reset()
    assert not consumer.is_blocked("files")


@settings(max_examples=SCHEDULES)
@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=12), st.sampled_from(["agent", "model", "AGENT"])
)
def test_no_stray_message_for_another_target_stops_the_servers(fields: dict[str, Any], target: str) -> None:
    """Not one field of it need make sense, as long as it says whom it is about and is no broadcast."""
    consumer = consumer_with({**fields, "target_type": target, "is_broadcast": False})
    assert not consumer.is_blocked("files")


# --- threads, forks, weight --------------------------------------------------------------------------------------------


def test_threads_lose_no_command() -> None:
    """What eight threads apply at once is all there afterwards."""
    consumer = consumer_with()
    begin = threading.Barrier(8)
    interval = sys.getswitchinterval()

    def work(thread: int) -> None:
        begin.wait()
        for number in range(50):
            consumer.apply_message(command("BLOCK", f"{thread}-{number}"))
            assert consumer.is_blocked(f"{thread}-{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(consumer.blocked_servers) == 400


def test_a_fork_in_the_middle_of_an_update() -> None:
    """The child answers, and takes in commands, although a lock was held when it was forked."""
    consumer = consumer_with(command("BLOCK"))
    with consumer.switches._lock:
        child = os.fork()
        if child == 0:
            try:
                consumer.apply_message(command("BLOCK", "mail"))
                os._exit(0 if consumer.blocked_servers == ["files", "mail"] else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_importing_it_loads_nothing_heavy() -> None:
    """Neither boto3 nor HTTP, engine, store or asyncio."""
    program = (
        "import sys, msgspec; before = set(sys.modules); import ascend_guard.mcp;"
        "print(' '.join(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(
        {"boto3", "botocore", "requests", "urllib3", "asyncio", "sqlite3", "yaml", "mcp"}
    )
    assert {name for name in done.stdout.split() if name.startswith("ascend_guard")} == {
        "ascend_guard",
        "ascend_guard._version",
        "ascend_guard.client",
        "ascend_guard.client.guard",
        "ascend_guard.client.guard.kill_switch_commands",
        "ascend_guard.errors",
        "ascend_guard.mcp",
        "ascend_guard.processes",
    }


def test_a_command_that_was_read_twice_is_equal() -> None:
    """Reading depends on the message alone once it is dated."""
    for wrap in SHAPES.values():
        assert parse_command(wrap(command("BLOCK")), 1.0) == parse_command(command("BLOCK"), 2.0)
