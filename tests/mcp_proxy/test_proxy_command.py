"""How the command is told what to do, and what it says when it cannot."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
from ascend_guard_mcp.proxy.http_server import _bound as proxy_bound
from ascend_guard_mcp.proxy.options import is_loopback, require_address, require_headers, require_url
from hypothesis import given
from hypothesis import strategies as st
from proxy_world import PATIENCE, PYTHON, Desk

from ascend_guard.cli import main
from ascend_guard.errors import ConfigurationError
from ascend_guard.server.serve import _bound as server_bound


def run(desk: Desk, *words: str, configured: bool = True) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with nothing on standard input."""
    environment = desk.environment
    if not configured:
        environment = {name: value for name, value in environment.items() if not name.startswith("ASCEND_")}
    return subprocess.run(
        [*PYTHON, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        env=environment,
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["mcp-proxy"], 2, "mcp-proxy -- COMMAND"),
        (["mcp-proxy", "server"], 2, "after --"),
        (["mcp-proxy", "--url", "http://localhost/", "--", "server"], 2, "mcp-proxy -- COMMAND"),
        (["mcp-proxy", "--listen", "127.0.0.1:0", "--", "server"], 2, "--listen needs --url"),
        (["mcp-proxy", "--header", "A: b", "--", "server"], 2, "need --url"),
        (["mcp-proxy", "--url", "http://example.com/mcp"], 1, "plain http"),
        (["mcp-proxy", "--url", "https://user:pw@example.com/mcp"], 1, "env:NAME"),
        (
            ["mcp-proxy", "--url", "http://localhost/", "--header", "A: env:NOT_THERE"],
            1,
            "NOT_THERE is not set",
        ),
        (["mcp-proxy", "--url", "http://localhost/", "--listen", "8080"], 1, "HOST:PORT"),
        (["mcp-proxy", "--wait", "inf", "--", "server"], 2, "90s, 15m, 2h, 1d"),
        (["mcp-proxy", "--bogus", "--", "server", "--json"], 2, "No such option"),
        (["mcp-proxy", "--name", "shop", "install"], 2, "takes only --policy and --database-url"),
        (["mcp-proxy", "--", "/not/there\x1b[2J"], 1, "No such file"),
        (["mcp-proxy", "--", "no-such-server"], 1, "'no-such-server' cannot be started"),
        (["mcp-proxy", "--", "npx -y server"], 1, "each as a separate word"),
        (["mcp-proxy", "--", "/"], 1, "write its absolute path"),
        (["--json", "mcp-proxy", "--", "/not/there"], 1, "No such file"),
    ],
)
def test_misuse(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    said: str,
) -> None:
    """It says what to write, on standard error alone."""
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    assert main(words) == status
    out, err = capfd.readouterr()
    assert said in " ".join(err.split())
    assert out == ""
    assert "\x1b" not in err


def test_nothing_configured(desk: Desk) -> None:
    """It does not start the server."""
    done = run(desk, "mcp-proxy", "--", sys.executable, "-c", "print('started')", configured=False)
    assert done.returncode == 1
    assert "Nothing is configured" in done.stderr
    assert "started" not in done.stdout + done.stderr


def test_options_before_and_after_the_name(desk: Desk) -> None:
    """The policy may be given to the root, or to the command; the server's own options are the server's."""
    server = [
        "--",
        sys.executable,
        "-c",
        "import sys; sys.stderr.write(repr(sys.argv[1:]))",
        "--policy",
        "x",
        "--",
        "--help",
    ]
    for words in (["--policy", str(desk.policy), "mcp-proxy"], ["mcp-proxy", "--policy", str(desk.policy)]):
        done = run(desk, *words, *server, configured=False)
        assert done.returncode == 0, done.stderr
        assert "['--policy', 'x', '--', '--help']" in done.stderr


def test_a_command_may_be_called_as_ours_are(desk: Desk) -> None:
    """Behind -- every word is the server's."""
    done = run(desk, "mcp-proxy", "--", "install")
    assert "No such file" in done.stderr or "Is a directory" in done.stderr or done.returncode != 2


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    """Its names and addresses."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "::", "10.0.0.1", "0x7f.1"]
)
def test_other_machines(host: str) -> None:
    """Whatever merely looks like it."""
    assert not is_loopback(host)


@given(st.text() | st.from_regex(r"https?://[a-z@:/\[\].#%0-9]*", fullmatch=True))
def test_addresses_are_used_or_refused(url: str) -> None:
    """Nothing else is raised, and what is used has neither credentials nor odd characters."""
    try:
        used = require_url(url)
    except ConfigurationError:
        return
    assert used.isascii()
    assert "@" not in used.split("/")[2]


@given(st.lists(st.text() | st.from_regex(r"[A-Za-z-]{1,9}: ?(env:)?[ -~]{0,9}", fullmatch=True), max_size=3))
def test_headers_are_used_or_refused(lines: list[str]) -> None:
    """No line break, no header of the proxy's own."""
    try:
        headers = require_headers(lines, {"A": "secret"})
    except ConfigurationError:
        return
    for name, value in headers.items():
        assert name == name.lower()
        assert value.isprintable()
        assert name not in ("host", "content-length", "mcp-method")


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_where_to_listen(text: str, address: tuple[str, int]) -> None:
    """HOST:PORT."""
    assert require_address(text) == address


@pytest.mark.parametrize("bound", [proxy_bound, server_bound], ids=["proxy", "server"])
def test_small_answers_are_not_held_back(bound: Any) -> None:
    """Where a socket says that it is TCP, asyncio switches Nagle's algorithm off, which waits for 40 ms."""
    with bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
