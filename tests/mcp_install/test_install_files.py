"""Files that cannot be used, and moments that go wrong: a clear error, and nothing lost."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ascend_guard_mcp.clients.configuration import ClientFileError, read
from ascend_guard_mcp.clients.plan import SUFFIX, Plan, plan_install, plan_uninstall
from ascend_guard_mcp.clients.routing import Launcher

from ascend_guard.cli.commands.mcp_install import carry_out
from ascend_guard.cli.context import Refusal

LAUNCHER = Launcher("/opt/ascend/bin/ascend-guard")
ONE = '{"mcpServers": {"a": {"command": "x"}}}'
BY_URL = '{"mcpServers": {"a": {"type": "streamable-http", "url": "https://a"}}}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration with one server."""
    made = tmp_path / "mcp.json"
    made.write_text(ONE)
    return made


def backup(path: Path, number: int = 1) -> Path:
    """Where a backup of a configuration is."""
    return path.with_name(f"{path.name}{SUFFIX}{number}")


def planned(path: Path, verb: str) -> Plan:
    """The change that a command would make."""
    return plan_install(read(path), LAUNCHER) if verb == "install" else plan_uninstall(read(path))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "at line 1, column 1"),
        (b'{"mcpServers": {"a": {}}', "at line 1, column"),
        (b'{"mcpServers": {"a": {}, "a": {}}}', "the key 'a' occurs twice"),
        (b'{"mcpServers": {}, "mcpServers": {}}', "the key 'mcpServers' occurs twice"),
        (b"[]", "contains no object"),
        (b"{}", 'neither "mcpServers"'),
        (b'{"mcp": {}}', 'neither "mcpServers"'),
        (b'{"mcpServers": []}', '"mcpServers" is not an object'),
        (b'{"mcp": {"servers": null}}', '"mcp.servers" is not an object'),
        (b'{"mcpServers": {}, "servers": {}}', 'servers in "mcpServers" and "servers"'),
        (ONE.encode("utf-16"), "not written in UTF-8. Save it as UTF-8"),
        (b'{\n"mcpServers": {"\xff": {}}}', "not written in UTF-8. Save it as UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused(path: Path, data: bytes, says: str) -> None:
    """The message names the file, what is wrong, and how to fix it."""
    path.write_bytes(data)
    with pytest.raises(ClientFileError) as caught:
        read(path)
    assert says in caught.value.message
    assert str(path) in caught.value.message


def test_no_such_file(tmp_path: Path) -> None:
    """Missing, a folder, a link to nothing, links in a circle: each is told apart or named."""
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, says in (
        ("none", "does not exist"),
        ("dangling", "a link to a file that does not exist"),
        ("circle", "cannot be read"),
        ("", "cannot be read"),
    ):
        with pytest.raises(ClientFileError, match=says):
            read(tmp_path / name)


def test_a_link_stays_a_link(tmp_path: Path, path: Path) -> None:
    """The file it leads to changes and is restored, by either name; the backup lies beside that file."""
    folder = tmp_path / "home"
    folder.mkdir()
    link = folder / "mcp.json"
    link.symlink_to(path)
    carry_out(planned(link, "install"))
    assert link.is_symlink()
    assert "mcp-proxy" in path.read_text()
    assert backup(path).read_text() == ONE
    assert os.listdir(folder) == ["mcp.json"]
    carry_out(planned(path, "uninstall"))
    assert path.read_text() == ONE


def test_read_only_is_respected(path: Path) -> None:
    """A file that is marked so is not replaced, whoever runs this, and nothing appears beside it."""
    path.chmod(0o444)
    plan = planned(path, "install")
    with pytest.raises(Refusal, match="read-only"):
        carry_out(plan)
    assert path.read_text() == ONE
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_permissions_stay(path: Path, mode: int) -> None:
    """Installed and restored, the file has the permissions it had; its backup has the same."""
    path.chmod(mode)
    carry_out(planned(path, "install"))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(backup(path).stat().st_mode) == mode
    carry_out(planned(path, "uninstall"))
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_file_that_changed_is_left_alone(path: Path, verb: str) -> None:
    """A file that changed after the difference was shown is not written."""
    if verb == "uninstall":
        carry_out(planned(path, "install"))
    plan, there = planned(path, verb), sorted(os.listdir(path.parent))
    theirs = path.read_text() + "\n"
    path.write_text(theirs)
    with pytest.raises(Refusal, match="changed in the meantime"):
        carry_out(plan)
    assert path.read_text() == theirs
    assert sorted(os.listdir(path.parent)) == there


def test_two_at_once(path: Path) -> None:
    """Of two that planned at the same time one does it, the other is refused, and both servers can be restored."""
    path.write_text('{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}')
    before = path.read_text()
    first, second = (plan_install(read(path), LAUNCHER, (name,)) for name in ("a", "b"))
    carry_out(first)
    with pytest.raises(Refusal, match="changed in the meantime"):
        carry_out(second)
    undo = planned(path, "uninstall")
    assert not undo.notes
    carry_out(undo)
    assert path.read_text() == before


@pytest.mark.parametrize("call", ["replace", "fsync", "fchmod"])
@pytest.mark.parametrize("after", range(3))
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_any_step_may_fail(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int, verb: str
) -> None:
    """Whichever step the disk refuses: the file is all old or all new, and uninstalling still restores it."""
    if verb == "uninstall":
        carry_out(planned(path, "install"))
    plan = planned(path, verb)
    before, new = path.read_bytes(), plan.after
    real, calls = getattr(os, call), []

    def refuse(*given: Any, **more: Any) -> Any:
        calls.append(given)
        if len(calls) == after + 1:
            raise OSError(28, "No space left on device")
        return real(*given, **more)

    said = ""
    with monkeypatch.context() as failing:
        failing.setattr(os, call, refuse)
        try:
            carry_out(plan)
        except Refusal as refusal:
            said = refusal.message
    assert bool(said) is (len(calls) > after)
    assert path.read_bytes() == (before if said else new)
    assert not said or "No space left" in said
    assert not [name for name in os.listdir(path.parent) if name.endswith(".part")]
    if verb == "install" and said:
        carry_out(planned(path, "install"))
    if verb == "install" or said:
        carry_out(planned(path, "uninstall"))
    assert path.read_text() == ONE


def test_no_earlier_backup_is_overwritten(path: Path) -> None:
    """What lies where a backup would lie stays as it is, and the next number is taken."""
    backup(path).write_text("mine")
    backup(path, 7).write_text(ONE + " ")
    backup(path, 99).symlink_to("/dev/null")
    carry_out(planned(path, "install"))
    assert backup(path).read_text() == "mine"
    assert backup(path, 8).read_text() == ONE
    carry_out(planned(path, "uninstall"))
    assert path.read_text() == ONE
    assert backup(path).read_text() == "mine"
    assert backup(path, 7).exists()
    assert not backup(path, 8).exists()


def test_a_forged_backup_brings_in_nothing(path: Path) -> None:
    """A backup whose entry is another one than what was installed is not used."""
    path.write_text('{"mcpServers": {"a": {"command": "x", "n": 1}}}')
    carry_out(planned(path, "install"))
    for forged in (
        '{"mcpServers": {"a": {"command": "evil", "n": 1}}}',
        '{"mcpServers": {"a": {"command": "x", "args": ["evil"], "n": 1}}}',
        '{"mcpServers": {"a": {"command": "x", "n": true}}}',
        '{"mcpServers": {"a": {"command": "x", "n": 1 /* */}}}',
    ):
        backup(path).write_text(forged)
        plan = planned(path, "uninstall")
        assert plan.entries == {"a": {"command": "x", "args": [], "n": 1}}
        assert "it differs from what was installed" in plan.notes["a"]
        assert "/*" not in plan.texts["a"]


def test_an_edited_file_keeps_the_edits_and_the_backup(path: Path) -> None:
    """Another server that was added since stays; the entries that did not change are restored exactly."""
    path.write_text(BY_URL)
    carry_out(planned(path, "install"))
    path.write_text(path.read_text().replace('{"mcpServers": {', '{"mcpServers": {"b": {"command": "y"}, '))
    plan = planned(path, "uninstall")
    assert not plan.notes
    carry_out(plan)
    assert path.read_text() == BY_URL.replace('{"mcpServers": {', '{"mcpServers": {"b": {"command": "y"}, ')
    assert backup(path).read_text() == BY_URL


def test_the_kind_of_an_edited_server_comes_from_the_backup(path: Path) -> None:
    """A type that the proxy's arguments do not tell is restored as it was written."""
    path.write_text(BY_URL)
    carry_out(planned(path, "install"))
    path.write_text(path.read_text().replace("https://a", "https://b"))
    carry_out(planned(path, "uninstall"))
    assert json.loads(path.read_text()) == json.loads(BY_URL.replace("https://a", "https://b"))


def test_an_entry_that_cannot_be_taken_out_stays(path: Path) -> None:
    """One that was edited beyond understanding is left alone, with a reason, and so is its backup."""
    carry_out(planned(path, "install"))
    path.write_text(path.read_text().replace('"--", "x"', '"x"'))
    plan = planned(path, "uninstall")
    assert "neither" in plan.skipped["a"]
    assert not plan.entries
    assert backup(path).read_text() == ONE


def test_an_old_backup_does_not_come_back(path: Path) -> None:
    """The backup of a server that was replaced by hand since does not overwrite the new one."""
    carry_out(planned(path, "install"))
    path.write_text(ONE.replace('"x"', '"newer"'))
    carry_out(planned(path, "install"))
    carry_out(planned(path, "uninstall"))
    assert path.read_text() == ONE.replace('"x"', '"newer"')


def test_a_change_while_the_backup_is_made_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is compared once more after its backup is on the disk."""
    real = os.replace

    def slow(*given: Any) -> None:
        real(*given)
        path.write_text(ONE + "\n")

    plan = planned(path, "install")
    monkeypatch.setattr(os, "replace", slow)
    with pytest.raises(Refusal, match="changed in the meantime"):
        carry_out(plan)
    assert path.read_text() == ONE + "\n"


def test_a_file_is_replaced_and_not_rewritten(path: Path) -> None:
    """A program that holds the old file open reads the old one to its end."""
    with path.open() as held:
        carry_out(planned(path, "install"))
        assert held.read() == ONE
    assert "mcp-proxy" in path.read_text()
