"""What goes beside a governed call over HTTP: the trace, the SNS/SQS channel, a forked child."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving import serving
from world import eventually

from ascend_guard import KillSwitchError, governed
from ascend_guard.model import KillSwitchState


def test_the_trace_goes_on_in_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's span of the submission has the trace of the agent's call."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with serving(tmp_path / "a.db") as server:
        plane = server.plane()

        @governed("refund", "stripe", control_plane=plane)
        def refund(amount: int) -> int:
            return amount

        with trace.get_tracer("test").start_as_current_span("agent") as span:
            refund(5)
        plane.close()
    served = [one for one in exporter.get_finished_spans() if one.name == "POST /api/v1/actions/submit"]
    assert [one.context.trace_id for one in served] == [span.get_span_context().trace_id]


class Channel:
    """Says what it is told to; the real one is tested against a real queue."""

    def __init__(self) -> None:
        self.blocked = True

    def state(self, agent_id: str) -> KillSwitchState:
        return KillSwitchState(self.blocked, "by the channel" if self.blocked else None)


def test_a_channel_stops_calls_and_waits(tmp_path: Path) -> None:
    """One more way to be stopped: before a call, and while a person thinks."""
    channel = Channel()
    with serving(tmp_path / "a.db") as server:
        plane = server.plane(channel=channel)
        ran: list[int] = []

        @governed("refund", "stripe", control_plane=plane)
        def refund(amount: int) -> None:
            ran.append(amount)

        with pytest.raises(KillSwitchError, match="by the channel"):
            refund(1)
        channel.blocked = False
        refund(2)
        ended: list[Any] = []

        def wait() -> None:
            try:
                refund(900)
            except KillSwitchError as error:
                ended.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        server.newest_pending()
        channel.blocked = True
        waiting.join(20)
        assert ended
        assert ran == [2]
        plane.close()


def test_a_child_lets_go_of_the_parents_stream(tmp_path: Path) -> None:
    """When the parent's stream ends, the server sees it, however long a forked child lives."""
    with serving(tmp_path / "a.db") as server:
        plane = server.plane()

        @governed("refund", "stripe", control_plane=plane)
        def refund(amount: int) -> int:
            return amount

        refund(1)
        eventually(lambda: plane._feed.live)
        assert eventually(lambda: server.server.services.meter.streams == 1)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # lives until the parent says so
            os._exit(0)
        try:
            plane.close()
            eventually(lambda: server.server.services.meter.streams == 0)
        finally:
            os.close(writing)
            os.close(reading)
            os.waitpid(child, 0)
