"""A policy or a database in the wrong folder: the error names what was probably meant, and nothing is acted on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ascend_guard.cli import main, nearby_files
from ascend_guard.store.sqlite.store import SQLiteStore

AGENT = """
import sys
from ascend_guard import configure, governed
configure(policy=sys.argv[1], durability="process")
@governed("data_read")
def read(): return 1
print(read(), flush=True)
sys.stdin.read()
"""
POLICY = "version: 1\nrules:\n  - {name: all, effect: allow}\n"


def project(folder: Path, policy: str = "ascend-policy.yaml") -> Path:
    """A folder with a policy, and the database of agents that have ended."""
    folder.mkdir(parents=True)
    (folder / policy).write_text(POLICY)
    SQLiteStore(folder / ".ascend" / "ascend.db", durability="process").close()
    return folder


@pytest.mark.parametrize("start", ["home", "home/deep/er", "app/src", "."])
@pytest.mark.parametrize(
    "words",
    ["kill-switch on", "approvals list", "actions list", "audit verify", "audit rebuild", "keys create"],
)
def test_the_nearest_policy_is_named(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, words: str
) -> None:
    """Beside, above or below the folder: it is named, status 1, and no file is made."""
    app = project(tmp_path / "work" / "app")
    project(tmp_path / "far" / "away" / "app")
    folder = tmp_path / "work" / start
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ASCEND_POLICY", "ascend-policy.yaml")
    before = sorted(tmp_path.rglob("*"))
    answer = shop.run(words)
    assert (answer.code, answer.out) == (1, "")
    assert f"There is no policy file at {folder / 'ascend-policy.yaml'}." in answer.err
    assert f"The nearest policy file is {app / 'ascend-policy.yaml'}." in answer.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_slip_in_the_name(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file beside it whose name is nearly that."""
    app = project(tmp_path / "app", "shop-policy.yaml")
    monkeypatch.setenv("ASCEND_POLICY", str(app / "shop-polcy.yaml"))
    assert f"The nearest policy file is {app / 'shop-policy.yaml'}." in shop.run("kill-switch on").err


def test_the_nearest_database_is_named(shop: Any, tmp_path: Path) -> None:
    """Where the address of the database is wrong."""
    app = project(tmp_path / "app")
    for url in (f"sqlite:///{tmp_path}/ap/.ascend/ascend.db", f"sqlite:///{app}/ascend.db"):
        answer = shop.run("kill-switch", "on", "--database-url", url)
        assert answer.code == 1
        assert str(app / ".ascend" / "ascend.db") in answer.err


def test_what_running_agents_use_is_named(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far away; and typing what the error says stops them."""
    app = tmp_path / "a" / "b" / "c" / "d" / "e" / "f" / "g" / "app it is"
    app.mkdir(parents=True)
    (app / "ascend-policy.yaml").write_text(POLICY)
    elsewhere = tmp_path / "z" / "elsewhere"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(app / "ascend-policy.yaml")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "1\n"
        database = app / ".ascend" / "ascend.db"
        assert database in nearby_files.in_use_now()
        monkeypatch.setenv("ASCEND_POLICY", "ascend-policy.yaml")
        answer = shop.run("kill-switch on")
        assert answer.code == 1
        assert str(database) in answer.err
        assert "in use by running processes: " in answer.err
        told = shop.run("kill-switch", "on", "--json", "--database-url", nearby_files.url_of(database)).json
        assert (told["reached"], told["processes"], told["agents"]) == (True, 1, ["default-agent"])
        agent.communicate()
    assert database not in nearby_files.in_use_now()


def test_it_looks_at_few_folders_of_a_large_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of folders are not searched: an emergency does not wait for a search."""
    looked: list[str] = []

    def scandir(folder: str, real: Callable[[str], Any] = os.scandir) -> Any:
        if folder.startswith(str(tmp_path)):
            looked.append(folder)
        return real(folder)

    for number in range(3000):
        (tmp_path / f"folder-{number:04}" / "inner").mkdir(parents=True)
    monkeypatch.setattr(os, "scandir", scandir)
    nearby_files.near(tmp_path / "folder-0000" / "ascend-policy.yaml")
    assert 0 < len(set(looked)) <= 600
    assert len(looked) <= 1300, "a folder is read for what is in it, and once more for its policies"


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(names)
def test_any_name_is_printed_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A folder's name cannot write a line of its own into the error, and any name can be looked for."""
    folder = tmp_path / f"x{name}"
    folder.mkdir(exist_ok=True)
    (folder / "ascend-policy.yaml").write_text(POLICY)
    monkeypatch.setenv("ASCEND_POLICY", str(tmp_path / f"y{name}" / "ascend-policy.yaml"))
    assert main(["approvals", "list"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert "nearest policy file is" in err
