"""The proxy in front of a server that is a command: raw lines in, raw lines out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from proxy_world import MODERN, PATIENCE, Desk, Proxy, words
from recording_server import RAW
from world import eventually

from ascend_guard.model import OutcomeStatus


def test_an_allowed_call_passes_and_its_answer_comes_back_byte_for_byte(desk: Desk, proxy: Proxy) -> None:
    """What the server wrote is what the client reads, and the action has its outcome."""
    proxy.call(7, "get_order", {"order": "o-1"})
    assert proxy.line() == RAW % b"7" + b"\n"
    assert desk.calls == [{"name": "get_order", "arguments": {"order": "o-1"}}]
    (row,) = desk.settled()
    assert (row.action_type, row.tool_name, row.outcome) == ("shop.get_order", "get_order", "completed")
    assert proxy.hang_up() == 0


def test_a_denied_call_never_arrives(desk: Desk, proxy: Proxy) -> None:
    """It is answered by a result that says why; one of 2026-07-28 says that it is complete."""
    proxy.call("a", "drop_table", {"table": "orders"})
    answer = proxy.answer()
    assert answer["id"] == "a"
    assert answer["result"]["isError"] is True
    assert "Drops are off." in words(answer)
    assert "resultType" not in answer["result"]
    proxy.call("b", "drop_table", {"table": "orders"}, **MODERN)
    assert proxy.answer()["result"]["resultType"] == "complete"
    proxy.ping()
    assert desk.calls == []


def test_a_call_that_was_to_become_a_task_is_denied_by_an_error(desk: Desk, proxy: Proxy) -> None:
    """Its client expects the task or an error (2025-11-25)."""
    proxy.call(1, "drop_table", task={"ttl": 1000})
    answer = proxy.answer()
    assert answer["error"]["code"] == -32000
    assert "Drops are off." in answer["error"]["message"]
    assert desk.calls == []


def test_a_pending_call_runs_once_approved(desk: Desk, proxy: Proxy) -> None:
    """Others are not held up meanwhile."""
    proxy.call(1, "refund", {"amount": 500, "to": "ann"})
    row = desk.pending()
    proxy.ping()
    proxy.call(2, "get_order")
    assert proxy.answer()["id"] == 2
    assert len(desk.calls) == 1
    desk.plane.approve(str(row.id), approver="ann")
    answer = proxy.answer()
    assert (answer["id"], words(answer)) == (1, '{"amount": 500, "to": "ann"}')
    desk.settled(2)


def test_an_approver_s_edit_is_what_arrives(desk: Desk, proxy: Proxy) -> None:
    """The server gets the edited arguments, and everything else as it was."""
    proxy.call(1, "refund", {"amount": 500, "to": "ann"}, _meta={"progressToken": 12345678901234567890})
    desk.plane.approve(str(desk.pending().id), approver="ann", arguments={"amount": 300})
    own, note = [part["text"] for part in proxy.answer()["result"]["content"]]
    assert own == '{"amount": 300, "to": "ann"}'
    assert note.startswith('A person changed this call before it ran: "amount" from 500 to 300.')
    assert desk.calls[0]["_meta"] == {"progressToken": 12345678901234567890}


def test_a_pending_call_that_a_person_denies(desk: Desk, proxy: Proxy) -> None:
    """It says so and does not run."""
    proxy.call(1, "refund", {"amount": 500})
    desk.plane.deny(str(desk.pending().id), approver="ann", comment="no receipt")
    answer = proxy.answer()
    assert answer["result"]["isError"] is True
    assert "no receipt" in words(answer)
    assert desk.calls == []


def test_a_call_nobody_decides_answers_that_it_is_pending(desk: Desk, start: Callable[..., Proxy]) -> None:
    """The same call, made again after the approval, runs."""
    proxy = start("--wait", "0.05")
    proxy.call(1, "refund", {"amount": 500})
    assert "same arguments" in words(proxy.answer())
    desk.plane.approve(str(desk.pending().id), approver="ann")
    proxy.call(2, "refund", {"amount": 500})
    assert words(proxy.answer()) == '{"amount": 500}'
    assert len(desk.actions()) == 1


def test_an_expired_call_does_not_run(desk: Desk, proxy: Proxy) -> None:
    """Time out is a no."""
    proxy.call(1, "brief")
    assert proxy.answer()["result"]["isError"] is True
    assert desk.calls == []


def test_the_kill_switch_ends_waits_and_stops_calls(desk: Desk, proxy: Proxy) -> None:
    """Both the call that waits and the next one."""
    proxy.call(1, "refund", {"amount": 500})
    desk.pending()
    desk.plane.kill(reason="fire drill", by="ann")
    assert "fire drill" in words(proxy.answer())
    proxy.call(2, "get_order")
    assert "fire drill" in words(proxy.answer())
    assert desk.calls == []


def test_a_cancelled_wait_is_forgotten(desk: Desk, proxy: Proxy) -> None:
    """Neither call nor cancellation arrives, nothing is answered, and the id is free again."""
    proxy.call(1, "refund", {"amount": 500})
    row = desk.pending()
    proxy.send(method="notifications/cancelled", params={"requestId": 1})
    proxy.ping()
    desk.plane.deny(str(row.id), approver="ann")
    proxy.call(1, "get_order")
    assert proxy.line() == RAW % b"1" + b"\n"
    assert [json.loads(line)["method"] for line in desk.received] == ["ping", "tools/call"]


def test_cancelling_a_running_call_is_the_servers_business(desk: Desk, proxy: Proxy) -> None:
    """The notification arrives; the outcome says that the tool may have acted."""
    proxy.call(1, "slow")
    eventually(lambda: desk.calls)
    proxy.send(method="notifications/cancelled", params={"requestId": 1})
    (row,) = desk.settled()
    assert row.outcome == OutcomeStatus.UNKNOWN
    assert "may have acted" in (row.error or "")
    assert json.loads(desk.received[-1])["method"] == "notifications/cancelled"


def test_outcomes(desk: Desk, proxy: Proxy) -> None:
    """Results that are errors, JSON-RPC errors and successes; requests of the server's pass meanwhile."""
    proxy.call(1, "fails")
    assert proxy.answer()["result"]["isError"] is True
    proxy.call(2, "nothing")
    assert proxy.answer()["error"]["code"] == -32602
    proxy.call(3, "asks")
    assert proxy.answer()["method"] == "sampling/createMessage"
    proxy.send(id="s-1", result={"role": "assistant"})
    assert proxy.answer()["id"] == 3
    asks, nothing, fails = desk.settled(3)
    assert (fails.outcome, "the till is closed" in (fails.error or "")) == ("failed", True)
    assert (nothing.outcome, "no such tool" in (nothing.error or "")) == ("failed", True)
    assert (asks.outcome, asks.error) == ("completed", None)


def test_a_server_that_crashes(desk: Desk, proxy: Proxy) -> None:
    """It may have acted, so the outcome is unknown; whoever waits does so no longer, and the proxy says it and ends."""
    proxy.call(1, "refund", {"amount": 500})
    row = desk.pending()
    proxy.call(2, "crash")
    assert proxy.line() == b""
    assert proxy.wait() == 1
    assert "the MCP server ended with status 3" in proxy.errors
    crashed = next(row for row in desk.settled() if row.tool_name == "crash")
    assert (crashed.outcome, "ended before it answered" in (crashed.error or "")) == ("unknown", True)
    assert next(other for other in desk.actions() if other.id == row.id).outcome is None


@pytest.mark.parametrize(("status", "own"), [(0, 0), (5, 1)])
def test_the_servers_status(proxy: Proxy, status: int, own: int) -> None:
    """A server that ends by itself ends the proxy."""
    proxy.send(method="x/quit", params={"status": status})
    assert proxy.line() == b""
    assert proxy.wait() == own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_with_the_server(desk: Desk, proxy: Proxy, number: int) -> None:
    """And it is not known what came of the call that ran."""
    proxy.call(1, "slow")
    eventually(lambda: desk.calls)
    proxy.process.send_signal(number)
    assert proxy.wait() == 0
    assert desk.settled()[0].outcome == "unknown"


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    open(sys.argv[1], "w").write(f"{os.getpid()} {child}")
time.sleep(600)
"""


def test_a_server_that_will_not_end_is_ended_with_its_children(
    desk: Desk, start: Callable[..., Proxy]
) -> None:
    """Neither end of input nor a signal moves it; nothing is left all the same."""
    pids = desk.folder / "pids"
    proxy = start(server=[sys.executable, "-c", STUBBORN, str(pids)])
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert proxy.hang_up() == 0
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: _gone(int(pid)))


def _gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_everything_else_passes(desk: Desk, proxy: Proxy) -> None:
    """Any method in either direction, in order; the server's standard error as well."""
    proxy.send(id=1, method="x/future", params={"deep": [{"a": None}], "é": "ü"})
    assert proxy.answer() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    proxy.write(b'[{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","method":"x/note"}]')
    assert proxy.answer()["id"] == 2
    proxy.send(id=3, method="resources/read", params={"uri": "x:y"})
    assert proxy.answer()["error"]["code"] == -32601
    assert json.loads(desk.received[0])["params"] == {"deep": [{"a": None}], "é": "ü"}
    assert proxy.hang_up() == 0
    assert "recorder is up" in proxy.errors


def test_tools_that_are_always_denied_can_be_hidden(start: Callable[..., Proxy]) -> None:
    """Only when asked to."""
    shown, hidden = [], []
    for names, options in ((shown, ()), (hidden, ("--hide",))):
        proxy = start(*options)
        proxy.send(id=1, method="tools/list")
        names += [tool["name"] for tool in proxy.answer()["result"]["tools"]]
    assert set(shown) - set(hidden) == {"drop_table"}


@pytest.mark.parametrize("closed", [True, False])
def test_a_client_that_does_not_read_cannot_keep_it(desk: Desk, closed: bool) -> None:
    """Whether its end of the pipe is closed or full: the proxy ends, and with it the server."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        desk.command(), stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.DEVNULL, env=desk.environment
    )
    assert process.stdin is not None
    os.close(writing)
    if closed:
        os.close(reading)
    call = {"name": "refund", "arguments": {"amount": 1, "note": "x" * 300_000}}
    process.stdin.write(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode()
    )
    process.stdin.write(b"\n")
    process.stdin.flush()
    if not closed:
        eventually(lambda: desk.actions() and desk.actions()[0].claimed_at)
        process.terminate()
    assert process.wait(PATIENCE) == 0
    process.stdin.close()
    if not closed:
        os.close(reading)


def test_cancelled_at_any_moment(desk: Desk, proxy: Proxy) -> None:
    """Whatever was let through has an outcome, and what arrived at the server was let through."""
    for number in range(120):
        proxy.call(number, "refund", {"amount": 1, "number": number})
        for _ in range(number % 4):
            proxy.send(id="ping", method="ping")
            while proxy.answer()["id"] != "ping":
                pass
        proxy.send(method="notifications/cancelled", params={"requestId": number})
    assert proxy.hang_up() == 0
    started = [row for row in desk.actions(1000) if row.claimed_at is not None]
    begun = [row for row in started if "not started" not in (row.error or "")]
    assert {row.outcome for row in begun} <= {"completed", "unknown"}
    assert {row.outcome for row in started} <= {"completed", "unknown", "failed"}
    assert len(desk.calls) == len(begun)


def test_the_server_gets_none_of_the_means_to_decide(desk: Desk, tmp_path: Path) -> None:
    """A tool that shows its environment shows no key and no database; the rest of it is there."""
    seen = tmp_path / "seen.json"
    show = f"import json, os; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))"
    environment = {**desk.environment, "ASCEND_MCP_HEADER_1": "Bearer x", "SHOP": "open"}
    proxy = Proxy(desk.command(server=[sys.executable, "-c", show]), environment)
    assert proxy.hang_up() == 0
    given = json.loads(seen.read_text())
    assert given["SHOP"] == "open"
    assert not [name for name in given if name.startswith("ASCEND_")]
