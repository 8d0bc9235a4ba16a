"""What is sent beside the calls arrives, in order, and what cannot arrive is not lost in silence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_world import Threads, ended, program
from serving import serving
from world import eventually

from ascend_guard.client.guard import outbox as module
from ascend_guard.client.guard.outbox import Outbox
from ascend_guard.client.http.exchange import Exchange, Send
from ascend_guard.client.http.transport import Answer
from ascend_guard.errors import (
    AuthenticationError,
    ConflictError,
    NetworkError,
    RateLimitError,
    ServerError,
    TimeoutError,
)

PASSING = [NetworkError, TimeoutError, ServerError, RateLimitError]


class Wire:
    """Takes messages, or fails as a plan says."""

    def __init__(self, plan: list[type[Exception] | None]) -> None:
        self.plan = iter(plan)
        self.arrived: list[str] = []
        self.attempts = 0

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> Answer:
        self.attempts += 1
        failure = next(self.plan, None)
        if failure is not None:
            if failure is ConflictError:  # it had arrived before, and its answer was lost
                self.arrived.append(path)
            raise failure("as planned")
        self.arrived.append(path)
        return Answer(200, {}, b"{}")


def _message(path: str) -> Exchange[None]:
    yield Send("POST", path)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr(module, "_PAUSES", (0.0,) * 5)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for a moment only."""
    monkeypatch.setattr(module, "GOODBYE", 0.3)


@given(
    st.lists(st.lists(st.sampled_from([*PASSING, ConflictError]), max_size=4), min_size=1, max_size=6),
)
def test_everything_arrives_in_order(hurried: None, outages: list[list[type[Exception]]]) -> None:
    """Whatever fails for a while: each message arrives once, in the order in which they were posted."""
    plan: list[type[Exception] | None] = []
    for failures in outages:
        until = [*failures, ConflictError].index(ConflictError)
        plan += failures[:until]
        plan.append(ConflictError if until < len(failures) else None)
    wire = Wire(plan)
    outbox = Outbox(wire)
    paths = [f"/{number}" for number in range(len(outages))]
    for path in paths:
        outbox.post(lambda path=path: _message(path))
    eventually(lambda: not outbox._queue)
    outbox.close()
    assert wire.arrived == paths


@pytest.mark.parametrize("failure", [AuthenticationError, ValueError, RuntimeError, RecursionError])
def test_what_is_refused_is_logged(failure: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    """One message that will never be taken, or cannot even be made, is logged, and does not end the others."""
    wire = Wire([failure])
    outbox = Outbox(wire)
    outbox.post(lambda: _message("/a"))
    outbox.post(lambda: _message("/b"))
    eventually(lambda: wire.arrived == ["/b"])
    outbox.close()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_one_that_the_server_cannot_take_holds_up_nobody(hurried: None) -> None:
    """A message that makes the server fail each time lets the others pass."""
    arrived: list[str] = []

    class Picky(Wire):
        def send(self, method: str, path: str, **how: Any) -> Answer:
            if path == "/poison":
                raise ServerError("as always")
            arrived.append(path)
            return Answer(200, {}, b"{}")

    outbox = Outbox(Picky([]))
    outbox.post(lambda: _message("/poison"))
    for number in range(3):
        outbox.post(lambda number=number: _message(f"/{number}"))
    eventually(lambda: sorted(arrived) == ["/0", "/1", "/2"])
    outbox._queue.clear()
    outbox.close()


def test_closing_is_bounded_and_says_what_is_lost(
    brief: None, caplog: pytest.LogCaptureFixture, threads: Threads
) -> None:
    """A server that is away for good keeps nobody, is not hammered, and what it did not take is counted in the log."""
    wire = Wire([NetworkError] * 1_000_000)
    outbox = Outbox(wire)
    for number in range(3):
        outbox.post(lambda number=number: _message(f"/{number}"))
    outbox.close()
    outbox.close()
    assert wire.attempts < 20
    assert any(
        record.levelno == logging.ERROR and "3 messages" in record.message for record in caplog.records
    )
    eventually(lambda: not threads("ascend-guard-outbox"))


def test_after_closing(caplog: pytest.LogCaptureFixture, threads: Threads) -> None:
    """A message that comes too late is not kept in silence."""
    outbox = Outbox(Wire([]))
    outbox.close()
    outbox.close()
    outbox.post(lambda: _message("/late"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert not threads("ascend-guard-outbox")


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever posts learns of it, and the next message starts one."""
    wire = Wire([])
    outbox = Outbox(wire)

    def fail(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", fail)
        with pytest.raises(RuntimeError):
            outbox.post(lambda: _message("/a"))
    outbox.post(lambda: _message("/b"))
    eventually(lambda: wire.arrived == ["/b"])
    outbox.close()


def test_no_thread_without_messages(threads: Threads) -> None:
    """The thread ends with the queue, and comes back with the next message."""
    wire = Wire([])
    outbox = Outbox(wire)
    for number in range(3):
        outbox.post(lambda number=number: _message(f"/{number}"))
        eventually(lambda: not threads("ascend-guard-outbox"))
    assert wire.arrived == ["/0", "/1", "/2"]
    outbox.close()


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_a_forked_child(leave: str) -> None:
    """It sends its own messages, none of its parent's, whether or not the parent was at it."""
    out = ended(
        program(
            f"""
            import os, sys, threading, time
            from test_remote_outbox import Wire, _message, Outbox, NetworkError
            class Slow(Wire):
                def send(self, method, path, **how):
                    go.wait(30)
                    print(f"{{os.getpid() == parent}} {{path}}\\n", end="", flush=True)
                    return super().send(method, path, **how)
            go, parent = threading.Event(), os.getpid()
            outbox = Outbox(Slow([]))
            for number in range(3):
                outbox.post(lambda number=number: _message(f"/parent{{number}}"))
            child = os.fork()
            go.set()
            if child == 0:
                assert not outbox._queue
                outbox.post(lambda: _message("/child"))
                while outbox._queue:
                    time.sleep(0.001)
                {leave}
            assert os.waitpid(child, 0)[1] == 0
            outbox.close()
            """
        )
    )
    lines = sorted(out.split("\n")[:-1])
    assert lines == ["False /child", "True /parent0", "True /parent1", "True /parent2"]


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_a_worker_that_ends(how: str, tmp_path: Any) -> None:
    """A worker of multiprocessing runs nothing of atexit's; its outcomes are sent all the same."""
    with serving(tmp_path / "a.db") as server:
        code = "import sys, remote_workers; remote_workers.pool(*sys.argv[1:])"
        ended(program(code, how, server.url, server.key("my-agent")))
        rows = server.store.read(lambda reader: reader.actions("local", limit=10))
        assert [row.outcome for row in rows] == ["completed"] * 3


def test_the_end_of_the_process(tmp_path: Any) -> None:
    """What was posted a moment before the end is sent before the end."""
    with serving(tmp_path / "a.db") as server:
        ended(
            program(
                """
                import sys
                from ascend_guard import RemoteControlPlane, governed
                plane = RemoteControlPlane(sys.argv[2], sys.argv[1], agent_id="my-agent")
                @governed("refund", "stripe", control_plane=plane)
                def refund(amount: int) -> int:
                    return amount
                for amount in range(5):
                    refund(amount)
                """,
                server.url,
                server.key("my-agent"),
            )
        )
        rows = server.store.read(lambda reader: reader.actions("local", limit=10))
        assert [row.outcome for row in rows] == ["completed"] * 5


def test_the_end_of_the_process_without_a_server(tmp_path: Any) -> None:
    """A server that went away keeps a process that ends for a moment only, however many guards it has, and says so."""
    with serving(tmp_path / "a.db") as server:
        process = program(
            """
            import logging, sys
            from ascend_guard import RemoteControlPlane, governed
            from ascend_guard.client.guard import outbox
            outbox.GOODBYE = 0.5
            logging.basicConfig(level=logging.ERROR)
            planes = [RemoteControlPlane(sys.argv[2], sys.argv[1], agent_id="my-agent") for _ in range(6)]
            for plane in planes:
                @governed("refund", "stripe", control_plane=plane)
                def refund(amount: int) -> int:
                    if plane is planes[-1]:
                        print("running", flush=True)
                        sys.stdin.readline()
                    return amount
                refund(1)
                plane._detach("1")
            for plane in planes[:-1]:
                plane._detach("1")
            """,
            server.url,
            server.key("my-agent"),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
    out, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    assert "messages" in err
    assert server.url not in out
