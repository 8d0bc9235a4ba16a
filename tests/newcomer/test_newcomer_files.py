"""Files that cannot be used: read-only, damaged, foreign, too new, without their key."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from newcomer_scripts import ALLOW, is_blocked, run, trail
from recorded import every_action, every_record

import ascend_guard
from ascend_guard import StoreError, governed

ran: list[object] = []

NOBODY = """
if os.getuid() == 0:  # anybody else cannot write what is read-only
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


@governed("note")
def note(text: object) -> object:
    ran.append(text)
    return text


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A trail of forty calls, well closed."""
    (tmp_path / "policy.yaml").write_text(ALLOW)
    plane = ascend_guard.configure(policy=tmp_path / "policy.yaml", durability="process")
    for _ in range(40):
        note("x" * 200)
    plane.close()
    ran.clear()
    return tmp_path / ".ascend" / "ascend.db"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def configure_and_call(database: Path) -> None:
    plane = ascend_guard.configure(policy=database.parent.parent / "policy.yaml", durability="process")
    try:
        note("must not run")
    finally:
        plane.close()


def test_a_read_only_folder(open_folder: Path) -> None:
    """The call is blocked, and told to make the folder writable or to name another location."""
    said = run(
        open_folder,
        f"os.chmod(folder, 0o555){NOBODY}os.environ['ASCEND_POLICY'] = str(policy)\nattempt('x'); try_configure()",
    )
    for answer in said:
        assert is_blocked(answer, "StoreError", "cannot be written", "database_url")


def test_a_read_only_database(open_folder: Path) -> None:
    """The same for a database that exists and may only be read; it stays as it is."""
    said = run(
        open_folder,
        f"""
plane = configure(); attempt("first"); plane.close()
ascend_guard.config._default = None
for path in [*(folder / ".ascend").rglob("*"), folder / ".ascend"]:
    path.chmod(0o555 if path.is_dir() else 0o444)
{NOBODY}
os.environ["ASCEND_POLICY"] = str(policy)
attempt("second")
""",
    )
    assert said[0]["ran"]
    assert is_blocked(said[1], "StoreError", "cannot be written")
    for path in [open_folder / ".ascend", *(open_folder / ".ascend").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # to look into it, as whichever user
    assert trail(open_folder / ".ascend" / "ascend.db") == ["completed"]


def overwrite(database: Path, offset: int, content: bytes) -> None:
    with database.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def shorten(database: Path, size: int) -> None:
    with database.open("r+b") as file:
        file.truncate(size)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda database: database.write_bytes(b"garbage!" * 3000),
    "cut in the first page": lambda database: shorten(database, 100),
    "cut inside a page": lambda database: shorten(database, 5000),
    "cut at a page": lambda database: shorten(database, 3 * 4096),
    "without its last page": lambda database: shorten(database, database.stat().st_size - 4096),
    "first page overwritten": lambda database: overwrite(database, 0, b"\xa5" * 4096),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corrupt_database(damage: str, database: Path) -> None:
    """Blocked, with the advice to restore a backup or to move the file away."""
    DAMAGE[damage](database)
    with pytest.raises(StoreError, match="Restore it from a backup, or move it away"):
        configure_and_call(database)
    assert ran == []


def test_a_database_cut_to_nothing(database: Path) -> None:
    """A trail whose key is there and whose records are all gone is not begun anew in silence."""
    shorten(database, 0)
    with pytest.raises(StoreError):
        configure_and_call(database)
    assert ran == []


def test_a_page_overwritten_in_the_middle(database: Path) -> None:
    """Wherever the damage is: it is blocked, or found by the verifier, or there was nothing to lose there."""
    policy = database.parent.parent / "policy.yaml"

    def content() -> list[object] | None:
        plane = ascend_guard.configure(policy=policy, durability="process")
        try:
            if not plane.verify_audit().ok:
                return None
            return plane.read(lambda reader: [*every_action(reader), *every_record(reader)])
        finally:
            plane.close()

    expected = content()
    whole = database.read_bytes()
    assert expected is not None
    assert len(whole) > 8 * 4096
    for page in range(len(whole) // 4096):
        database.write_bytes(whole)
        for left in ("-wal", "-shm"):
            database.with_name(database.name + left).unlink(missing_ok=True)
        overwrite(database, page * 4096, b"\xa5" * 4096)
        with suppress(StoreError):
            assert content() in (None, expected)


@pytest.mark.parametrize("version", [0, 1], ids=["no version", "our version"])
def test_a_database_that_is_not_ours(version: int, tmp_path: Path) -> None:
    """Blocked, and left as it is."""
    (tmp_path / "policy.yaml").write_text(ALLOW)
    database = tmp_path / ".ascend" / "ascend.db"
    database.parent.mkdir()
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE customers (name)")
        connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    with pytest.raises(StoreError, match="not an ascend-guard database"):
        configure_and_call(database)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
    connection.close()
    assert ran == []


def test_a_database_of_a_newer_version(database: Path) -> None:
    """Blocked, with the command that upgrades."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="pip install --upgrade ascend-guard"):
        configure_and_call(database)
    assert ran == []


def test_the_key_is_missing(database: Path) -> None:
    """No new key is made for an old trail."""
    key = database.with_name("ascend.db.key")
    key.unlink()
    with pytest.raises(StoreError, match=r"ascend\.db\.key, is missing\. Restore it from a backup"):
        configure_and_call(database)
    assert (ran, key.exists()) == ([], False)


@pytest.mark.parametrize("content", [b"", b"ab", b"hello", b"\xff\xfe\x00", b"ab" * 31], ids=ascii)
def test_the_key_is_damaged(content: bytes, database: Path) -> None:
    """Whatever is not a key is said to be damaged."""
    database.with_name("ascend.db.key").write_bytes(content)
    with pytest.raises(StoreError, match=r"key file .+ is damaged"):
        configure_and_call(database)
    assert ran == []


def test_the_key_of_another_trail(database: Path) -> None:
    """A key that did not write the trail cannot go on with it."""
    database.with_name("ascend.db.key").write_text("ab" * 32)
    with pytest.raises(StoreError, match="the key file belongs to another database"):
        configure_and_call(database)
    assert ran == []


@pytest.mark.parametrize("content", [b"", b"ab"], ids=ascii)
def test_no_trail_begins_under_a_broken_key(content: bytes, tmp_path: Path) -> None:
    """What a full disk or a crash left of a key is no key: it could be guessed."""
    (tmp_path / "policy.yaml").write_text(ALLOW)
    database = tmp_path / ".ascend" / "ascend.db"
    database.parent.mkdir()
    database.with_name("ascend.db.key").write_bytes(content)
    with suppress(StoreError):
        plane = ascend_guard.configure(policy=tmp_path / "policy.yaml", durability="process")
        plane.close()
        assert len(plane.store.secret) == 32


@pytest.mark.parametrize("name", ["ascend.db.key", "ascend.db.lock", "ascend.db"])
def test_a_directory_where_a_file_belongs(name: str, tmp_path: Path) -> None:
    """It is not the disk's fault, and the path is named."""
    (tmp_path / "policy.yaml").write_text(ALLOW)
    (tmp_path / ".ascend" / name).mkdir(parents=True)
    with pytest.raises(StoreError, match=name.replace(".", r"\.")) as caught:
        configure_and_call(tmp_path / ".ascend" / "ascend.db")
    assert "free space" not in str(caught.value)
    assert ran == []
