"""Files of the database that cannot be used: every error is one of ours and says what to do, and ``doctor`` foresees it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import PROFILE

from ascend_guard import AscendError, configure, governed
from ascend_guard.cli import main
from ascend_guard.store.migrations import steps

NOBODY = 65534
POLICY = "version: 1\nrules:\n  - {name: all, effect: allow}\n"
COMMANDS = (
    "approvals list --json",
    "actions list --json",
    "actions show 1 --json",
    "keys list --json",
    "audit verify --json",
    "policy check --json",
    "kill-switch status --json",
    "kill-switch on --json",
)
FILES = (
    "ascend-policy.yaml",
    ".ascend",
    ".ascend/.gitignore",
    *(
        f".ascend/ascend.db{suffix}"
        for suffix in ("", "-wal", "-shm", ".key", ".lock", ".lock-queue", ".runners", ".switch")
    ),
    ".",
)


@governed("data_read")
def read() -> int:
    """A tool."""
    return 1


def call(folder: Path) -> str:
    """What comes of an agent's call there: ``ran``, or the error's text."""
    try:
        plane = configure(policy=folder / "ascend-policy.yaml", durability="process")
        try:
            return "ran" if read() == 1 else "?"
        finally:
            plane.close()
    except AscendError as error:
        return str(error)


def typed(folder: Path, words: str) -> tuple[int, str]:
    """What a command answers there: its status, and its standard output."""
    out = io.StringIO()
    os.environ["ASCEND_POLICY"] = str(folder / "ascend-policy.yaml")
    os.environ["ASCEND_DURABILITY"] = "process"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main(words.split())
    return code, out.getvalue()


def apart(work: Callable[[], Any]) -> Any:
    """Do this in a process of its own, as a user who is not the administrator. What leaves it as an exception is raised."""
    steps("sqlite")  # read now: that user may not be able to enter the folder that the package is in
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = {"answer": work()}
        except BaseException:
            answer = {"raised": traceback.format_exc()}
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = json.loads(pipe.read() or '{"raised": "it died"}')
    os.waitpid(child, 0)
    assert "raised" not in said, said["raised"]
    return said["answer"]


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A database that an agent has used; everything that is imported late is imported, since the other user may not."""
    folder = Path(tempfile.mkdtemp(prefix="ascend-permissions-"))
    try:
        (folder / "ascend-policy.yaml").write_text(POLICY)
        assert call(folder) == "ran"
        for words in (*COMMANDS, "kill-switch off --yes --json", "doctor --json"):
            assert typed(folder, words)[0] == 0, words
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def copied(made: Path) -> Iterator[Path]:
    """A copy of it that belongs to the user who is not the administrator."""
    folder = Path(tempfile.mkdtemp(prefix="ascend-permissions-"))
    try:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        database = folder / ".ascend" / "ascend.db"
        connection = sqlite3.connect(database)  # an agent that died: the log and its index are there
        connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if os.geteuid() == 0:
            for place in (folder, *folder.rglob("*")):
                os.chown(place, NOBODY, NOBODY)
        yield folder
        connection.close()
    finally:
        for place in (folder, *(p for p in sorted(folder.rglob("*")) if p.is_dir() and not p.is_symlink())):
            place.chmod(0o700)
        shutil.rmtree(folder)


def spoil(file: Path, how: str) -> None:
    """Make a file unusable."""
    if how in ("forbidden", "readable"):
        mode = 0 if how == "forbidden" else 0o500 if file.is_dir() else 0o400
        if os.path.lexists(file):
            file.chmod(mode)
        return
    if how == "foreign":
        if os.path.lexists(file):
            if os.geteuid() == 0:
                os.chown(file, 0, 0)
            file.chmod(0o500 if file.is_dir() else 0)
        return
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    if how == "folder":
        file.mkdir()
    elif how == "loop":
        file.symlink_to(file.name)
    elif how == "nowhere":
        file.symlink_to(file.parent / "no" / "such" / "place")
    elif how == "garbage":
        file.write_bytes(b"\xff\x00garbage" * 500)
    elif how == "empty":
        file.touch()


OURS = ("StoreError", "PolicyError", "ConfigurationError", "Refusal", "NotFoundError")
WAYS = ("forbidden", "readable", "foreign", "folder", "loop", "nowhere", "garbage", "empty", "gone")
TRIED = [
    (name, how)
    for name in FILES
    for how in WAYS
    if name != "." or how in ("forbidden", "readable", "foreign")
]


@pytest.mark.parametrize(("name", "how"), TRIED)
def test_doctor_foresees_what_agents_meet(made: Path, name: str, how: str) -> None:
    """A call there either runs, or ends in an error of ours; ``doctor`` finds something wrong just where it does not run."""
    with copied(made) as folder:
        spoil(folder / name, how)
        code, said = apart(lambda: typed(folder, "doctor --json"))
        came = apart(lambda: call(folder))
        assert (code == 0) == (came == "ran"), (came, said)


EVERY_OTHER = [
    (name, how)
    for name, how in TRIED
    if PROFILE != "quick" or name == "." or (FILES.index(name) + WAYS.index(how)) % 2 == 0
]
"""In the quick profile each file is spoilt in every other way, and each way meets every other file."""


@pytest.mark.parametrize(("name", "how"), EVERY_OTHER)
def test_every_error_is_ours(made: Path, name: str, how: str) -> None:
    """Every command answers, or says what is wrong with a type of ours; none shows a raw error of the system's."""
    with copied(made) as folder:
        spoil(folder / name, how)
        # One process for all of them, since starting one takes longer than a command; each opens the database anew.
        for code, said in apart(lambda: [typed(folder, words) for words in COMMANDS]):
            answer = json.loads(said)
            if code and "error" in answer:
                kind, message = answer["error"]["type"], answer["error"]["message"]
                assert kind in OURS, said
                assert "bug in ascend-guard" not in message
                assert "The system refused" not in message, message
