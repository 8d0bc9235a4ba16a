"""The examples run from anywhere, whatever is configured, and leave nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from published.published_environments import published

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "quickstart.py": (
        r"1\. The policy allows it: refunded 12\.50 .+",
        r"2\. The policy denies it: Denied: order_delete .+ Agents do not delete\. .+",
        r"3\. A person has to decide: Pending: refund .+ Refunds above 100 need finance\. .+",
        r"4\. Approved by ana: refunded 940\.00 on order 7731",
        r"5\. One approval is valid for one run.+",
        r"6\. The audit trail has \d+ records and is intact: True",
    ),
    "streaming_and_async.py": (
        r"1\. Mail sent to mira@example\.org; the event loop went round [1-9]\d* times .+",
        r"2\. The block ran: 'Dear Mira' is in reply\.txt\.",
        r"3\. 3 pages were read by researcher in conversation-7\.",
        r"4\. Stopped after 5 of 1000 pages, \d+\.\d ms after the switch: too many pages\.",
    ),
    "over_http.py": (
        r"1\. The server's policy allows it: refunded 40\.00 on order A-17",
        r"2\. The agent's own key may not approve: HTTP 401",
        r"3\. Approved by ann@example\.com, and \d+\.\d ms later: refunded 940\.00 on order A-18",
        r"4\. On record: submitted by billing-agent, approved by ann@example\.com, started by billing-agent, "
        r"completed by billing-agent",
        r"5\. The kill switch is on: .*too many refunds.*",
        r"6\. Without the server nothing runs: .+",
    ),
    "langchain_agent.py": (
        r"1\. The policy allows both: order 7731: paid, 940\.00 / refunded 12\.50 on order 7731",
        r"2\. The model is told why not: Denied: .+ Agents do not delete orders\. .+",
        r"3\. A person has to decide: Pending: .+ Refunds above 100 need finance\. .+",
        r"4\. Ana approved half of it, .+: refunded 470\.00 on order 7731",
        r"5\. One approval is valid for one run: Pending: a person must approve this call",
        r"6\. The audit trail has \d+ records and is intact: True",
    ),
    "agents_and_interrupts.py": (
        r"1\. The payments agent's call stops the whole graph, held: Payments need finance\.",
        r"2\. Another process resumes it and says 'approved', .+, held: Payments need finance\.",
        r"3\. Ana approves action 2 of conversation-7, .+: paid 940\.00 for R-12",
        r"4\. Three processes, one request, and it ran once: approved by ana, completed",
    ),
    "mcp_server.py": (
        r"1\. What policy always denies is not even listed: find, refund",
        r"2\. The policy allows it: order 7731: paid, 940\.00",
        r"3\. The policy denies it: error: Denied: .+ Agents do not delete orders\. .+",
        r"4\. A person has to decide: error: Pending: .+ Call this tool again with the same arguments .+",
        r"5\. Ana approved, and the same call runs: refunded 940\.00 on order 7731",
    ),
    "mcp_proxy.py": (
        r"1\. The client sees the server as it is: [1-9]\d* tools, such as git_\w+",
        r"2\. The policy allows it: Files staged successfully",
        r"3\. The policy denies it: .+ Agents do not throw work away\. .+",
        r"4\. A person has to decide: git\.git_commit\. A person reads what is committed\.",
        r"5\. Ana approved it with another message: agent: Note: buy milk",
        r"6\. The kill switch is on: .+ too many agents\. .+",
        r"7\. The audit trail has \d+ records and is intact: True",
    ),
    "testing_your_agent.py": (r"\.{5} +\[100%\]", r"5 passed in .+"),
}

SERVERS = {"mcp_proxy.py": "mcp-servers"}
"""Where the programs are that an example finds on the PATH."""


@pytest.mark.parametrize("name", SAYS)
@pytest.mark.timeout(300)  # the first run makes the environments
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """It ends well and says, line by line, what it shows."""
    environment = {
        "PATH": os.environ["PATH"],
        "ASCEND_API_KEY": "ask_not_a_key_at_all_1",
        "ASCEND_POLICY": "/nowhere/policy.yaml",
        "ASCEND_DATABASE_URL": "sqlite:////nowhere/ascend.db",
    }
    if name in SERVERS:
        environment["PATH"] = f"{published(SERVERS[name]).parent}{os.pathsep}{environment['PATH']}"
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    # A framework's log handler wraps lines and puts its own columns beside them; elsewhere nothing else may be said.
    wraps = name == "mcp_server.py"
    said = [line for line in ran.stderr.splitlines() if not line.startswith("Waiting for a person: ")]
    assert not said or (wraps and "Waiting for a person: " in ran.stderr and "Traceback" not in ran.stderr), (
        said
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == len(SAYS[name])
    for line, expected in zip(lines, SAYS[name], strict=True):
        assert re.fullmatch(expected, line)
    assert list(tmp_path.iterdir()) == []


MISSING = {
    "telemetry.py": ("opentelemetry.sdk", "pip install 'ascend-guard[otel]'"),
    "mcp_server.py": ("mcp", "pip install 'ascend-guard[mcp]'"),
    "mcp_proxy.py": ("mcp", "pip install 'ascend-guard[mcp]' mcp-server-git"),
    "langchain_agent.py": ("langchain_core", "pip install 'ascend-guard[langchain]'"),
    "agents_and_interrupts.py": (
        "langgraph.checkpoint.sqlite",
        "pip install 'ascend-guard[langchain]' langgraph-checkpoint-sqlite",
    ),
    "over_http.py": ("jwt", "pip install 'ascend-guard[server]'"),
    "testing_your_agent.py": ("pytest", "pip install pytest"),
}
WITHOUT_PLUGINS = [
    word for name in ("timeout", "asyncio", "xdist", "cacheprovider") for word in ("-p", f"no:{name}")
]
WITHOUT = (
    "import runpy, sys; sys.modules[sys.argv[1]] = None; runpy.run_path(sys.argv[2], run_name='__main__')"
)


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_extra_is_named(name: str, tmp_path: Path) -> None:
    """One line that says what to install, no traceback, and status 1; the example's text says the same."""
    package, command = MISSING[name]
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, EXAMPLES / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("This needs ")
    assert command in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert command in (EXAMPLES / name).read_text().split('"""')[1]


def test_the_tests_of_an_agent_need_pytest_alone() -> None:
    """Started by pytest in the clone, it takes none of the settings of our own tests."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *WITHOUT_PLUGINS, EXAMPLES / "testing_your_agent.py"],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout


@pytest.mark.parametrize(("version", "works"), [((3, 10, 14), False), ((3, 8, 0), False), ((3, 11, 0), True)])
def test_an_old_python_is_told(version: tuple[int, int, int], works: bool) -> None:
    """Imported by a Python that pip would have refused, the package says which one it needs."""
    code = f"import sys, collections; sys.version_info = {(*version, 'final', 0)}; import ascend_guard"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode == 0) is works
    assert (
        works
        or f"ascend-guard needs Python 3.11 or later, and this is {version[0]}.{version[1]}" in ran.stderr
    )
