"""What ``--force`` may replace, and what a command that writes a file leaves behind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COMMAND = (sys.executable, "-c", "import sys; from ascend_guard.cli import main; sys.exit(main())")
WRITERS = ("init", "audit export")
PLAIN = "plain"


def put(kind: str, path: Path) -> None:
    """Put something there."""
    if kind == PLAIN:
        path.write_text("evidence")
        path.chmod(0o640)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(path))
    elif kind == "link":
        (path.parent / "target").write_text("evidence")
        path.symlink_to("target")
    elif kind == "link to nothing":
        path.symlink_to("nothing")
    elif kind == "link to a device":
        path.symlink_to("/dev/null")
    elif kind == "link to itself":
        path.symlink_to(path.name)


def seen(path: Path) -> tuple[int, int, bytes | None]:
    """What is there: its inode, its kind, and its content where it is a plain file."""
    found = os.lstat(path)
    return (
        found.st_ino,
        stat.S_IFMT(found.st_mode),
        path.read_bytes() if stat.S_ISREG(found.st_mode) else None,
    )


KINDS = (
    PLAIN, "folder", "pipe", "socket", "link", "link to nothing", "link to a device", "link to itself",
)  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("force", [False, True])
def test_only_a_plain_file_is_replaced(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, kind: str, force: bool
) -> None:
    """And only with ``--force``; all else stays what it is, and no draft is left beside it."""
    monkeypatch.chdir(tmp_path)
    shop.ask("data_read")
    folder = tmp_path / "here"
    folder.mkdir()
    put(kind, folder / "file")
    if kind == "folder" and writer == "init":
        put("pipe", folder / "file" / "ascend-policy.yaml")  # it writes into a folder
    before = seen(folder / "file")
    names = sorted(os.listdir(folder))
    answer = shop.run(*writer.split(), str(folder / "file"), *(["--force"] if force else []))
    if kind == PLAIN and force:
        assert answer.code == 0
        assert (folder / "file").stat().st_mode & 0o777 == 0o640
        assert b"evidence" not in (folder / "file").read_bytes()
    else:
        assert answer.code == 1
        assert seen(folder / "file") == before
        assert "already exists" in answer.err if kind == PLAIN else "never replaced by a file" in answer.err
    assert sorted(os.listdir(folder)) == names


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("device", ["/dev/null", "/dev/full", "/dev/stdout"])
def test_a_device_stays_one(shop: Any, writer: str, device: str) -> None:
    """Also for the administrator, who could replace it."""
    shop.ask("data_read")
    before = os.lstat(device).st_ino
    for force in ([], ["--force"]):
        assert shop.run(*writer.split(), device, *force).code == 1
    assert os.lstat(device).st_ino == before


@pytest.mark.parametrize("writer", WRITERS)
def test_a_place_that_cannot_be_written(shop: Any, tmp_path: Path, writer: str) -> None:
    """A missing folder, a file as a folder, an endless name: one line, status 1, no traceback."""
    shop.ask("data_read")
    (tmp_path / "plain").touch()
    for place in (tmp_path / "no" / "x", tmp_path / "plain" / "x", tmp_path / ("n" * 300)):
        answer = shop.run(*writer.split(), str(place))
        assert answer.code == 1
        assert "cannot be written" in answer.err
        assert "bug in ascend-guard" not in answer.err


def test_an_export_that_is_cut_short_leaves_nothing(shop: Any, tmp_path: Path) -> None:
    """A limit on files ends it in the middle: neither half an export nor a draft is there, and what was there stays."""
    shop.ask("data_read", action_details={"x": "word " * 60_000})
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "trail").write_text("evidence")
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    )
    done = subprocess.run(
        [sys.executable, "-c", limited + COMMAND[2], "audit", "export", "--force", str(tmp_path / "here" / "trail")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be written (File too large)" in done.stderr
    assert os.listdir(tmp_path / "here") == ["trail"]
    assert (tmp_path / "here" / "trail").read_text() == "evidence"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.integers(0, 0o777), st.integers(0, 0o777))
def test_modes(tmp_path: Path, mask: int, mode: int) -> None:
    """A new file follows the umask; one that is replaced keeps its mode."""
    from ascend_guard.cli.files import write_file

    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    before = os.umask(mask)
    try:
        write_file(path, [b"x"], force=False)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask
        path.chmod(mode)
        write_file(path, [b"y"], force=True)
        assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
    path.chmod(0o600)
    assert path.read_bytes() == b"y"
