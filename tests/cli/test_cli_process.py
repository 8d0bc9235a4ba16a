"""The command line as a process: pipes, terminals, signals, and what it loads."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-c", "import sys; from ascend_guard.cli import main; sys.exit(main())")
PATIENCE = 60.0
SGR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def run(*words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, **how
    )


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: str, columns: int = 100) -> None:
        self.seen = ""
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
            os.execve(COMMAND[0], [*COMMAND, *words], environment)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until this is on the screen."""
        self._read(lambda: text in SGR.sub("", self.seen))
        assert text in SGR.sub("", self.seen), self.seen

    def end(self) -> int:
        """Read to the end; the exit status."""
        self._read(lambda: False)
        status = os.waitpid(self.process, 0)[1]
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    def _read(self, enough: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not enough() and time.monotonic() < until:
            if not select.select([self._terminal], [], [], 0.2)[0]:
                continue
            try:
                self.seen += os.read(self._terminal, 65536).decode()
            except OSError:  # Linux's way to say that the other end is closed
                return


def test_help_loads_little() -> None:
    """Help needs neither engine, nor store, nor policy language, nor the network."""
    code = """
import sys
from ascend_guard.cli.app import app
heavy = {"ascend_guard.engine", "ascend_guard.store", "cel_expr_python", "yaml", "sqlite3", "requests", "cryptography"}
print(sorted(heavy & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    loaded = found.stdout.strip()
    # doctor tells SQLite's version, and is small enough to be loaded with the rest.
    assert loaded in ("[]", "['sqlite3']"), found.stderr


def test_standard_output_is_json_and_nothing_else(shop: Any) -> None:
    """A program reads one value; nothing is on standard error."""
    shop.ask()
    for words in (
        "approvals list",
        "actions show 1",
        "doctor",
        "audit verify",
        "policy check",
        "kill-switch status",
    ):
        done = run(*words.split(), "--json")
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), dict)
        assert done.stderr == ""
    failed = run("approvals", "show", "99", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"]["type"] == "NotFoundError"


def test_plain_where_there_is_no_terminal(shop: Any) -> None:
    """No escape sequence and no carriage return in a pipe."""
    shop.ask()
    for words in ("actions show 1", "--help", "nonsense"):
        done = run(*words.split())
        assert not set(done.stdout + done.stderr) & {"\x1b", "\r"}


def test_another_encoding(shop: Any) -> None:
    """On a terminal that knows ASCII only, nothing fails."""
    asked = shop.ask(agent_id="müller", resource="漢字")
    done = run("actions", "show", asked.action_id, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert r"m\xfcller" in done.stdout


LONG = ["actions list --json --limit 10000", "actions show 1", "audit export -"]


@pytest.mark.parametrize("words", LONG)
def test_who_reads_may_leave(shop: Any, words: str) -> None:
    """A closed pipe ends the command with one line and status 1: not all of the answer was read."""
    shop.ask("data_read", action_details={"x": "word " * 60_000})
    for _ in range(300):
        shop.ask("data_read")
    with subprocess.Popen(
        [*COMMAND, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        [line] = process.stderr.read().splitlines()
        assert line.startswith(b"Error: The output was closed before all of it was written.")
        assert process.wait(PATIENCE) == 1


EVERY = [
    *LONG, "--help", "--version", "kill-switch", "kill-switch on --help", "approvals list", "approvals show 1",
    "approvals watch --json", "actions list", "kill-switch status", "kill-switch on", "policy check",
    "policy explain --action refund", "audit verify", "audit rebuild", "doctor", "doctor --json", "keys create", "keys list",
    "token --user ann@example.com", "init x.yaml", "init x.yaml --json", "demo", "demo --json",
    "mcp-proxy --help", "--show-completion bash", "serve --port 0", "serve --port 0 --json",
]  # fmt: skip


@pytest.mark.parametrize("words", EVERY)
def test_an_output_that_is_full(shop: Any, words: str, tmp_path: Path) -> None:
    """One line and status 1 from every command, not a traceback and not success."""
    shop.ask()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *words.split()], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, timeout=PATIENCE
        )
    [line] = [text for text in done.stderr.splitlines() if not text.startswith(b"There was no organization")]
    assert line.startswith(b"Error: The output cannot be written (No space left on device)."), line
    assert done.returncode == 1
    if words == "kill-switch on":
        assert shop.plane.kill_switches()


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_an_output_that_was_never_open(shop: Any, closed: str) -> None:
    """A cron job that closed its outputs: the command does its work, and no database gets the number of an output."""
    shop.ask()

    def close() -> None:
        for number, name in ((1, "stdout"), (2, "stderr")):
            if closed in (name, "both"):
                os.close(number)

    done = subprocess.run(
        [*COMMAND, "kill-switch", "on"], preexec_fn=close, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0
    assert shop.plane.kill_switches()
    assert shop.run("audit verify").code == 0


def test_a_person_is_asked_on_a_terminal(shop: Any) -> None:
    """The question on a real terminal, and the answer."""
    asked = shop.ask()
    terminal = Terminal("approvals", "approve", asked.action_id)
    terminal.wait_for("[y/N]")
    assert "amount" in terminal.seen
    terminal.type("y\r")
    terminal.wait_for("Approved")
    assert terminal.end() == 0
    assert shop.run("actions", "show", asked.action_id, "--json").json["status"] == "approved"


def test_keys_pressed_too_early_are_no_answer(shop: Any) -> None:
    """A yes typed before the question was shown does not count."""
    asked = shop.ask()
    terminal = Terminal("approvals", "approve", asked.action_id)
    terminal.type("y\r")
    terminal.wait_for("[y/N]")
    terminal.type("\r")
    assert terminal.end() == 1
    assert shop.run("actions", "show", asked.action_id, "--json").json["status"] == "pending"


def test_ctrl_c_at_the_question(shop: Any) -> None:
    """Decides nothing, and shows no traceback."""
    shop.plane.kill(reason="fire", by="carol")
    terminal = Terminal("kill-switch", "off")
    terminal.wait_for("[y/N]")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert shop.plane.kill_switches()


def test_no_colour_where_none_is_wanted(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is followed on a terminal."""
    shop.ask()
    coloured = Terminal("approvals", "list")
    assert coloured.end() == 0
    assert re.search(r"\x1b\[[0-9;]*3[1-7]", coloured.seen)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal("approvals", "list")
    assert plain.end() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[1-7]", plain.seen)
    for words in (("--help",), ("doctor",), ("nonsense",), ("kill-switch", "on", "--help")):
        uncoloured = Terminal(*words)
        uncoloured.end()
        assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", uncoloured.seen), words


def test_watch_on_a_terminal(shop: Any) -> None:
    """What comes and what is decided shows at once; Ctrl-C leaves with status 0 and gives the cursor back."""
    terminal = Terminal("approvals", "watch")
    terminal.wait_for("No agent has made a governed call yet.")
    asked = shop.ask(resource="orders/first")
    terminal.wait_for("orders/first")
    shop.ask(resource="orders/second")
    terminal.wait_for("orders/second")
    terminal.seen = ""
    shop.plane.approve(asked.action_id, approver="carol")
    terminal.wait_for("orders/second")
    assert "orders/first" not in terminal.seen
    terminal.type("\x03")
    assert terminal.end() == 0
    assert terminal.seen.rstrip().endswith("\x1b[?25h")


@pytest.mark.parametrize("as_json", [True, False])
def test_watch_in_a_pipe(shop: Any, as_json: bool) -> None:
    """One line for each action that begins to wait, when it does."""
    shop.ask(resource="orders/first")
    words = ["approvals", "watch", *(["--json"] if as_json else [])]
    with subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        shop.ask(resource="orders/second")
        lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    if as_json:
        assert [json.loads(line)["resource"] for line in lines] == ["orders/first", "orders/second"]
        assert all(json.loads(line)["status"] == "pending" for line in lines)
    else:
        assert "orders/first" in lines[0]
        assert "orders/second" in lines[1]


def test_a_bar_for_what_takes_long(shop: Any, monkeypatch: pytest.MonkeyPatch, types: Any) -> None:
    """Verifying shows its progress on a terminal, and nothing of it where there is none."""
    shop.ask("data_read")
    monkeypatch.setattr("ascend_guard.cli.context._SLOW", -1.0)
    for _ in range(500):
        shop.ask("data_read")
    assert shop.run("audit verify").err == ""
    types()
    assert "Verifying" in shop.run("audit verify").err
