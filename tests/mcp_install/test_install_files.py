"""Files that cannot be used, and moments that go wrong: a clear error, and nothing lost."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ascend_guard_mcp.clients import files
from ascend_guard_mcp.clients.jsonc import ClientFileError
from ascend_guard_mcp.clients.plan import carry_out, plan_install, plan_uninstall
from ascend_guard_mcp.clients.routing import Launcher
from ascend_guard_mcp.clients.undo import Kept, beside, recall, remember

LAUNCHER = Launcher("/opt/ascend/bin/ascend-guard")
ONE = '{"mcpServers": {"a": {"command": "x"}}}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration with one server."""
    made = tmp_path / "mcp.json"
    made.write_text(ONE)
    return made


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b'{"mcpServers": {"a": {}}', "line 1, column"),
        (b'{"mcpServers": {"a": {}, "a": {}}}', "the key 'a' stands twice"),
        (b'{"mcpServers": {}, "mcpServers": {}}', "the key 'mcpServers' stands twice"),
        (b"[]", "holds no object"),
        (b"{}", 'neither "mcpServers"'),
        (b'{"mcp": {}}', 'neither "mcpServers"'),
        (b'{"mcpServers": []}', '"mcpServers" is not an object'),
        (b'{"mcp": {"servers": null}}', '"mcp.servers" is not an object'),
        (b'{"mcpServers": {}, "servers": {}}', 'servers in "mcpServers" and "servers"'),
        (ONE.encode("utf-16"), "written in UTF-16. Save it as UTF-8"),
        (ONE.encode("utf-32"), "written in UTF-32. Save it as UTF-8"),
        (b'{\n"mcpServers": {"\xff": {}}}', "is not UTF-8: byte 18, in line 2. Save it as UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused(path: Path, data: bytes, says: str) -> None:
    """The message names the file, what is wrong, and the mend; the file stays."""
    path.write_bytes(data)
    with pytest.raises(ClientFileError) as caught:
        plan_install(path, LAUNCHER)
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert path.read_bytes() == data


def test_no_such_file(tmp_path: Path) -> None:
    """Missing, a folder, a link to nothing, links in a circle: each is told apart or named."""
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, says in (
        ("none", "does not exist"),
        ("dangling", "a link to a file that is gone"),
        ("circle", "cannot be read"),
        ("", "cannot be read"),
    ):
        with pytest.raises(ClientFileError, match=says):
            plan_install(tmp_path / name, LAUNCHER)


def test_a_link_stays_a_link(tmp_path: Path, path: Path) -> None:
    """The file it leads to changes and comes back, by whichever name; the memory lies beside that file."""
    folder = tmp_path / "home"
    folder.mkdir()
    link = folder / "mcp.json"
    link.symlink_to(path)
    carry_out(plan_install(link, LAUNCHER))
    assert link.is_symlink()
    assert "mcp-proxy" in path.read_text()
    assert beside(path).exists()
    assert os.listdir(folder) == ["mcp.json"]
    carry_out(plan_uninstall(path))
    assert path.read_text() == ONE


def test_read_only_is_respected(path: Path) -> None:
    """Whoever runs it: a file that is marked so is not replaced, and nothing appears beside it."""
    path.chmod(0o444)
    plan = plan_install(path, LAUNCHER)
    with pytest.raises(ClientFileError, match="read-only"):
        carry_out(plan)
    assert path.read_text() == ONE
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_permissions_stay(path: Path, mode: int) -> None:
    """There and back, the file has the permissions it had; the memory is its owner's alone."""
    path.chmod(mode)
    carry_out(plan_install(path, LAUNCHER))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(beside(path).stat().st_mode) == 0o600
    carry_out(plan_uninstall(path))
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_somebody_else_was_faster(path: Path, verb: str) -> None:
    """A file that changed after the difference was shown is left alone, and so is what is remembered."""
    if verb == "uninstall":
        carry_out(plan_install(path, LAUNCHER))
    remembered = recall(path)
    plan = plan_install(path, LAUNCHER) if verb == "install" else plan_uninstall(path)
    theirs = path.read_text() + "\n"
    path.write_text(theirs)
    with pytest.raises(ClientFileError, match="changed by somebody else"):
        carry_out(plan)
    assert path.read_text() == theirs
    assert recall(path) == remembered
    assert len(os.listdir(path.parent)) == (1 if verb == "install" else 2)


def test_two_at_once(path: Path) -> None:
    """Of two that planned at the same time one does it; the other is refused and forgets nothing of the first's."""
    path.write_text('{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}')
    before = path.read_text()
    first, second = (plan_install(path, LAUNCHER, (name,)) for name in ("a", "b"))
    carry_out(first)
    with pytest.raises(ClientFileError, match="by somebody else"):
        carry_out(second)
    assert not plan_uninstall(path).notes
    carry_out(plan_uninstall(path))
    assert path.read_text() == before


@pytest.mark.parametrize("call", ["replace", "fsync", "fchmod"])
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_any_step_may_fail(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int, verb: str
) -> None:
    """Whichever step the disk refuses: the file is all old or all new, and uninstalling still brings it back."""
    if verb == "uninstall":
        carry_out(plan_install(path, LAUNCHER))
    plan = plan_install(path, LAUNCHER) if verb == "install" else plan_uninstall(path)
    real, calls = getattr(os, call), []

    def refuse(*given: Any, **more: Any) -> Any:
        calls.append(given)
        if len(calls) == after + 1:
            raise OSError(28, "No space left on device")
        return real(*given, **more)

    with monkeypatch.context() as failing:
        failing.setattr(os, call, refuse)
        said = ""
        try:
            carry_out(plan)
        except ClientFileError as error:
            said = error.message
    assert path.read_text() == (plan.before if said and "as it should be" not in said else plan.after)
    assert not said or "No space left" in said
    if said and verb == "install":
        assert recall(path) == plan.memory
    assert not [name for name in os.listdir(path.parent) if name.endswith(".tmp")]
    carry_out(plan_uninstall(path))
    assert path.read_text() == ONE
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"version": 9, "servers": {}}', '{"version": 1, "servers": {"a": {}}}']
)
def test_a_memory_that_is_not_understood_stops_everything(path: Path, data: str) -> None:
    """It is neither used nor overwritten; the message says what to do about it."""
    beside(path).write_text(data)
    for plan in (lambda: plan_install(path, LAUNCHER), lambda: plan_uninstall(path)):
        with pytest.raises(ClientFileError, match="move it away"):
            plan()
    assert beside(path).read_text() == data
    assert path.read_text() == ONE


def test_what_cannot_be_put_together_is_not_forgotten(path: Path) -> None:
    """An entry edited beyond understanding is left alone with a reason, and what it was is still remembered."""
    carry_out(plan_install(path, LAUNCHER))
    remembered = recall(path)
    path.write_text(path.read_text().replace('"--", "x"', '"x"'))
    plan = plan_uninstall(path)
    assert "neither" in plan.skipped["a"]
    carry_out(plan)
    assert recall(path) == remembered


def test_the_kind_of_an_edited_server_is_remembered(path: Path) -> None:
    """A type the proxy's arguments do not tell comes back as it was written."""
    path.write_text('{"mcpServers": {"a": {"type": "streamable-http", "url": "https://a"}}}')
    before = path.read_text()
    carry_out(plan_install(path, LAUNCHER))
    path.write_text(path.read_text().replace("https://a", "https://b"))
    carry_out(plan_uninstall(path))
    assert path.read_text() == before.replace("https://a", "https://b")


def test_a_memory_that_changed_meanwhile(path: Path) -> None:
    """What somebody else remembered since is not overwritten."""
    plan = plan_install(path, LAUNCHER)
    theirs = {"b": Kept("{}", "0")}
    remember(path, theirs)
    with pytest.raises(ClientFileError, match="by somebody else"):
        carry_out(plan)
    assert recall(path) == theirs
    assert path.read_text() == ONE


def test_the_last_moment_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change between remembering and writing is seen as well."""

    def slow(place: Path, memory: dict[str, Kept]) -> None:
        remember(place, memory)
        path.write_text(ONE + "\n")

    plan = plan_install(path, LAUNCHER)
    monkeypatch.setattr("ascend_guard_mcp.clients.plan.remember", slow)
    with pytest.raises(ClientFileError, match="by somebody else"):
        carry_out(plan)
    assert path.read_text() == ONE + "\n"


def test_an_old_memory_does_not_come_back(path: Path) -> None:
    """What is remembered of a server that was replaced by hand since does not overwrite the new one."""
    carry_out(plan_install(path, LAUNCHER))
    path.write_text(ONE.replace('"x"', '"newer"'))
    carry_out(plan_install(path, LAUNCHER))
    carry_out(plan_uninstall(path))
    assert path.read_text() == ONE.replace('"x"', '"newer"')


def test_a_file_is_replaced_and_not_rewritten(path: Path) -> None:
    """Who holds the old file open reads the old one to its end."""
    with path.open() as held:
        files.write(files.read(path), files.read(path).with_text("{}"))
        assert held.read() == ONE
    assert json.loads(path.read_text()) == {}
