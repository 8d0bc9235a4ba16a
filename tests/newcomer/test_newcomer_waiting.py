"""A call that waits says so: in the log, on a terminal, once, and with nothing in it that acts on either."""

from __future__ import annotations

import logging
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard import ActionPendingError, ConfigurationError, configure, guard, scope
from ascend_guard.calling import waiting_notice as notices
from ascend_guard.model import ActionResult, AgentAction, Decision

POLICY = "version: 1\nrules:\n  - {name: ask, effect: require_approval, timeout: 30m}\n"
CODE = """
import logging, sys
{setup}
from ascend_guard import configure, guard, ActionPendingError
{more}
for _ in range(3):
    try:
        with guard("refund", "billing", parameters={{"card": "4111-1111-SECRET"}}, on_pending="raise"):
            print("RAN")
    except ActionPendingError:
        pass
"""
ESCAPES = re.compile(r"\x1b(\[[0-9;]*m|\]8[^\x1b]*\x1b\\)")
LINE = "Waiting for a person: refund by billing for agent 'default-agent' (action 1, until "


def on_terminal(folder: Path, setup: str = "", more: str = "", **environment: str) -> str:
    """What a person sees on the terminal on which this program runs."""
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "agent.py").write_text(CODE.format(setup=setup, more=more))
    ours, theirs = pty.openpty()
    known = {
        **os.environ,
        "COLUMNS": "500",
        "TERM": "xterm",
        "ASCEND_POLICY": str(folder / "policy.yaml"),
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, "agent.py"], cwd=folder, env=known, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([ours], [], [], 0.5)[0]:
            continue
        try:
            seen += os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
    os.close(ours)
    assert process.wait(60) == 0, seen
    return seen.decode()


@pytest.mark.parametrize(
    ("setup", "times"),
    [
        ("", 1),
        ("logging.basicConfig()", 1),
        ("logging.basicConfig(filename='log')", 1),
        ("logging.basicConfig(filename='log'); logging.getLogger().addHandler(logging.StreamHandler())", 1),
        ("logging.getLogger('ascend_guard').addHandler(logging.NullHandler())", 1),
        ("logging.getLogger('ascend_guard').setLevel('ERROR')", 1),
        ("logging.disable(logging.CRITICAL)", 1),
        ("logging.getLogger('ascend_guard').propagate = False", 1),
        ("logging.basicConfig(stream=open('log', 'w'))", 1),
        ("from rich.logging import RichHandler; logging.basicConfig(handlers=[RichHandler()])", 1),
        ("h = logging.StreamHandler(); h.setLevel('ERROR'); logging.getLogger().addHandler(h)", 1),
        ("sys.stderr = open('log', 'w')", 0),
    ],
)
def test_whoever_sits_at_the_terminal_sees_it_once(tmp_path: Path, setup: str, times: int) -> None:
    """However logging is set up, though the call is made three times; and no argument is in it."""
    seen = re.sub(r"\s+", " ", ESCAPES.sub("", on_terminal(tmp_path, setup)))
    assert len(re.findall(r"Waiting for a person: ", seen)) == times, seen
    assert "SECRET" not in seen
    assert "RAN" not in seen
    assert "Traceback" not in seen
    log = (tmp_path / "log").read_text() if (tmp_path / "log").exists() else None
    if log:
        assert log.count(LINE) == 1
        assert "SECRET" not in log


@pytest.mark.parametrize(("how", "times"), [("terminal", 1), ("log", 0), ("off", 0)])
def test_it_can_be_configured(tmp_path: Path, how: str, times: int) -> None:
    """By the environment and in code; the log has it unless it is off."""
    logged = "logging.basicConfig(filename='log')"
    seen = on_terminal(tmp_path, logged, ASCEND_WAITING=how)
    assert seen.count("Waiting for a person: ") == times
    assert (tmp_path / "log").read_text().count(LINE) == (0 if how == "off" else 1)
    other = tmp_path / "in-code"
    other.mkdir()
    seen = on_terminal(other, logged, f"configure(waiting={how!r})")
    assert seen.count("Waiting for a person: ") == times


def test_a_way_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where it is configured, with those that there are."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with pytest.raises(ConfigurationError, match="terminal, log or off, not 'loud'"):
        configure(policy=tmp_path / "policy.yaml", waiting="loud")
    monkeypatch.setenv("ASCEND_WAITING", "loud")
    with pytest.raises(ConfigurationError, match="ASCEND_WAITING"):
        configure(policy=tmp_path / "policy.yaml")


def test_the_line_says_what_waits_and_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its type, tool, agent, id, deadline and database; no argument, and no command that decides."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    plane = configure(policy=tmp_path / "policy.yaml", durability="process")
    try:
        with (
            caplog.at_level(logging.WARNING, "ascend_guard"),
            scope(agent_id="billing"),
            pytest.raises(ActionPendingError) as raised,
            guard("refund", "stripe", parameters={"card": "4111"}, on_pending="raise"),
        ):
            pass
    finally:
        plane.close()
    [line] = [record.getMessage() for record in caplog.records if record.name == "ascend_guard"]
    number = raised.value.action_id
    assert re.fullmatch(
        rf"Waiting for a person: refund by stripe for agent 'billing' \(action {number}, until [-0-9]+ [:0-9]+\)\. "
        rf"Look and decide: ascend-guard approvals show {number} "
        rf"\(database {re.escape(str(tmp_path / '.ascend' / 'ascend.db'))}\)",
        line,
    )
    assert "4111" not in line
    assert not re.search(r"approvals (approve|deny)", line)


nasty = st.text(st.characters() | st.sampled_from("\x1b\x07\r\n\u202e\u2066\u200b\x9b"), max_size=300)


@given(nasty, nasty, nasty, nasty, nasty)
def test_no_name_acts_on_the_terminal(kind: str, tool: str, agent: str, until: str, place: str) -> None:
    """Neither escapes nor line breaks, nor a name without end: from an agent, a tool's server, or a control plane."""
    caught: list[str] = []

    class Catching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            caught.append(record.getMessage())

    handler = Catching()
    logger = logging.getLogger("ascend_guard")
    logger.addHandler(handler)
    try:
        action = AgentAction(agent, agent, kind, "", tool)
        result = ActionResult("7" + agent, Decision.PENDING, metadata={"expires_at": until})
        notices.waits(os.urandom(8), f"server {place}", action, result)
    finally:
        logger.removeHandler(handler)
    [line] = caught
    assert line.isprintable()
    assert len(line) < 12_000
