"""What install writes starts: who decides is known, the entry was tried, and what may fail is said before."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ascend_guard_mcp.clients.routing import warnings

ONE = '{"mcpServers": {"a": {"command": "cat"}}}'
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
SERVER = """\
import json, sys
for line in sys.stdin:
    answer = {"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {"serverInfo": {"name": "mine"}}}
    print(json.dumps(answer), flush=True)
"""


def entries(path: Path) -> Any:
    return json.loads(path.read_text())["mcpServers"]


def as_a_client(entry: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Start an entry as a client does: nothing of this shell's variables, another folder; and say hello."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
    return subprocess.run(
        [entry["command"], *entry["args"]],
        input=json.dumps(INITIALIZE) + "\n",
        env={**clean, **entry.get("env", {})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_readme_s_way_makes_entries_that_start(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative ASCEND_POLICY in the shell becomes an absolute one in the entry, which starts in another folder."""
    (tmp_path / "server.py").write_text(SERVER)
    path = desk.has(
        ".mcp.json",
        json.dumps({"mcpServers": {"a": {"command": "python3", "args": [str(tmp_path / "server.py")]}}}),
    )
    monkeypatch.setenv("ASCEND_POLICY", os.path.relpath(desk.policy, desk.project))
    answer = desk.run("install --yes")
    assert answer.code == 0
    assert f"{desk.policy} is written into it" in answer.err
    ran = as_a_client(entries(path)["a"], desk.home)
    assert json.loads(ran.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "mine", ran.stderr


def test_the_shell_s_database_goes_along(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `approvals` and `kill-switch` of this shell work on is what the entries work on."""
    path = desk.has(".mcp.json", ONE)
    monkeypatch.setenv("ASCEND_DATABASE_URL", "sqlite:///mine.db")
    assert desk.run("install --yes").code == 0
    assert entries(path)["a"]["args"][:4] == [
        *("--policy", str(desk.policy)),
        *("--database-url", f"sqlite:///{desk.project}/mine.db"),
    ]


def test_a_database_with_a_password_stays_in_the_shell(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that would use another database than this shell's are not written, and no password is."""
    path = desk.has(".mcp.json", ONE)
    monkeypatch.setenv("ASCEND_DATABASE_URL", "postgresql://me:hush@db/x")
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert "ASCEND_DATABASE_URL has a password" in answer.err
    assert "hush" not in answer.out + answer.err
    assert path.read_text() == ONE


def test_an_entry_that_says_who_decides_keeps_that(desk: Any, tmp_path: Path) -> None:
    """Its own policy, or its own key, is not overridden by this shell's; an explicit --policy is for every entry."""
    own = tmp_path / "own.yaml"
    own.write_text(desk.policy.read_text())
    servers = {
        "own": {"command": "cat", "env": {"ASCEND_POLICY": str(own)}},
        "key": {
            "command": "cat",
            "env": {"ASCEND_API_KEY": "${input:key}", "ASCEND_API_URL": "https://a.example"},
        },
        "empty": {"command": "cat", "env": {"ASCEND_POLICY": ""}},
        "none": {"command": "cat"},
    }
    text = json.dumps({"mcpServers": servers})
    path = desk.has(".mcp.json", text)
    answer = desk.run("install --yes")
    assert answer.code == 0
    assert "key: its start was not tried, because the client fills in ASCEND_API_KEY" in answer.err
    written = entries(path)
    assert {name: "--policy" in entry["args"] for name, entry in written.items()} == {
        "own": False,
        "key": False,
        "empty": True,
        "none": True,
    }
    path.write_text(text)
    assert desk.run("install", "--yes", "--policy", str(own)).code == 0
    assert all(entry["args"][:2] == ["--policy", str(own)] for entry in entries(path).values())


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"ASCEND_POLICY": "/nowhere/policy.yaml"}, "the policy file does not exist"),
        ({"ASCEND_POLICY": "BAD"}, "`rules` is"),
        ({"ASCEND_POLICY": "GOOD", "ASCEND_DATABASE_URL": "mysql://x"}, "is not understood"),
        (
            {"ASCEND_POLICY": "GOOD", "ASCEND_DATABASE_URL": "sqlite:////proc/nowhere/a.db"},
            "created in /proc/nowhere",
        ),
        (
            {"ASCEND_POLICY": "GOOD", "ASCEND_DATABASE_URL": "sqlite:///BAD/x/a.db"},
            "database cannot be created in",
        ),
        ({"ASCEND_POLICY": "GOOD", "ASCEND_DATABASE_URL": "sqlite:///BAD"}, "not a database"),
        ({"ASCEND_API_KEY": "short", "ASCEND_API_URL": "ftp://x"}, "API key is not formed like one"),
    ],
)
def test_an_entry_that_would_not_start_is_not_written(
    desk: Any, tmp_path: Path, broken: dict[str, str], says: str
) -> None:
    """Its own environment is wrong: the reason is told, the others are led through, and the status is 1."""
    (tmp_path / "BAD").write_text("version: 1\nrules: 7\n" * 100)
    for name, value in broken.items():
        broken[name] = value.replace("BAD", str(tmp_path / "BAD")).replace("GOOD", str(desk.policy))
    whole = {"mcpServers": {"bad": {"command": "cat", "env": broken}, "good": {"command": "cat"}}}
    path = desk.has(".mcp.json", json.dumps(whole))
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert "bad is left unchanged: it would not start: " in answer.err
    assert says in answer.err
    assert entries(path)["bad"] == whole["mcpServers"]["bad"]
    assert "mcp-proxy" in entries(path)["good"]["args"]


def test_a_program_that_is_gone_is_not_written(
    desk: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy's own program is started too, not only looked for."""
    desk.has(".mcp.json", ONE)
    program = tmp_path / "ascend-guard"
    program.write_text("#!/bin/sh\necho 'no module named ascend_guard' >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert "a is left unchanged: it would not start: no module named ascend_guard" in answer.err


def test_trying_leaves_nothing_behind(desk: Any) -> None:
    """Neither a dry run nor the trial of a real one makes the database."""
    desk.has(".mcp.json", ONE)
    assert desk.run("install --dry-run").code == 0
    assert desk.run("install --yes").code == 0
    assert not (desk.policy.parent / ".ascend").exists()


def test_a_person_is_asked_for_the_policy(desk: Any, types: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that init wrote here is offered; declined, nothing is written."""
    monkeypatch.delenv("ASCEND_POLICY")
    path = desk.has(".mcp.json", ONE)
    (desk.project / "ascend-policy.yaml").write_text(desk.policy.read_text())
    types("n")
    answer = desk.run("install")
    assert answer.code == 1
    assert f"No policy is configured. Use {desk.project}/ascend-policy.yaml? [y/N]" in re.sub(
        r"\x1b\[[0-9;]*m", "", answer.err
    )
    assert path.read_text() == ONE
    assert "--policy ascend-policy.yaml" in desk.run("install --yes").err
    assert path.read_text() == ONE
    types("y", "y")
    assert desk.run("install").code == 0
    assert entries(path)["a"]["args"][:2] == ["--policy", str(desk.project / "ascend-policy.yaml")]


def test_in_the_home_folder_a_file_is_found_once(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cursor's file of the user and of the project are the same file there; by a link elsewhere too."""
    path = desk.has("~/.cursor/mcp.json", ONE)
    monkeypatch.chdir(desk.home)
    assert desk.run("install --client cursor --dry-run --json").json["path"] == str(path)
    assert desk.run("install --dry-run --json").json["path"] == str(path)
    monkeypatch.chdir(desk.project)
    (desk.project / ".cursor").symlink_to(desk.home / ".cursor")
    assert desk.run("install --yes --json").json["path"] == str(path)
    (desk.project / ".cursor").unlink()
    desk.has(".cursor/mcp.json", ONE)
    assert desk.run("install --dry-run").code == 2  # two files again


@pytest.mark.parametrize(
    ("entry", "warned"),
    [
        ({"url": "https://a.example/mcp"}, True),
        ({"type": "http", "url": "https://a.example/mcp", "headers": {}}, True),
        ({"url": "https://a.example/mcp", "headers": {"X-Team": "blue"}}, True),
        ({"url": "https://a.example/mcp?team=blue"}, True),
        ({"url": "https://a.example/mcp", "headers": {"authorization": "Bearer ${input:t}"}}, False),
        ({"url": "https://a.example/mcp", "headers": {"X-Team": "blue", "X-API-Key": "k"}}, False),
        ({"url": "https://a.example/mcp?api_key=k"}, False),
        ({"command": "cat"}, False),
    ],
)
def test_an_entry_without_credentials_is_warned_of(desk: Any, entry: dict[str, Any], warned: bool) -> None:
    """The client may sign in there by OAuth, which an entry that starts the proxy cannot."""
    desk.has(".mcp.json", json.dumps({"mcpServers": {"a": entry}}))
    answer = desk.run("install --dry-run")
    assert ("a: it has no credentials. If the client signs in there itself (OAuth)" in answer.err) is warned


def test_several_warnings_are_all_said(desk: Any) -> None:
    """No credentials and no encryption; and a command that is not found."""
    entry = {"url": "http://far.example/mcp"}
    desk.has(".mcp.json", json.dumps({"mcpServers": {"a": entry, "b": {"command": "no-such-server"}}}))
    answer = desk.run("install --dry-run")
    assert "no credentials" in answer.err
    assert "plain http" in answer.err
    assert "b: its command 'no-such-server' is not found on this PATH" in answer.err


def test_warnings_of_odd_entries() -> None:
    """What is no object or no text is no credential, and raises nothing."""
    assert not list(warnings(7))
    for entry in (
        {},
        {"url": 7},
        {"url": "https://a/", "headers": 7},
        {"url": "https://a/", "headers": {"Cookie": None}},
    ):
        (said,) = warnings(entry)
        assert "no credentials" in said
