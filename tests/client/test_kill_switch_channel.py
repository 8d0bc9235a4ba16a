"""The kill switch from a publisher through SNS and SQS, spoken by a real local server, to the agent it stops."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from ascend_guard.client.guard.kill_switch_channel import KillSwitchChannel, _Run, publish_command
from ascend_guard.client.guard.kill_switch_commands import MCPKillSwitchConsumer
from ascend_guard.errors import ConfigurationError, NetworkError, ValidationError
from ascend_guard.model import KillSwitchState

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN"
UNKNOWN = KillSwitchState(True, "kill switch state unknown")
PATIENCE = 30.0


class Amazon:
    """A server that speaks SNS and SQS, and can go away and come back at the same address with what it held."""

    def __init__(self) -> None:
        self.session = boto3.session.Session("AKIAEXAMPLE", SECRET, TOKEN, region_name="eu-central-1")
        self._server = self._serve(0)
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        self.sns = self.session.client("sns", endpoint_url=self.url)
        self.sqs = self.session.client("sqs", endpoint_url=self.url)

    def _serve(self, port: int) -> ThreadedMotoServer:
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        return server

    def go_away(self) -> None:
        _, port = self._server.get_host_and_port()
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()
        self._port = port

    def come_back(self) -> None:
        self._server = self._serve(self._port)

    def stop(self) -> None:
        self._server.stop()


class Path:
    """A topic, and a queue subscribed to it."""

    def __init__(self, amazon: Amazon, *, raw: bool = False) -> None:
        self.amazon = amazon
        name = uuid4().hex
        self.topic = amazon.sns.create_topic(Name=name)["TopicArn"]
        # A message that was received and not deleted comes again after a second.
        self.queue = amazon.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "1"})[
            "QueueUrl"
        ]
        wanted = amazon.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        amazon.sns.subscribe(
            TopicArn=self.topic,
            Protocol="sqs",
            Endpoint=wanted["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"} if raw else {},
        )

    def publish(self, kind: str, **fields: Any) -> str:
        return publish_command(self.topic, command(kind, **fields), client=self.amazon.sns)

    def send(self, body: str) -> None:
        self.amazon.sqs.send_message(QueueUrl=self.queue, MessageBody=body)

    def waiting(self) -> int:
        """Messages in the queue, those somebody has received and not deleted included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.amazon.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def channel(self, **options: Any) -> KillSwitchChannel:
        return KillSwitchChannel(
            self.queue, endpoint_url=self.amazon.url, session=self.amazon.session, **options
        )


class Times:
    """A clock that goes on by itself and can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def command(kind: str, target_id: str | None = None, **fields: Any) -> dict[str, Any]:
    target_type = fields.pop("target_type", "agent" if target_id else "organization")
    return {
        "command_id": str(uuid4()),
        "command_type": kind,
        "target_type": target_type,
        "target_id": target_id,
        "reason": "looks wrong",
        "parameters": {},
        "status": "pending",
        "issued_by": "ops@example.com",
        "issued_via": "console",
        "created_at": datetime.now(UTC).isoformat(),
        "expires_at": None,
        "is_broadcast": target_type == "organization",
        **fields,
    }


def until(holds: Callable[[], object], why: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up, why
        time.sleep(0.01)


@pytest.fixture(scope="module")
def amazon() -> Iterator[Amazon]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Amazon()
    yield server
    server.stop()


@pytest.fixture
def path(amazon: Amazon) -> Path:
    return Path(amazon)


def running(channel: KillSwitchChannel, agent: str = "billing") -> Callable[[], bool]:
    return lambda: not channel.state(agent).blocked


def stopped(channel: KillSwitchChannel, agent: str = "billing") -> Callable[[], bool]:
    """Stopped by a command, and not because nothing is known."""
    return lambda: channel.state(agent).blocked and channel.state(agent) != UNKNOWN


# --- the whole path ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True], ids=["in an envelope", "raw delivery"])
def test_from_the_publisher_to_the_agent(amazon: Amazon, raw: bool) -> None:
    """One agent is stopped and released, and the other never noticed; nothing is left in the queue."""
    path = Path(amazon, raw=raw)
    with path.channel() as channel:
        until(running(channel), "never known")
        sent = command("BLOCK", "billing")
        publish_command(path.topic, sent, client=amazon.sns)
        until(stopped(channel), "never stopped")
        state = channel.state("billing")
        assert (state.reason, state.agent_id, state.activated_by) == (
            "looks wrong",
            "billing",
            "ops@example.com",
        )
        assert datetime.fromisoformat(state.activated_at or "") == datetime.fromisoformat(sent["created_at"])
        assert channel.state("support") == KillSwitchState(False)
        path.publish("UNBLOCK", target_id="billing")
        until(running(channel), "never released")
        until(lambda: path.waiting() == 0, "not deleted")


def test_everybody_is_stopped_at_once(path: Path) -> None:
    """A command for the organization stops every agent and every MCP server until it is taken back."""
    with path.channel() as channel:
        path.publish("QUARANTINE")
        until(stopped(channel, "anyone"), "never stopped")
        assert channel.state("anyone").agent_id is None
        until(lambda: channel.servers.is_blocked("files"), "never told the servers")
        path.publish("UNBLOCK", target_type="agent", is_broadcast=True)
        until(running(channel, "anyone"), "never released")
        until(lambda: not channel.servers.is_blocked("files"), "never told the servers")


def test_servers_are_told_of_what_is_theirs(path: Path) -> None:
    """A command for an MCP server reaches the consumer that was given, and stops no agent."""
    servers = MCPKillSwitchConsumer()
    with path.channel(servers=servers) as channel:
        path.publish("BLOCK", target_id="files", target_type="mcp_server")
        path.publish("RATE_LIMIT", target_id="billing")
        until(lambda: servers.is_blocked("files"), "never blocked")
        until(running(channel), "an agent was stopped")
        assert servers.blocked_servers == ["files"]
        until(lambda: path.waiting() == 0, "not deleted")


def test_many_commands_before_anybody_listened(path: Path) -> None:
    """More than one batch waits in the queue: nothing runs until all of it has been applied."""
    path.publish("BLOCK", target_id="billing")
    for number in range(24):
        path.publish("BLOCK", target_id=f"agent-{number}")
    seen: list[bool] = []
    channel = path.channel(on_change=lambda: seen.append(channel.state("agent-23").blocked))
    with channel:
        until(running(channel, "another"), "never known")
        assert all(channel.state(f"agent-{number}").blocked for number in range(24))
        assert seen
        assert all(seen)


def test_what_came_another_way_counts_too(path: Path) -> None:
    """A command of the HTTP fallback joins those of the queue, and the newest one wins, whichever came first."""
    newer = command("BLOCK", "billing")
    with path.channel() as channel:
        until(running(channel), "never known")
        channel.apply_message(newer)
        assert channel.state("billing").blocked
        path.publish("UNBLOCK", target_id="billing", created_at="2020-01-01T00:00:00Z")
        path.publish("BLOCK", target_id="last")
        until(stopped(channel, "last"), "never stopped")
        assert channel.state("billing").blocked


# --- what cannot be known ----------------------------------------------------------------------------------------------


def test_nothing_is_known_before_the_first_answer_and_after_close(path: Path) -> None:
    """Every agent is stopped before the start and after the end, and a channel can be started again."""
    channel = path.channel()
    assert channel.state("billing") == UNKNOWN
    for _ in range(2):
        channel.start()
        channel.start()
        until(running(channel), "never known")
        channel.close()
        assert channel.state("billing") == UNKNOWN
        channel.close()


def test_a_queue_nobody_answers_for() -> None:
    """With no one at the address, every agent stays stopped, and closing does not wait."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    session = boto3.session.Session("AKIAEXAMPLE", SECRET, region_name="eu-central-1")
    changed = threading.Event()
    with KillSwitchChannel(f"{url}/1/q", endpoint_url=url, session=session, on_change=changed.set) as channel:
        assert not changed.wait(1)
        assert channel.state("billing") == UNKNOWN


def test_silence_stops_everyone_and_an_answer_ends_it() -> None:
    """When AWS goes away, what was known counts for fifteen seconds; when it is back, so is what was sent meanwhile."""
    amazon = Amazon()
    path = Path(amazon)
    monotonic = Times()
    changes: list[bool] = []
    channel = path.channel(
        monotonic=monotonic, on_change=lambda: changes.append(channel.state("billing").blocked)
    )
    with channel:
        until(running(channel), "never known")
        amazon.go_away()
        assert running(channel)()
        monotonic.ahead += 15
        assert channel.state("billing") == UNKNOWN
        until(lambda: changes == [False, True], "silence was not announced")
        amazon.come_back()
        until(running(channel), "never recovered")
        until(lambda: changes == [False, True, False], "recovery was not announced")
        path.publish("BLOCK", target_id="billing")
        until(stopped(channel), "never stopped")
        until(lambda: changes == [False, True, False, True], "the block was not announced")
    amazon.stop()


class Simulated:
    """A queue in simulated time: what each poll takes is given, and each is looked at as it ends."""

    def __init__(self, silence: float, took: list[float]) -> None:
        self.now = 0.0
        self.took = took
        self.unknown: list[bool] = []
        self.waits: list[int] = []
        self.channel = KillSwitchChannel(
            "http://127.0.0.1/1/q", silence=silence, monotonic=lambda: self.now, clock=lambda: 0.0
        )

    def run(self) -> list[bool]:
        """Whether the state was unknown at the end of each poll."""
        self.channel._run = run = _Run(self)
        self.channel._work(run)
        return self.unknown

    def receive_message(self, *, WaitTimeSeconds: int, **_: object) -> dict[str, Any]:
        self.waits.append(WaitTimeSeconds)
        self.now += WaitTimeSeconds * self.took[len(self.unknown)]
        self.unknown.append(self.channel.state("billing") == UNKNOWN)
        if len(self.unknown) == len(self.took):
            self.channel._run = None
        return {}


@given(st.floats(3, 3600), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_an_idle_queue_is_not_silent(silence: float, took: list[float]) -> None:
    """Whatever silence is set, polls that bring nothing keep the state known from the first answer on."""
    queue = Simulated(silence, took)
    assert queue.run() == [True] + [False] * (len(took) - 1)
    assert queue.waits[0] == 1  # long enough to ask all of SQS's servers, and no longer
    assert all(1 <= seconds <= 20 for seconds in queue.waits)


def test_an_answer_counts_from_when_it_was_asked_for() -> None:
    """One that was on its way for as long as the silence says nothing of now."""
    assert Simulated(15, [1, 1, 2.9, 1]).run() == [True, False, True, True]


def test_a_queue_that_is_not_there(amazon: Amazon, caplog: pytest.LogCaptureFixture) -> None:
    """An error AWS answers with is no answer: agents stay stopped, and the log says its code and no credential."""
    channel = KillSwitchChannel(
        f"{amazon.url}/123456789012/none", endpoint_url=amazon.url, session=amazon.session
    )
    with caplog.at_level(logging.DEBUG, "ascend_guard"), channel:
        until(lambda: "does not answer" in caplog.text, "never said")
        assert channel.state("billing") == UNKNOWN
    said = "".join(record.getMessage() for record in caplog.records if record.name == "ascend_guard")
    assert "NonExistentQueue" in said or "QueueDoesNotExist" in said
    assert SECRET not in said + repr(channel)
    assert TOKEN not in said + repr(channel)


def test_a_forked_child_knows_nothing(path: Path) -> None:
    """Its parent's thread is not there: every agent is stopped until the child starts a channel's polling itself."""
    with path.channel() as channel:
        until(running(channel), "never known")
        child = os.fork()
        if child == 0:
            try:
                inherited = channel.state("billing") == UNKNOWN
                channel.start()
                give_up = time.monotonic() + PATIENCE
                while channel.state("billing").blocked and time.monotonic() < give_up:
                    time.sleep(0.01)
                os._exit(0 if inherited and not channel.state("billing").blocked else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert running(channel)()


# --- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["no JSON", "{}", '{"command_type": "MELT", "target_type": "agent"}'])
def test_poison_stops_everyone_and_does_not_come_round(path: Path, body: str) -> None:
    """It is deleted; every agent is stopped until the organization is released after that."""
    with path.channel() as channel:
        until(running(channel), "never known")
        path.send(body)
        until(stopped(channel, "anyone"), "never stopped")
        assert "could not be read" in (channel.state("anyone").reason or "")
        assert channel.state("anyone").agent_id is None
        until(lambda: path.waiting() == 0, "not deleted")
        path.publish("UNBLOCK", target_id="anyone")
        until(lambda: path.waiting() == 0, "not deleted")
        assert stopped(channel, "anyone")()
        path.publish("UNBLOCK")
        until(running(channel, "anyone"), "never released")


def test_poison_for_the_servers_stops_no_agent(path: Path) -> None:
    """What says it is about MCP servers stops all of these, and nothing else."""
    with path.channel() as channel:
        path.send('{"command_type": "MELT", "target_type": "mcp_server"}')
        until(lambda: channel.servers.is_blocked("files"), "never blocked")
        until(running(channel), "an agent was stopped")


def test_a_message_is_deleted_only_after_it_was_applied(path: Path) -> None:
    """While it is being announced the agent is stopped already, and the queue still has the message."""
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        if stopped(channel)():
            seen.append((channel.state("billing").blocked, path.waiting()))

    channel = path.channel(on_change=look)
    with channel:
        until(running(channel), "never known")
        path.publish("BLOCK", target_id="billing")
        until(lambda: seen, "never announced")
        until(lambda: path.waiting() == 0, "not deleted")
    assert seen[0] == (True, 1)


def test_a_message_that_could_not_be_deleted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes again, and undoes nothing that was said since."""
    received: list[str] = []
    with path.channel() as channel:
        until(running(channel), "never known")
        delete = channel._delete
        monkeypatch.setattr(
            channel, "_delete", lambda run, messages: received.extend(it["MessageId"] for it in messages)
        )
        path.publish("BLOCK", target_id="billing")
        until(stopped(channel), "never stopped")
        channel.apply_message(command("UNBLOCK", "billing"))
        until(lambda: len(received) > len(set(received)), "never came again")
        assert running(channel)()
        monkeypatch.setattr(channel, "_delete", delete)
        until(lambda: path.waiting() == 0, "not deleted")


def test_what_a_closed_channel_still_received_is_left_for_the_next(path: Path) -> None:
    """The poll it was in may bring a message: it is not deleted, so whoever polls next has it too."""
    with path.channel() as first:
        until(running(first), "never known")
    path.publish("BLOCK", target_id="billing")
    with path.channel() as second:
        until(stopped(second), "the next one never had it")


def test_a_listener_that_fails(path: Path) -> None:
    """The polling goes on."""

    def fail() -> None:
        raise RuntimeError("listener")

    with path.channel(on_change=fail) as channel:
        until(running(channel), "never known")
        path.publish("BLOCK", target_id="billing")
        until(stopped(channel), "never stopped")


def test_a_block_expires_by_the_given_clock(path: Path) -> None:
    """Time is the clock's that was given."""
    now = [time.time()]
    channel = path.channel(clock=lambda: now[0])
    with channel:
        ends = datetime.fromtimestamp(now[0] + 3600, UTC).isoformat()
        path.publish("SUSPEND", target_id="billing", expires_at=ends)
        until(stopped(channel), "never stopped")
        now[0] += 3601
        assert not channel.state("billing").blocked


# --- publishing, and what is missing -----------------------------------------------------------------------------------


def test_attributes_to_filter_by(path: Path) -> None:
    """Target type and organization travel as message attributes, and the body is the command as it was given."""
    sent = command("BLOCK", "files", target_type="mcp_server", organization_id="org-7")
    publish_command(path.topic, sent, client=path.amazon.sns)
    received = path.amazon.sqs.receive_message(QueueUrl=path.queue, WaitTimeSeconds=2)["Messages"][0]
    notification = json.loads(received["Body"])
    assert json.loads(notification["Message"]) == sent
    assert {name: it["Value"] for name, it in notification["MessageAttributes"].items()} == {
        "target_type": "mcp_server",
        "organization_id": "org-7",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": None},
        {"command_type": "MELT"},
        {"target_id": None},
        {"target_type": "model"},
        {"reason": 5},
        {"parameters": {"when": object()}},
    ],
)
def test_no_poison_is_published(path: Path, wrong: dict[str, Any]) -> None:
    """A command that a receiver could not understand, or not put in order, is refused before anything is sent."""
    with pytest.raises(ValidationError, match="Nothing was sent"):
        publish_command(path.topic, {**command("BLOCK", "billing"), **wrong}, client=path.amazon.sns)
    assert path.waiting() == 0


def test_a_topic_that_is_not_there(path: Path) -> None:
    """The publisher is told that nobody received it, with the code and without credentials."""
    with pytest.raises(NetworkError, match="NotFound") as caught:
        publish_command(f"{path.topic}x", command("BLOCK", "billing"), client=path.amazon.sns)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("wrong", [{"queue_url": ""}, {"silence": 2.9}, {"silence": float("nan")}], ids=str)
def test_settings_that_cannot_work(wrong: dict[str, Any]) -> None:
    """They are refused when the channel is made."""
    with pytest.raises(ConfigurationError):
        KillSwitchChannel(**{"queue_url": "http://127.0.0.1/1/q", **wrong})


def test_without_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting says what to give."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    channel = KillSwitchChannel("https://sqs.example.com/1/q", session=boto3.session.Session("a", "b"))
    with pytest.raises(ConfigurationError, match="region"):
        channel.start()
    assert channel.state("billing") == UNKNOWN


def test_without_boto3() -> None:
    """Importing works; starting and publishing say what to install."""
    program = """
import sys
from ascend_guard.client.guard.kill_switch_channel import KillSwitchChannel, publish_command
assert not {"boto3", "botocore"} & set(sys.modules)
sys.modules["boto3"] = None
command = {"command_type": "BLOCK", "target_id": "a", "created_at": "2027-01-01T00:00:00Z", "target_type": "agent"}
for call in (KillSwitchChannel("https://sqs.example.com/1/q").start, lambda: publish_command("arn", command)):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 2
    assert all(line.startswith("ConfigurationError") for line in said)
    assert all("pip install 'ascend-guard[aws]'" in line for line in said)
