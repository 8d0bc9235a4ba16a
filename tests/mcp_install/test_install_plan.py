"""A configuration is changed where its servers are, and comes back to the byte."""

from __future__ import annotations

import codecs
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from ascend_guard_mcp.clients.difference import difference, without_secrets
from ascend_guard_mcp.clients.formats import servers
from ascend_guard_mcp.clients.jsonc import Member, parse
from ascend_guard_mcp.clients.plan import Plan, carry_out, plan_install, plan_uninstall
from ascend_guard_mcp.clients.routing import HEADER_VARIABLE, Launcher, is_routed
from ascend_guard_mcp.clients.undo import beside
from hypothesis import given
from hypothesis import strategies as st
from install_world import configurations

LAUNCHERS = st.sampled_from(
    [
        Launcher("/opt/ascend/bin/ascend-guard"),
        Launcher(
            "/opt/ascend/bin/ascend-guard",
            ("--policy", "/etc/a policy.yaml", "--database-url", "sqlite:////d"),
        ),
        Launcher("C:\\Python\\python.exe", ("-m", "ascend_guard", "--policy", "C:\\p.yaml")),
        Launcher("C:\\Tools\\ascend-guard.exe"),
    ]
)
LAUNCHER = Launcher("/opt/ascend/bin/ascend-guard")
MARKS = st.sampled_from([b"", codecs.BOM_UTF8])


def a_file(folder: Path, text: str, mark: bytes = b"") -> Path:
    """A configuration in a folder of its own."""
    path = Path(tempfile.mkdtemp(dir=folder), "mcp.json")
    path.write_bytes(mark + text.encode("utf-8"))
    return path


def read(path: Path) -> str:
    """Its text, line endings as they are."""
    return path.read_bytes().decode("utf-8")


def servers_of(text: str) -> dict[str, Member]:
    """The servers of a file, by name."""
    return {server.key: server for server in servers(parse(text))}


def outside(text: str, names: list[str]) -> list[str]:
    """Everything that is not in one of these servers' entries."""
    pieces, at = [], 0
    for name, server in servers_of(text).items():
        if name in names:
            pieces.append(text[at : server.node.start])
            at = server.node.end
    return [*pieces, text[at:]]


def install(path: Path, launcher: Launcher = LAUNCHER, names: tuple[str, ...] = ()) -> Plan:
    """Plan it and do it."""
    plan = plan_install(path, launcher, names)
    carry_out(plan)
    return plan


def uninstall(path: Path, names: tuple[str, ...] = ()) -> Plan:
    """Plan it and do it."""
    plan = plan_uninstall(path, names)
    carry_out(plan)
    return plan


@given(configurations(), LAUNCHERS, MARKS)
def test_only_the_servers_change(
    tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher, mark: bytes
) -> None:
    """Outside the changed entries every byte stays, and the whole is what was meant."""
    text, given_servers = made
    path = a_file(tmp_path, text, mark)
    plan = install(path, launcher)
    data = path.read_bytes()
    assert data.startswith(mark)
    new = data.removeprefix(mark).decode("utf-8")
    assert outside(new, plan.changed) == outside(text, plan.changed)
    assert {*plan.changed, *plan.settled, *plan.skipped} == set(given_servers)
    for name, server in servers_of(new).items():
        was, entry = given_servers[name], server.node.plain()
        if name not in plan.changed:
            assert entry == was
            continue
        assert is_routed(server.node)
        words = [*launcher.options, "mcp-proxy", "--name", name]
        assert entry.pop("command") == launcher.command
        args = entry.pop("args")
        if "url" in was:
            left, headers = check_behind_url(was, entry, args, words)
            assert headers == was.get("headers", {})
            assert entry == left
        else:
            assert args == [*words, "--", was["command"], *was.get("args", [])]
            assert entry == {key: value for key, value in was.items() if key not in ("command", "args")}


def check_behind_url(
    was: dict[str, Any], entry: dict[str, Any], args: list[str], words: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the entry must still hold, and the headers the proxy will send."""
    words = [*words, "--url", was["url"], *(["--insecure"] if "far" in was["url"] else [])]
    assert args[: len(words)] == words
    rest, headers = args[len(words) :], {}
    env = dict(entry.pop("env", {}))
    for option, header in zip(rest[::2], rest[1::2], strict=True):
        name, _, value = header.partition(": env:")
        assert option == "--header"
        assert value.startswith(HEADER_VARIABLE)
        headers[name] = env.pop(value)
    assert env == was.get("env", {})
    left = {key: value for key, value in was.items() if key not in ("url", "headers", "env")}
    return left | ({"type": "stdio"} if "type" in was else {}), headers


@given(configurations(), LAUNCHERS, MARKS, st.data())
def test_it_comes_back_to_the_byte(
    tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher, mark: bytes, data: st.DataObject
) -> None:
    """In any order and in parts: what was installed is undone, and nothing is left beside the file."""
    text, given_servers = made
    path = a_file(tmp_path, text, mark)
    before = path.read_bytes()
    parts = data.draw(st.permutations(list(given_servers)))
    cut = data.draw(st.integers(0, len(parts)))
    for names in (parts[:cut], parts[cut:]):
        if names:
            install(path, launcher, tuple(names))
    assert plan_install(path, launcher).idle
    back = data.draw(st.permutations(list(given_servers)))
    for names in (back[:1], back[1:]):
        if names:
            assert not uninstall(path, tuple(names)).notes
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@given(configurations(), LAUNCHERS)
def test_without_a_memory_it_comes_back_in_meaning(
    tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher
) -> None:
    """From the proxy's arguments alone every server is what it was, but for what an empty list or object says."""
    text, given_servers = made
    path = a_file(tmp_path, text)
    plan = install(path, launcher)
    beside(path).unlink(missing_ok=True)
    uninstall(path)
    for name, server in servers_of(read(path)).items():
        was, entry = (
            dict(given_servers[name]) if name in plan.changed else given_servers[name],
            server.node.plain(),
        )
        if name in plan.changed:
            if "url" in was and "type" in was:
                was["type"] = "http"
            for key in ("args", "headers", "env"):
                for one in (was, entry):
                    if not one.get(key, True):
                        del one[key]
        assert entry == was


@given(configurations(), LAUNCHERS)
def test_changes_by_hand_stay(tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher) -> None:
    """A variable somebody added after installing is there after uninstalling, and it is said that it was kept."""
    text, given_servers = made
    path = a_file(tmp_path, text)
    plan = install(path, launcher)
    now = json.loads(json.dumps(parse(read(path)).plain()))
    inside = now.get("mcpServers", now.get("servers")) if "mcp" not in now else now["mcp"]["servers"]
    for name in plan.changed:
        inside[name].setdefault("env", {})["BY_HAND"] = "1"
    path.write_text(json.dumps(now), "utf-8")
    undone = uninstall(path)
    assert set(undone.notes) == set(plan.changed)
    for name, server in servers_of(read(path)).items():
        entry = server.node.plain()
        if name in plan.changed:
            was = given_servers[name]
            assert entry["env"].pop("BY_HAND") == "1"
            for key in ("command", "url", "type", "headers"):
                assert (entry.get(key) or None) == (was.get(key) or None)
            assert entry["env"] == was.get("env", {})
    assert not beside(path).exists()


@given(configurations())
def test_no_secret_is_shown(tmp_path: Path, made: tuple[str, dict[str, Any]]) -> None:
    """The difference of any change has no value of an environment or a header in it."""
    text, given_servers = made
    for number, entry in enumerate(given_servers.values()):
        if isinstance(entry, dict):
            for key in ("env", "headers"):
                if key in entry:
                    entry[key] = dict.fromkeys(entry[key], f"secret-{number}")
    text = json.dumps({"mcpServers": given_servers}, indent=2)
    path = a_file(tmp_path, text)
    plan = plan_install(path, LAUNCHER)
    assert "secret-" not in "\n".join(difference(path, plan.before, plan.after))
    assert "secret-" not in without_secrets(text)


def test_a_kept_entry_is_private(tmp_path: Path) -> None:
    """The memory is readable by its owner alone, and a configuration keeps its permissions."""
    path = a_file(tmp_path, '{"mcpServers": {"a": {"command": "x"}}}')
    path.chmod(0o640)
    install(path)
    assert stat.S_IMODE(beside(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
