"""Every code block of the SDK document runs as it stands, with only the package's name and the placeholder key changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from documented_server import ACTION_ID, DocumentedServer

import ascend_guard

KEY = "owkai_0123456789abcdef"

BLOCKS: dict[str, str] = {}
for _block in Path(__file__).with_name("sdk_document.txt").read_text().split("=== ")[1:]:
    _title, _, _code = _block.partition("\n")
    BLOCKS[_title] = _code

DECISIONS = ("approved", "denied", "pending_approval")


@pytest.fixture(params=DECISIONS)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DocumentedServer]:
    """One that decides all actions alike; the environment names it."""
    with DocumentedServer(request.param) as running:
        monkeypatch.setenv("ASCEND_API_KEY", KEY)
        monkeypatch.setenv("ASCEND_API_URL", running.url)
        monkeypatch.delenv("ASCEND_DEBUG", raising=False)
        yield running


class Named(Protocol):
    """A server that decides every action alike."""

    url: str
    decision: str


def read(title: str, server: Named, names: dict[str, Any]) -> None:
    """Run one block after the others a reader has seen."""
    code = BLOCKS[title].replace("owkai_xxx", KEY).replace("https://pilot.owkai.app", server.url)
    exec(compile(code, title, "exec", dont_inherit=True), names)  # the document's own code


def reader(server: Named) -> tuple[dict[str, Any], list[str]]:
    """The names that the document takes for granted, and what its functions were called for."""
    done: list[str] = []
    names: dict[str, Any] = {
        "__name__": "__main__",
        "logger": logging.getLogger("reader"),
        "sqs_messages": [],
        "execute_action": lambda: done.append("executed"),
        "execute_business_logic": lambda: done.append("executed"),
        "log_denial": lambda reason: done.append(f"denied: {reason}"),
        "wait_or_notify": lambda: done.append("waiting"),
    }
    read("Quick Start", server, names)
    names["action_id"] = names["result"].action_id
    return names, done


@pytest.mark.parametrize("title", [title for title in BLOCKS if title != "Complete Example"])
def test_every_block_runs(title: str, server: DocumentedServer) -> None:
    """Under each of the three decisions; what it guards runs only when it was approved."""
    names, done = reader(server)
    read(title, server, names)
    if server.decision == "denied":
        assert "executed" not in done


def test_blocks_do_what_they_say(server: DocumentedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The helper methods lead to the branch of the decision, and a pending one is waited for."""
    names, done = reader(server)
    said = capsys.readouterr().out
    assert {
        "approved": "Approved! Proceeding",
        "denied": "Denied: Action denied by the document",
        "pending_approval": "Pending approval from: ['admin@company.com']",
    }[server.decision] in said
    read("Helper Methods", server, names)
    read("Synchronous Wait", server, names)
    assert (
        done
        == {
            "approved": ["executed"],
            "denied": ["denied: Action denied by the document"],
            "pending_approval": ["waiting", "executed"],
        }[server.decision]
    )
    read("Connection Testing", server, names)
    assert "Connected to ASCEND v2.5.0" in capsys.readouterr().out


def test_the_complete_example(server: DocumentedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the customer when the read was approved, and raises ``PermissionError`` when it was not."""
    names = {"__name__": "__main__"}
    if server.decision == "denied":
        with pytest.raises(PermissionError, match="Access denied"):
            read("Complete Example", server, names)
        assert "Customer" not in capsys.readouterr().out
    else:
        read("Complete Example", server, names)
        assert "Customer: {'id': 'cust_123', 'name': 'John Doe'}" in capsys.readouterr().out


def test_what_the_document_sends(server: DocumentedServer) -> None:
    """Children of an orchestration name their parent by its number; every request has the documented headers."""
    names, _ = reader(server)
    read("Multi-agent orchestration", server, names)
    submitted = [request for request in server.requests if request.path.endswith("/submit")]
    assert b'"parent_action_id":%d' % ACTION_ID in submitted[-1].body
    for request in server.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["x-api-key"] == KEY
        assert request.headers["user-agent"] == f"ascend-guard/{ascend_guard.__version__} Python"
        assert request.headers["x-sdk-version"] == ascend_guard.__version__
        assert request.headers["x-environment"] == "production"
        assert request.headers["content-type"] == "application/json"
    marks = [request.headers["x-correlation-id"] for request in server.requests]
    assert len(set(marks)) == len(marks)


def test_nothing_of_the_document_is_left_out() -> None:
    """Twenty-four blocks of Python."""
    assert len(BLOCKS) == 24
