"""``ascend-guard demo`` on hostile ground, on a terminal, and where what it claims does not hold."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from ascend_guard.calling.bound_call import BoundCall
from ascend_guard.calling.execution import Execution
from ascend_guard.cli.demo import demo, demo_tools, scenes, world
from ascend_guard.engine import audit

COMMAND = [sys.executable, "-c", "from ascend_guard.cli import main; raise SystemExit(main())", "demo"]
HOSTILE = {
    "ASCEND_API_KEY": "ask_not_a_key_at_all_1",
    "ASCEND_API_URL": "https://127.0.0.1:9",
    "ASCEND_POLICY": "/nowhere/policy.yaml",
    "ASCEND_DATABASE_URL": "sqlite:////nowhere/ascend.db",
    "ASCEND_DURABILITY": "wishful",
    "ASCEND_AGENT_ID": "somebody-else",
    "ASCEND_DEBUG": "1",
    "http_proxy": "http://127.0.0.1:9",
}
PROOFS = {
    "read": r"✓  it ran and returned C-0104, .+@example\.org",
    "waiting": r"pending  rule big-refunds: .+\n.*✓  nothing has left: .+ 0 requests",
    "another process": r"finance  \$ ascend-guard approvals approve \d+ .+\n"
    r" +process (\d+); the agent is process (?!\1\b)\d+",
    "resumed": r"approved  by \S+\n +✓  the waiting call continued \d+ ms later",
    "refund": r'✓  POST /refunds \{"order_id": "7731", "amount": 940\.0\} arrived, once',
    "delete": r"denied  rule no-deletes: Agents do not delete\..+(\n.+)+✓  the row is still there: 1 ",
    "changed": r"blocked  arguments changed .+\n +✓  two lines were approved, .+ nothing was sent",
    "trace": r"trace  (\d+) ticket_resolve .+ ms  completed\n +├── \d+ database_read .+\n +└── \d+ refund "
    r".+\n.+✓  3 records, .+ 2 name action \1 ",
    "kill switch": r"✓  (\d+) of 2,000 rows are in the file; on record it stopped after \1 chunks",
    "stays stopped": r"✓  the agent stays stopped",
    "audit": r"✓  \d+ records of all the above, one unbroken chain",
    "tampering": r"one byte of record (\d+) (.|\n)+✓  found at record \1: ",
    "next": r"Next\n(.|\n)+ascend-guard init ",
}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The demo in a process with nearly nothing in its environment, whose output is a pipe."""
    (folder / "here").mkdir()
    (folder / "temporary").mkdir()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder / "temporary"), **HOSTILE, **more}
    return subprocess.run(
        COMMAND, cwd=folder / "here", env=environment, capture_output=True, encoding="utf-8", timeout=100
    )


def test_on_hostile_ground(tmp_path: Path) -> None:
    """Neither a key, nor a broken configuration, nor a missing HOME or TERM is in its way, and nothing is left behind."""
    played = run(tmp_path, PYTHONUTF8="1")
    assert (played.returncode, played.stderr) == (0, ""), played.stdout
    assert [scene for scene, proof in PROOFS.items() if not re.search(proof, played.stdout)] == [], (
        played.stdout
    )
    assert not re.search(r"[\x1b\r╭│]\s", played.stdout)
    lines = played.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if line != line.rstrip()] == []
    assert str(tmp_path / "temporary") in "".join(played.stdout.split())
    assert [*(tmp_path / "here").iterdir(), *(tmp_path / "temporary").iterdir()] == []


def test_ascii_will_do(tmp_path: Path) -> None:
    """Where the output cannot say ✓ it says ok."""
    played = run(tmp_path, PYTHONIOENCODING="ascii")
    assert (played.returncode, played.stderr) == (0, ""), played.stdout
    assert played.stdout.isascii()
    assert "\\u" not in played.stdout
    assert played.stdout.count("       ok  ") == 12


def test_a_terminal_of_80_columns(tmp_path: Path) -> None:
    """Colours and boxes, nothing wider than the terminal, nothing cut off."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    process = subprocess.Popen(
        COMMAND, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other side was closed
            break
        if not chunk:
            break
        output += chunk
    os.close(ours)
    text = output.decode()
    assert process.wait(30) == 0, text
    assert re.search("\x1b\\[1;32m *✓\x1b", text)
    assert re.search("\x1b\\[33m *pending\x1b", text)
    plain = [line.rpartition("\r")[2] for line in _ESCAPES.sub("", text).replace("\r\n", "\n").splitlines()]
    assert max(map(len, plain)) <= 80
    assert sum(line.startswith("╭") for line in plain) == 2
    assert not [line for line in plain if "…" in line]


def _unguarded(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "deletes are allowed":
        monkeypatch.setattr(
            demo_tools, "POLICY", demo_tools.POLICY.replace("effect: deny\n", "effect: allow\n")
        )
    elif what == "nobody is asked":
        monkeypatch.setattr(
            demo_tools, "POLICY", demo_tools.POLICY.replace("> 500", "> 5000").replace("<= 500", "<= 5000")
        )
    elif what == "changes go unnoticed":
        monkeypatch.setattr(BoundCall, "unchanged", lambda self: True)
    elif what == "streams are not stopped":
        monkeypatch.setattr(Execution, "check", lambda self: None)
        for module in (scenes, world):
            monkeypatch.setattr(module, "CUSTOMERS", 400)
    else:
        assert what == "tampering goes unnoticed"
        report = audit.Report(28, "f" * 64, [])
        monkeypatch.setattr(audit, "verify", lambda *_: report)


FAILURES: dict[str, str] = {
    "deletes are allowed": "the call should have been blocked, but it returned None",
    "nobody is asked": "the call should have waited, but it ended with 'R-1'",
    "changes go unnoticed": "the call should have been blocked, but it returned 'R-2'",
    "streams are not stopped": "the export ran to its end; the kill switch did not stop it",
    "tampering goes unnoticed": "expected: found at record 3: ; found: []",
}


@pytest.mark.parametrize("what", FAILURES)
def test_it_claims_nothing_that_is_not_so(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where governance does not govern, the demo says what went wrong and fails."""
    _unguarded(monkeypatch, what)
    assert demo() == 1
    shown: Any = capsys.readouterr().out
    assert FAILURES[what] in " ".join(shown.split())
    assert shown.rstrip().endswith("Please report the text above.")
    assert "Next" not in shown
