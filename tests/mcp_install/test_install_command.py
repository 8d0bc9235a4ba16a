"""``mcp-proxy install`` and ``uninstall`` as a person and a program meet them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from install_world import VSCODE

SGR = re.compile(r"\x1b\[[0-9;]*m")
POLICY = "version: 1\nrules:\n  - {name: reads, actions: ['*_read'], effect: allow}\n"
ONE = '{"mcpServers": {"a": {"command": "x"}}}'


def files_of(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_person_sees_the_difference_and_says_yes(desk: Any, types: Any) -> None:
    """The lines that change, without secrets; then it is written, and the way back is told."""
    path = desk.has(".vscode/mcp.json")
    types("y")
    answer = desk.run("install")
    out, err = SGR.sub("", answer.out), SGR.sub("", answer.err)
    assert answer.code == 0
    assert '-  "command": "npx",' in out
    assert f'+    "--policy",\n+    "{desk.policy}",\n+    "mcp-proxy",\n+    "--name",\n+    "files",' in out
    assert "\x1b[32m" in answer.out
    assert "blue-secret" not in out + err
    assert "Bearer ${input:token}" in out
    assert "Put 2 servers behind the proxy? [y/N]" in err
    assert f"mcp-proxy uninstall {path}" in out
    assert '"mcp-proxy"' in path.read_text()


def test_no_is_no(desk: Any, types: Any) -> None:
    """Declined: status 1, nothing written, nothing beside it."""
    path = desk.has(".vscode/mcp.json")
    before = path.read_bytes()
    types("n")
    answer = desk.run("install")
    assert answer.code == 1
    assert "Nothing was changed" in answer.err
    assert path.read_bytes() == before
    assert files_of(path.parent) == ["mcp.json"]


@pytest.mark.parametrize("verb", ["install", "uninstall"])
@pytest.mark.parametrize("more", ["", " --json"])
def test_without_a_terminal_it_needs_yes(desk: Any, verb: str, more: str) -> None:
    """Refused, and the remedy is named; nothing is written."""
    path = desk.has(".mcp.json", ONE)
    answer = desk.run(f"{verb} --server a{more}")
    assert answer.code == 2
    assert "--yes" in answer.out + answer.err
    assert path.read_text() == ONE


def test_there_and_back_for_a_program(desk: Any) -> None:
    """One JSON value each; a dry run changes nothing; after both commands the file is what it was."""
    path = desk.has(".vscode/mcp.json")
    before = path.read_bytes()
    dry = desk.run("install --dry-run --json").json
    assert path.read_bytes() == before
    done = desk.run("install --yes --json")
    assert done.code == 0
    assert done.err == ""
    assert done.json == dry | {"written": True}
    assert done.json["path"] == str(path)
    assert done.json["changed"] == ["github", "files"]
    assert done.json["diff"].startswith(f"--- {path}:4 github\n+++ ")
    again = desk.run("install --yes --json").json
    assert (again["changed"], again["unchanged"], again["written"]) == ([], ["github", "files"], False)
    back = desk.run("uninstall --yes --json").json
    assert back["changed"] == ["github", "files"]
    assert path.read_bytes() == before
    assert files_of(path.parent) == ["mcp.json"]


def test_one_server_at_a_time(desk: Any) -> None:
    """``--server`` names which; another name is wrong usage that says which there are."""
    path = desk.has(".vscode/mcp.json")
    assert desk.run("install --server files --yes --json").json["changed"] == ["files"]
    assert "api.example" in path.read_text()
    wrong = desk.run("install --server nobody --yes")
    assert wrong.code == 2
    assert "'github', 'files'" in wrong.err


def test_what_stays_outside_is_said(desk: Any) -> None:
    """A server the proxy cannot reach: the others change, the reason is told, and the status is 1."""
    desk.has(
        ".mcp.json", '{"mcpServers": {"old": {"type": "sse", "url": "https://a/sse"}, "a": {"command": "x"}}}'
    )
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert "old is left unchanged: it uses the older SSE transport" in answer.err
    record = desk.run("install --yes --json").json
    assert record["skipped"][0]["server"] == "old"
    assert record["unchanged"] == ["a"]


def test_several_files_are_a_choice(desk: Any) -> None:
    """Each is named, with status 2; ``--client`` or a path chooses; the general settings count when they have servers."""
    desk.has(".mcp.json", ONE)
    desk.has("~/.cursor/mcp.json", ONE)
    desk.has("~/.config/Claude/claude_desktop_config.json", '{"mcpServers": {}}')
    desk.has("~/.config/Code/User/settings.json", '{"editor.fontSize": 12, // big\n}')
    answer = desk.run("install --dry-run")
    assert answer.code == 2
    assert "mcp-proxy install PATH" in answer.err
    assert f"{desk.project}/.mcp.json (Claude Code, servers: 1, behind the proxy: 0)" in answer.err
    assert f"{desk.home}/.cursor/mcp.json (Cursor, servers: 1, behind the proxy: 0)" in answer.err
    assert "VS Code" not in answer.err
    assert "Claude Desktop" not in answer.err
    named = desk.run("install --dry-run --json")
    assert named.code == 2
    assert str(desk.home / ".cursor" / "mcp.json") in named.json["error"]["message"]
    assert desk.run("install --client cursor --yes --json").json["path"] == str(
        desk.home / ".cursor" / "mcp.json"
    )
    assert desk.run("uninstall --dry-run --json").json["changed"] == ["a"]
    settings = desk.has("~/.config/Code/User/settings.json", '{"mcp": {"servers": {"b": {"command": "y"}}}}')
    assert desk.run("install --client vscode --dry-run --json").json["path"] == str(settings)


def test_nothing_found(desk: Any) -> None:
    """Where it looked is said; an unknown client is wrong usage."""
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert str(desk.home / ".config" / "Claude" / "claude_desktop_config.json") in answer.err
    unknown = desk.run("install --client emacs --yes")
    assert unknown.code == 2
    assert "claude-desktop, claude-code, cursor, vscode" in unknown.err
    both = desk.run("install x.json --client cursor --yes")
    assert both.code == 2


def test_a_broken_file_is_found_and_told(desk: Any) -> None:
    """A file of a known name that does not parse is no reason to look past it."""
    path = desk.has(".mcp.json", '{"mcpServers": {"a": {"command": "x"}')
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert f"{path}: it is not JSON: Expecting ',' delimiter at line 1, column" in answer.err


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_policy_is_written_absolutely(desk: Any, place: str) -> None:
    """``--policy``, wherever it stands, goes with the proxy as a root option; one that does not load is refused."""
    (desk.project / "my policy.yaml").write_text(POLICY)
    path = desk.has(".mcp.json", ONE)
    words = ["mcp-proxy", "install", "--yes"]
    option = ["--policy", "my policy.yaml"]
    answer = desk.run(*([*option, *words] if place == "before" else [*words[1:], *option]))
    assert answer.code == 0
    assert "refuse every call" not in answer.err
    args = json.loads(path.read_text())["mcpServers"]["a"]["args"]
    assert args == [
        *("--policy", str(desk.project / "my policy.yaml")),
        *("mcp-proxy", "--name", "a", "--", "x"),
    ]
    again = desk.run("install", "--policy", "my policy.yaml", "--yes")
    assert "a: already behind the proxy, with the options of that installation" in again.err
    (desk.project / "my policy.yaml").write_text("rules: 7")
    assert desk.run("install", "--policy", "my policy.yaml", "--yes").code == 1


def test_who_decides_is_said_and_no_key_is_written(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says who decides, nothing is written, and the person is told what to do; never a key."""
    path = desk.has(".mcp.json", ONE)
    monkeypatch.delenv("ASCEND_POLICY")
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert "a is left unchanged: it has no control plane: install with --policy FILE" in answer.err
    monkeypatch.setenv("ASCEND_API_KEY", "owkai_very_secret_key")
    answer = desk.run("install --yes")
    assert answer.code == 1
    assert "ASCEND_API_KEY and ASCEND_API_URL in its own env" in answer.err
    assert "owkai" not in answer.out + answer.err
    assert path.read_text() == ONE
    assert files_of(path.parent) == [path.name]


def test_a_database_goes_along_without_its_password(desk: Any) -> None:
    """A database file is written as an absolute address; a server's address, which has a password, is refused."""
    path = desk.has(".mcp.json", ONE)
    options = ["--policy", str(desk.policy)]
    refused = desk.run("install --yes --database-url postgresql://me:hush@db/x")
    assert refused.code == 2
    assert "hush" not in refused.out + refused.err
    desk.run("install", "--yes", *options, "--database-url", "sqlite:///a b.db?durability=process")
    args = json.loads(path.read_text())["mcpServers"]["a"]["args"]
    assert args[:4] == [
        *options,
        "--database-url",
        f"sqlite:///{str(desk.project).replace(' ', '%20')}/a%20b.db?durability=process",
    ]


def test_a_change_by_hand_is_kept_and_said(desk: Any) -> None:
    """An entry that was edited since is put together from the proxy's arguments, with the edit; the backup is named."""
    path = desk.has(".vscode/mcp.json")
    original = json.loads(path.read_text())
    desk.run("install --yes")
    path.write_text(
        path.read_text().replace('"envFile"', '"cwd": "/srv",\n      "envFile"').replace("blue-", "red-")
    )
    answer = desk.run("uninstall --yes")
    assert answer.code == 0
    assert "files: it differs from what was installed" in answer.err
    assert f"The backup {path}.ascend-backup-1 is kept" in answer.err
    original["servers"]["files"]["cwd"] = "/srv"
    original["servers"]["github"]["headers"]["X-Team"] = "red-secret"
    assert json.loads(path.read_text()) == original


def test_a_server_that_was_replaced_or_removed_by_hand(desk: Any) -> None:
    """What does not go through the proxy any more is left alone."""
    path = desk.has(".mcp.json", ONE)
    desk.run("install --yes")
    for text in (ONE.replace('"x"', '"other"'), '{"mcpServers": {}}'):
        path.write_text(text)
        answer = desk.run("uninstall", str(path), "--yes")
        assert answer.code == 0
        assert f"Nothing to change in {path}" in answer.out
        assert path.read_text() == text


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_file_with_comments_is_not_written(desk: Any, verb: str) -> None:
    """The entries to paste are printed with their lines, without secrets; the status is 1."""
    text = VSCODE.replace('"inputs"', '// of this project\n  "inputs"', 1).replace('"X-Team"', '"X-API-Key"')
    if verb == "uninstall":
        path = desk.has(".vscode/mcp.json", text.replace("// of this project\n", ""))
        assert desk.run("install --yes").code == 0
        text = path.read_text().replace('"inputs"', '// of this project\n  "inputs"', 1)
    path = desk.has(".vscode/mcp.json", text)
    there = files_of(path.parent)
    answer = desk.run(verb, "--yes")
    assert answer.code == 1
    assert "has comments or trailing commas" in answer.err
    assert f"{path}:5 github becomes\n{{" in answer.out
    shown = json.loads(answer.out.split("github becomes\n")[1].split(f"{path}:")[0])
    if verb == "install":
        assert shown["env"] == {
            "ASCEND_MCP_HEADER_1": "Bearer ${input:token}",
            "ASCEND_MCP_HEADER_2": "\u2026",
        }
    else:
        assert shown["headers"] == {"Authorization": "Bearer ${input:token}", "X-API-Key": "\u2026"}
    assert "blue-secret" not in answer.out + answer.err
    record = desk.run(f"{verb} --yes --json")
    assert record.code == 1
    assert record.json["paste"] == ["github", "files"]
    assert (record.json["changed"], record.json["written"]) == ([], False)
    assert path.read_text() == text
    assert files_of(path.parent) == there


def test_nothing_acts_on_the_terminal(desk: Any, types: Any) -> None:
    """Names and commands with control characters are shown as escapes, in every kind of answer."""
    bad = "e\x1b[2J\u202e\n"
    text = json.dumps({"mcpServers": {bad: {"command": bad}, f"{bad}2": {"type": bad}}}, ensure_ascii=False)
    desk.has(".mcp.json", text)
    types("y")
    answer = desk.run("install")
    seen = SGR.sub("", answer.out + answer.err)
    assert "\x1b" not in seen
    assert "\u202e" not in seen
    assert "\\u202e" in seen
    assert desk.run("install", "--server", bad + "3", "--yes").err.count("\n") == 1


def test_this_program_is_named_absolutely(desk: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The executable that is run; where there is none, Python with this package; never a bare name."""
    path = desk.has(".mcp.json", ONE)
    program = tmp_path / "bin" / "ascend-guard"
    program.parent.mkdir()
    python = tmp_path / "bin2" / "python"
    python.parent.mkdir()
    for executable in (program, python):
        executable.write_text("#!/bin/sh\n")
        executable.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    desk.run("install --yes")
    assert json.loads(path.read_text())["mcpServers"]["a"]["command"] == str(program)
    desk.run("uninstall --yes")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "__main__.py")])
    monkeypatch.setattr("sys.executable", str(python))
    desk.run("install --yes")
    entry = json.loads(path.read_text())["mcpServers"]["a"]
    assert entry["command"] == str(python)
    assert entry["args"][:5] == ["-m", "ascend_guard", "--policy", str(desk.policy), "mcp-proxy"]
    desk.run("uninstall --yes")
    assert path.read_text() == ONE
