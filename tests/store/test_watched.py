"""A database that lost one of its files, or was restored, while it was in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_kinds import NOW, insert

from ascend_guard.errors import StoreError
from ascend_guard.store.failures import BESIDE
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.store.sqlite.watched_files import Watched


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    if path.is_dir():
        shutil.copytree(path, copy)
        shutil.rmtree(path)
    else:
        shutil.copy(path, copy)
    copy.replace(path)


def replace_folder(path: Path) -> None:
    folder = path.parent
    moved = folder.with_name("moved")
    folder.rename(moved)
    shutil.copytree(moved, folder)


def lose_liveness_file(path: Path) -> None:
    for file in path.with_name("a.db.runners").iterdir():
        file.unlink()


@pytest.mark.parametrize("settled", [False, True], ids=["young", "settled"])
@pytest.mark.parametrize("how", [delete, move, replace, replace_folder, lose_liveness_file])
@pytest.mark.parametrize("suffix", ["", *BESIDE])
def test_nothing_is_written_or_read_when_a_file_is_lost(
    tmp_path: Path, suffix: str, how: Callable[[Path], None], settled: bool
) -> None:
    """Each file that the database depends on, lost in each way, whether or not its folder was relied on by then."""
    (tmp_path / "d").mkdir()
    store = SQLiteStore(tmp_path / "d" / "a.db", durability="process", clock=lambda: NOW)
    store.write(insert)
    if settled:
        store._files._clock = lambda: time.time() + 10
        store.write(insert)
        assert store._files._relied_on != (0, 0)
    if how is lose_liveness_file:  # in a folder of its own, so it is looked at once a second
        store._files._clock = lambda: time.time() + 20
    how(tmp_path / "d" / f"a.db{suffix}")
    for act in (
        lambda: store.write(insert),
        lambda: store.read(lambda reader: reader.heads()),
        lambda: store.changed(),
    ):
        with pytest.raises(StoreError, match="moved, deleted or replaced"):
            act()
    store.close()


def test_folders_are_relied_on_only_while_nothing_can_have_changed_unseen(tmp_path: Path) -> None:
    """A change in the very tick of the last look is seen, and one that a folder does not show within a second."""
    now = [0.0]
    inner = tmp_path / "inner"
    inner.mkdir()
    file = inner / "file"
    file.write_text("")
    watched = Watched(inner, [file], lambda: now[0])
    now[0] = os.stat(inner).st_ctime
    assert watched.unchanged()
    assert watched._relied_on == (0, 0)
    now[0] += 5
    assert watched.unchanged()
    assert watched._relied_on != (0, 0)
    watched._identities = ((0, 0),)  # as if the folder had not shown it
    assert watched.unchanged()
    now[0] += 1
    assert not watched.unchanged()


@given(before=st.integers(1, 4), after=st.integers(1, 4), by_others=st.integers(0, 8))
def test_a_restored_database_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: int, by_others: int
) -> None:
    """The last record that this process has seen is gone, however far others have written since."""
    path = tmp_path_factory.mktemp("restored") / "a.db"
    store = SQLiteStore(path, durability="process", clock=lambda: NOW)
    for _ in range(before):
        store.write(insert)
    backup = sqlite3.connect(path.with_name("backup.db"))
    with sqlite3.connect(path) as source:
        source.backup(backup)
    for _ in range(after):
        store.write(insert)
    with sqlite3.connect(path) as target:
        backup.backup(target)
    if by_others:
        other = SQLiteStore(path, durability="process", clock=lambda: NOW + 1)
        for _ in range(by_others):
            other.write(insert)
        other.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="restored to an older state"):
            store.write(insert)
    store.close()


def test_another_process_that_goes_on_is_no_restored_database(tmp_path: Path) -> None:
    """Two stores in turns."""
    one = SQLiteStore(tmp_path / "a.db", durability="process", clock=lambda: NOW)
    two = SQLiteStore(tmp_path / "a.db", durability="process", clock=lambda: NOW)
    numbers = [store.write(insert) for store in (one, two, two, one, one, two)]
    assert numbers == [1, 2, 3, 4, 5, 6]
    one.close()
    two.close()
