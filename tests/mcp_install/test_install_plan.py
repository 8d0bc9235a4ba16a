"""A configuration is changed where its servers are, and is restored to the byte."""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ascend_guard_mcp.clients.configuration import Configuration, read
from ascend_guard_mcp.clients.plan import SUFFIX, Plan, plan_install, plan_uninstall
from ascend_guard_mcp.clients.routing import HEADER_VARIABLE, Launcher, route_of
from hypothesis import given
from hypothesis import strategies as st
from install_world import configurations

from ascend_guard.cli.commands.mcp_install import carry_out

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


def outside(file: Configuration, names: list[str]) -> list[str]:
    """Everything that is not in one of these servers' entries."""
    pieces, at = [], 0
    for name, (start, end) in file.spans.items():
        if name in names:
            pieces.append(file.text[at:start])
            at = end
    return [*pieces, file.text[at:]]


def install(path: Path, launcher: Launcher = LAUNCHER, names: tuple[str, ...] = ()) -> Plan:
    """Plan it and do it."""
    plan = plan_install(read(path), launcher, names)
    if plan.entries:
        carry_out(plan)
    return plan


def uninstall(path: Path, names: tuple[str, ...] = ()) -> Plan:
    """Plan it and do it."""
    plan = plan_uninstall(read(path), names)
    if plan.entries:
        carry_out(plan)
    return plan


@given(configurations(), LAUNCHERS, MARKS)
def test_only_the_servers_change(
    tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher, mark: bytes
) -> None:
    """Outside the changed entries every byte stays, and the whole is what was meant."""
    text, given_servers = made
    path = a_file(tmp_path, text, mark)
    before = read(path)
    plan = install(path, launcher)
    changed = list(plan.entries)
    assert path.read_bytes().startswith(mark)
    after = read(path)
    assert outside(after, changed) == outside(before, changed)
    assert {*changed, *plan.settled, *plan.skipped} == set(given_servers)
    for name, now in after.servers.items():
        was = given_servers[name]
        if name not in changed:
            assert now == was
            continue
        assert route_of(now) is not None
        assert isinstance(now, dict)
        entry = dict(now)
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
def test_it_is_restored_to_the_byte(
    tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher, mark: bytes, data: st.DataObject
) -> None:
    """In any order and in parts: what was installed is undone with one backup, and nothing is left beside the file."""
    text, given_servers = made
    path = a_file(tmp_path, text, mark)
    before = path.read_bytes()
    theirs = {name for name, entry in given_servers.items() if route_of(entry) is not None}
    parts = data.draw(st.permutations(sorted(set(given_servers) - theirs)))
    cut = data.draw(st.integers(0, len(parts)))
    for names in (parts[:cut], parts[cut:]):
        if names:
            install(path, launcher, tuple(names))
    assert not plan_install(read(path), launcher, tuple(parts)).entries
    assert len(os.listdir(path.parent)) <= 2 or theirs
    back = data.draw(st.permutations(parts))
    for names in (back[:1], back[1:]):
        if names:
            assert not uninstall(path, tuple(names)).notes
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name] or theirs


@given(configurations(), LAUNCHERS)
def test_without_a_backup_it_is_restored_in_meaning(
    tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher
) -> None:
    """From the proxy's arguments alone every server is what it was, but for what an empty list or object says."""
    text, given_servers = made
    path = a_file(tmp_path, text)
    plan = install(path, launcher)
    for backup in path.parent.glob(f"*{SUFFIX}*"):
        backup.unlink()
    if plan.entries:  # with no name, all are meant, those that were behind the proxy before too
        uninstall(path, tuple(plan.entries))
    for name, restored in read(path).servers.items():
        if name in plan.entries:
            assert isinstance(restored, dict)
            was, entry = dict(given_servers[name]), dict(restored)
            if "url" in was and "type" in was:
                was["type"] = "http"
            for key in ("args", "headers", "env"):
                for one in (was, entry):
                    if not one.get(key, True):
                        del one[key]
            assert entry == was
        else:
            assert restored == given_servers[name]


@given(configurations(), LAUNCHERS)
def test_changes_by_hand_stay(tmp_path: Path, made: tuple[str, dict[str, Any]], launcher: Launcher) -> None:
    """A variable that was added after installing is there after uninstalling, and it is said that the entry changed."""
    text, given_servers = made
    path = a_file(tmp_path, text)
    changed = list(install(path, launcher).entries)
    now = json.loads(path.read_bytes().decode("utf-8-sig"))
    inside = now.get("mcpServers", now.get("servers")) if "mcp" not in now else now["mcp"]["servers"]
    for name in changed:
        inside[name].setdefault("env", {})["BY_HAND"] = "1"
    path.write_text(json.dumps(now), "utf-8")
    undone = plan_uninstall(read(path), changed)
    if changed:
        carry_out(undone)
    assert not changed or set(undone.notes) == set(changed)
    for name, entry in read(path).servers.items():
        if name in changed:
            assert isinstance(entry, dict)
            was = given_servers[name]
            assert entry["env"].pop("BY_HAND") == "1"
            for key in ("command", "url", "type", "headers"):
                assert (entry.get(key) or None) == (was.get(key) or None)
            assert entry["env"] == was.get("env", {})


@given(configurations(), st.booleans())
def test_no_secret_is_shown(tmp_path: Path, made: tuple[str, dict[str, Any]], back: bool) -> None:
    """The difference of any change has no value of an environment or a header in it."""
    _, given_servers = made
    for number, entry in enumerate(given_servers.values()):
        if isinstance(entry, dict):
            for key in ("env", "headers"):
                if key in entry:
                    entry[key] = dict.fromkeys(entry[key], f"secret-{number}")
    path = a_file(tmp_path, json.dumps({"mcpServers": given_servers}, indent=2))
    if back:
        install(path)
    plan = plan_uninstall(read(path)) if back else plan_install(read(path), LAUNCHER)
    assert "secret-" not in "\n".join(plan.difference())
