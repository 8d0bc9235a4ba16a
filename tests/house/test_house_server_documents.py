"""What the documents of the server and of the client show really happens: the minute, the receiver, the quick start."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Serving, serving
from test_house_documents import blocks
from world import eventually

from ascend_guard.cli.app import app
from ascend_guard.engine.webhooks import EVENTS, signature_header
from ascend_guard.server.access.limits import TIERS

ROOT = Path(__file__).parents[2]
SERVER, CLIENT = ROOT / "docs/server.md", ROOT / "docs/client.md"

CURL = """
import sys, urllib.error, urllib.request

words = iter(sys.argv[1:])
url, data, headers = "", None, {}
for word in words:
    if word == "-H":
        name, _, value = next(words).partition(": ")
        headers[name] = value
    elif word == "-d":
        data = next(words).encode()
    elif word != "-s":
        url = word
try:
    print(urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
except urllib.error.URLError:
    sys.exit(7)
"""
"""As much of it as the documents use, so that the tests need no program besides Python."""


def code(document: Path, mark: str) -> str:
    return next(block for block in blocks(document, "python") if block.startswith(f"# {mark}"))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_the_minute_of_the_server(tmp_path: Path) -> None:
    """Its blocks as they stand, in a shell, but for the port, the installation, and waiting for what a person sees."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "curl.py").write_text(CURL)
    for name, does in {
        "ascend-guard": "-m ascend_guard",
        "python": "",
        "curl": f"'{tmp_path}/curl.py'",
    }.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {does} "$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "agent.py").write_text(code(SERVER, "agent.py"))
    setup, agent, person = blocks(SERVER, "bash")[:3]
    create = "ascend-guard keys create --agent billing-agent"
    assert setup.startswith("pip install 'ascend-guard[server]'\n")
    assert create in setup
    setup = setup.partition("\n")[2].replace(create, f"{create} > keys.txt\n:")
    lines = [
        "set -eu",
        "trap 'kill $SERVER' EXIT",
        setup.replace("8080 &", "8080 & SERVER=$! ;:"),
        "until curl -s http://127.0.0.1:8080/ready; do sleep 0.1; done",
        "KEY=$(grep -o 'owkai_[A-Za-z0-9_-]*' keys.txt | head -n 1)",
        agent.replace("owkai_...", "$KEY") + "AGENT=$!",
        'until curl -s "http://127.0.0.1:8080/api/v1/actions?status=pending" -H "Authorization: Bearer $TOKEN" '
        "| grep -q '\"id\":2'; do sleep 0.1; done",
        person,
        "wait $AGENT",
    ]
    ran = subprocess.run(
        ["sh", "-c", "\n".join(lines).replace("8080", str(free_port()))],
        cwd=tmp_path,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    # Whether the server or the command line makes the database first is a race that both may win.
    expected = ("The database ", "Waiting for a person: refund by billing ", "Database: ")
    warned = [line for line in ran.stderr.splitlines() if not line.startswith(expected)]
    assert (ran.returncode, warned) == (0, []), ran.stdout
    assert "refunded 40 for A-17\n" in ran.stdout
    assert "refunded 900 for A-18\n" in ran.stdout
    assert '"approved_by":"ann@example.com"' in ran.stdout
    assert "none edited, removed, reordered or cut" in ran.stdout


SECRET = "whsec_0123456789abcdef"


@pytest.fixture(scope="module")
def verified() -> Callable[[str, str, bytes], bool]:
    """The receiver's function, from the document."""
    names: dict[str, Any] = {}
    exec(compile(code(SERVER, "receiver.py"), "receiver.py", "exec"), names)
    found: Callable[[str, str, bytes], bool] = names["verified"]
    return found


@given(body=st.binary(max_size=200), other=st.binary(max_size=200), off=st.integers(-10_000, 10_000))
def test_the_receiver(
    verified: Callable[[str, str, bytes], bool], body: bytes, other: bytes, off: int
) -> None:
    """It takes what the server signed a moment ago, and nothing else."""
    header = signature_header(SECRET, body, time.time())
    assert verified(SECRET, header, body)
    assert verified(SECRET, header, other) is (other == body)
    assert not verified(SECRET + "x", header, body)
    old = signature_header(SECRET, body, time.time() + off)
    assert verified(SECRET, old, body) or abs(off) >= 299
    assert not verified(SECRET, old, body) or abs(off) <= 301


@given(header=st.text(max_size=120))
def test_the_receiver_refuses_what_is_no_signature(
    verified: Callable[[str, str, bytes], bool], header: str
) -> None:
    """Whatever the header is, an answer and no exception."""
    assert not verified(SECRET, header, b"{}")


READS = "- {name: reads, actions: ['*_read'], effect: %s}"


@pytest.fixture(params=["allow", "deny", "require_approval"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Serving]]:
    """A server that decides reads this way."""
    policy = f"version: 1\nrules:\n  {READS % request.param}\n"
    with serving(tmp_path / "a.db", policy) as server:
        yield request.param, server


def test_the_quick_start(world: tuple[str, Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's first block as it stands, whatever is decided."""
    effect, server = world
    monkeypatch.setenv("ASCEND_API_KEY", server.key(None))
    monkeypatch.setenv("ASCEND_API_URL", server.url)
    names: dict[str, Any] = {"__name__": "__main__"}
    said = io.StringIO()
    text = code(CLIENT, "quick start").replace("poll_interval=5.0", "poll_interval=0.05")
    if effect == "require_approval":
        text = text.replace("    result = client.wait", "    approve()\n    result = client.wait")
        names["approve"] = lambda: server.approve(eventually(server.newest_pending))
    with contextlib.redirect_stdout(said):
        exec(compile(text, "quick start", "exec"), names)
    begins = {"allow": "Approved!", "deny": "Denied:", "require_approval": "Pending approval from: ["}
    assert said.getvalue().startswith(begins[effect])
    assert names["result"].is_denied() is (effect == "deny")
    assert names["result"].is_approved() is (effect != "deny")
    names["client"].close()


def test_nothing_that_can_be_chosen_is_left_out() -> None:
    """Every option of ``serve``, every event of a webhook and every tier is in the server's document."""
    import typer.main

    text = SERVER.read_text()
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    options = {name for option in serve.params for name in option.opts if name.startswith("--")}
    options -= {"--help", "--json", "--policy", "--environment"}
    missing = [
        word for word in (*options, *EVENTS, *TIERS) if f"`{word}" not in text and f" {word} " not in text
    ]
    assert missing == []
