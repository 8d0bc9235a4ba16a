"""The kill switch over SNS and SQS: one thread polls a queue and keeps the state.

"The primary kill-switch channel is SNS/SQS" (SDK document, "Kill-switch HTTP fallback"). An unknown state blocks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from ascend_guard.errors import ConfigurationError, NetworkError, ValidationError
from ascend_guard.kill_switch import UNKNOWN
from ascend_guard.model import KillSwitchState, iso
from ascend_guard.processes import this_process

from .kill_switch_commands import (
    EVERY_AGENT,
    ORGANIZATION,
    MCPKillSwitchConsumer,
    Switches,
    parse_command,
    read_command,
)

__all__ = ["KillSwitchChannel", "publish_command"]

NOT_KNOWN = KillSwitchState(True, UNKNOWN)

BATCH = 10
"""The most messages in one SQS answer. A full batch means that more messages, newer ones too, may be waiting."""

LONGEST_POLL = 20
"""Seconds; the maximum of SQS's ``WaitTimeSeconds``."""

LONGEST_PAUSE = 2.0
"""Seconds between two attempts to reach a queue that does not answer."""

CONNECT_TIMEOUT = 3.0
READ_MARGIN = 3.0

_log = logging.getLogger("ascend_guard")


class _Run:
    """The state of one polling thread. The thread ends when the channel no longer uses it; a forked child drops it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.made_in = this_process()
        self.contact: float | None = None


class KillSwitchChannel:
    """Whether agents are stopped, according to commands from an SQS queue::

        with KillSwitchChannel(queue_url, region="eu-central-1") as channel:
            channel.state("billing-agent").blocked

    - BLOCK, SUSPEND and QUARANTINE stop an agent; for the organization and for broadcasts, all agents. UNBLOCK releases
      exactly what it names. Order, expiry and unreadable messages are handled as in ``MCPKillSwitchConsumer``: an
      unreadable message stops every agent until an UNBLOCK of the organization is issued after it arrived.
    - Every agent is stopped while the state is unknown: until the queue has first been read, when it has not answered
      for ``silence`` seconds, after ``close``, and in a forked child until the child itself calls ``start``.
    - A message is deleted after it was applied, understood or not, so that no message is delivered for ever.

    SQS gives a message to one reader only. Each process needs a queue of its own, subscribed to the topic, or it misses
    commands. A queue delivers changes, not the state before them: at the start, pass the control plane's present commands
    to ``apply_message``, in any order. Anyone who can write to the queue can release: its policy must admit only the topic.

    Args:
        queue_url: the queue.
        region: its AWS region; None for the region of the session or the environment.
        endpoint_url: the address of SQS, if it is not AWS.
        session: a ``boto3.session.Session`` with the credentials to use; None for boto3's own search.
        servers: receives every command as well, so that it knows which MCP servers are stopped; None for a new one.
        on_change: called, mostly by the polling thread, after the state has changed. A change without a message, such as an
            expiry or silence, is noticed at the next answer or failure.
        silence: seconds without an answer after which the state is unknown, at least 3.
        clock: seconds since the epoch; commands are dated by it.
        monotonic: seconds that never decrease; silence is measured by it.

    Raises:
        ConfigurationError: ``queue_url`` is empty, or ``silence`` is shorter than a poll needs.
    """

    def __init__(
        self,
        queue_url: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: Any = None,
        servers: MCPKillSwitchConsumer | None = None,
        on_change: Callable[[], None] | None = None,
        silence: float = 15.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not queue_url:
            raise ConfigurationError("queue_url is empty. Give the URL of this process's kill switch queue.")
        if not silence >= 3:
            raise ConfigurationError(
                f"silence is {silence} seconds. Give at least 3: a poll takes one second."
            )
        self.servers = MCPKillSwitchConsumer(clock=clock) if servers is None else servers
        self._queue_url = queue_url
        self._region = region
        self._endpoint_url = endpoint_url
        self._session = session
        self._on_change = on_change
        self._silence = silence
        # An answer counts from the time of its request, so two polls must fit into the silence.
        self._poll = min(LONGEST_POLL, int(silence // 3))
        self._clock = clock
        self._monotonic = monotonic
        self._agents = Switches()
        self._run: _Run | None = None
        self._seen = self._view()

    def start(self) -> None:
        """Start to poll, in a daemon thread. Does nothing if this process polls already.

        Raises:
            ConfigurationError: boto3 is not installed, or its configuration is wrong.
        """
        if self._run is not None and self._run.made_in is this_process():
            return
        run = _Run(self._connect())
        self._run = run
        threading.Thread(target=self._work, args=(run,), name="ascend-guard-kill-switch", daemon=True).start()

    def close(self) -> None:
        """Stop polling; the state is then unknown. The thread ends after its present poll."""
        self._run = None
        self._announce()

    def __enter__(self) -> KillSwitchChannel:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def state(self, agent_id: str) -> KillSwitchState:
        """Return whether this agent is stopped, from memory, without waiting.

        Args:
            agent_id: the agent's identifier.
        """
        if not self._known():
            return NOT_KNOWN
        command = self._agents.stopped_by([ORGANIZATION, EVERY_AGENT, ("agent", agent_id)], self._clock())
        if command is None:
            return KillSwitchState(False)
        return KillSwitchState(
            True,
            command.reason,
            None if command.keys & {ORGANIZATION, EVERY_AGENT} else agent_id,
            iso(command.created),
            command.issued_by,
        )

    def apply_message(self, message: object) -> None:
        """Apply a command that arrived another way, such as from ``get_pending_commands``. Never raises.

        Args:
            message: as for ``MCPKillSwitchConsumer.apply_message``.
        """
        self._apply(message)
        self._announce()

    def _known(self) -> bool:
        run = self._run
        return (
            run is not None
            and run.contact is not None
            and run.made_in is this_process()
            and self._monotonic() - run.contact < self._silence
        )

    def _view(self) -> object:
        now = self._clock()
        return self._known(), self._agents.in_force(now), self.servers.switches.in_force(now)

    def _announce(self) -> None:
        view = self._view()
        if view != self._seen:
            self._seen = view
            if self._on_change is not None:
                try:
                    self._on_change()
                except Exception:  # an error of the listener must not end the polling
                    _log.exception("on_change of the kill switch channel failed")

    def _connect(self) -> Any:
        boto3, config, failure = _boto3()
        try:
            return (self._session or boto3.session.Session()).client(
                "sqs",
                region_name=self._region,
                endpoint_url=self._endpoint_url,
                config=config(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=self._poll + READ_MARGIN,
                    retries={"total_max_attempts": 1},  # this thread is the retry
                ),
            )
        except (failure, ValueError) as error:
            raise ConfigurationError(
                f"The kill switch queue cannot be set up: {error} Give region, endpoint_url or a session."
            ) from None

    def _work(self, run: _Run) -> None:
        failures = 0
        while self._run is run:
            asked = self._monotonic()
            try:
                messages = self._receive(run)
                for message in messages:
                    self._apply(message)
                if len(messages) < BATCH:
                    run.contact = asked
                if failures:
                    _log.warning("The kill switch queue answers again")
                failures = 0
                self._announce()
                if self._run is run:  # else the next polling thread must see them as well
                    self._delete(run, messages)
            except Exception as error:
                failures += 1
                if failures == 1:
                    _log.warning("The kill switch queue does not answer: %s", _name(error))
                self._announce()
                time.sleep(min(0.1 * 2 ** min(failures, 10), LONGEST_PAUSE))

    def _receive(self, run: _Run) -> list[Any]:
        # A poll of 0 seconds asks only some of SQS's servers; a poll of one second asks all of them.
        answer = run.client.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=self._poll if self._known() else 1,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return list(answer.get("Messages") or ())

    def _delete(self, run: _Run, messages: list[Any]) -> None:
        if not messages:
            return
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        answer = run.client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        if answer.get("Failed"):  # they are delivered again, and change nothing then
            _log.warning("%d kill switch messages could not be deleted", len(answer["Failed"]))

    def _apply(self, message: object) -> None:
        command = read_command(message, self._clock())
        if command is None:
            return
        keys = [key for key in command.keys if key[0] in ("organization", "agent")]
        if keys:
            self._agents.apply(command, keys)
            _log.warning("Kill switch: %s (%r) for %r", command.kind, command.command_id, sorted(keys))
        self.servers.apply(command)


def publish_command(topic_arn: str, command: Mapping[str, Any], *, client: Any = None) -> str:
    """Send a kill-switch command to all queues that are subscribed to an SNS topic.

    Its target type and its organization, if present, are sent as message attributes, for filters.

    Args:
        topic_arn: the topic.
        command: the fields of a command in the SDK document. ``created_at`` is required, because it sets the order.
        client: a boto3 client of SNS; None for one with boto3's own credentials, in the topic's region.

    Returns:
        The message's identifier.

    Raises:
        ValidationError: receivers could not read the command, so it would block everything there.
        ConfigurationError: boto3 is not installed, or has no region.
        NetworkError: SNS did not accept it; no queue received it.
    """
    try:
        body = msgspec.json.encode(dict(command))
        parsed = parse_command(body, 0.0)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"This is not a kill switch command: {error}. Nothing was sent.") from error
    if parsed is None or not command.get("created_at"):
        raise ValidationError(
            "A kill switch command needs created_at, and agent, organization or mcp_server as target_type. "
            "Nothing was sent."
        )
    boto3, _, failure = _boto3()
    attributes = {
        name: {"DataType": "String", "StringValue": value}
        for name in ("target_type", "organization_id")
        if isinstance(value := command.get(name), str) and value
    }
    try:
        if client is None:
            region = [*topic_arn.split(":"), "", "", "", ""][3]
            client = boto3.session.Session().client("sns", region_name=region or None)
    except (failure, ValueError) as error:
        raise ConfigurationError(f"SNS cannot be set up: {error} Give a client.") from None
    try:
        answer = client.publish(TopicArn=topic_arn, Message=body.decode(), MessageAttributes=attributes)
    except Exception as error:
        raise NetworkError(
            f"SNS did not take kill switch command {parsed.command_id!r}: {_name(error)}. No queue received it. "
            "Check that the topic is reachable and writable, then send it again."
        ) from None
    return str(answer["MessageId"])


def _boto3() -> tuple[Any, Any, type[Exception]]:
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigurationError(
            "The kill switch over SNS and SQS needs boto3. Install it: pip install 'ascend-guard[aws]'"
        ) from None
    return boto3, Config, BotoCoreError


def _name(error: Exception) -> str:
    """The kind of failure, without its text: the text of a refused signature contains the session's token."""
    details = getattr(error, "response", None)
    code = details.get("Error", {}).get("Code") if isinstance(details, dict) else None
    return f"{type(error).__name__} ({code})" if code else type(error).__name__
