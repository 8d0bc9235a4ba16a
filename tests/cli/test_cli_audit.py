"""``ascend-guard audit``: a trail that was tampered with is found, here and in an export."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ended(shop: Any) -> Any:
    """A shop with a few actions, whose agent has ended."""
    for _ in range(5):
        shop.finish(shop.ask("data_read"))
    shop.ask()
    shop.close()
    return shop


def tamper(shop: Any, statement: str) -> None:
    """Change the database behind everybody's back."""
    connection = sqlite3.connect(shop.database)
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_good_trail(ended: Any) -> None:
    """Verified: status 0, with how many records there were."""
    answer = ended.run("audit verify")
    assert answer.code == 0
    assert "16 records" in answer.out
    report = ended.run("audit verify --json").json
    assert report["ok"] is True
    assert report["records"] == 16
    assert report["problems"] == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET body = replace(body, 'seller', 'buyer') WHERE seq = 4",
        "DELETE FROM audit WHERE seq = 4",
        "DELETE FROM audit WHERE seq > 12",
        "UPDATE head SET seq = seq - 1",
        "UPDATE head SET mac = zeroblob(32)",
        "UPDATE actions SET status = 'approved' WHERE status = 'pending'",
    ],
)
def test_tampering_is_found(ended: Any, statement: str) -> None:
    """Edited, removed, cut, or an action that does not agree with it: status 1, and never an export."""
    tamper(ended, statement)
    answer = ended.run("audit verify")
    assert answer.code == 1
    assert "was changed after it was written" in answer.out
    assert ended.run("audit verify --json").json["problems"]
    assert ended.run("audit", "export", "x.jsonl").code == 1
    assert not Path("x.jsonl").exists()
    assert ended.run("audit", "export", "-").out == ""


def test_an_export_is_verified_offline(ended: Any, tmp_path: Path) -> None:
    """Export, verify with the key it printed; another key, or one changed byte, is found."""
    path = tmp_path / "trail.jsonl"
    record = ended.run("audit", "export", str(path), "--json").json
    assert record["records"] == 16
    assert path.stat().st_mode & 0o077 == 0
    key = record["public_key"]
    assert ended.run("audit", "verify", str(path), "--public-key", key).code == 0
    answer = ended.run("audit", "verify", str(path))
    assert answer.code == 0
    assert key in answer.out
    assert "Anyone can sign" in answer.out
    assert ended.run("audit", "verify", str(path), "--public-key", "0" * 64).code == 1
    lines = path.read_bytes().split(b"\n")
    for broken in (lines[:3] + lines[4:], lines[:-2], [lines[0].replace(b"seller", b"buyer!"), *lines[1:]]):
        path.write_bytes(b"\n".join(broken))
        assert ended.run("audit", "verify", str(path), "--json").json["ok"] is False


def test_export_to_standard_output(ended: Any) -> None:
    """Only the export is on standard output, one JSON value a line."""
    answer = ended.run("audit", "export", "-")
    assert answer.code == 0
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert len(lines) == 17
    assert "checkpoint" in lines[-1]
    assert "Signed by" in answer.err
    assert ended.run("audit", "export", "-", "--json").code == 2


def test_an_export_replaces_nothing(ended: Any, tmp_path: Path) -> None:
    """What is there may be evidence."""
    path = tmp_path / "trail.jsonl"
    path.write_text("evidence")
    assert ended.run("audit", "export", str(path)).code == 1
    assert path.read_text() == "evidence"
    assert ended.run("audit", "export", str(path), "--force").code == 0
    assert [item.name for item in tmp_path.glob("trail*")] == ["trail.jsonl"]
    assert ended.run("audit", "export", str(tmp_path / "no" / "such")).code == 1


def test_nothing_to_verify(shop: Any) -> None:
    """A database that is not there is not a good trail, and is not made."""
    for words in ("audit verify", "audit export -"):
        answer = shop.run(words)
        assert answer.code == 1
        assert "There is no database" in answer.err
    assert not shop.database.exists()


def test_a_missing_key(ended: Any) -> None:
    """Without the key nobody can say that nothing was cut."""
    ended.database.with_name("ascend.db.key").unlink()
    answer = ended.run("audit verify")
    assert answer.code == 1
    assert "key" in answer.err


@pytest.mark.parametrize("content", [b"", b"hello\n", b"SQLite format 3\0"])
def test_no_export(ended: Any, tmp_path: Path, content: bytes) -> None:
    """A file that is no export does not pass."""
    path = tmp_path / "x"
    path.write_bytes(content)
    answer = ended.run("audit", "verify", str(path))
    assert answer.code == 1
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "words", ["audit verify --public-key 00", "audit verify --public-key " + "0" * 64, "audit export"]
)
def test_wrong_usage(ended: Any, words: str) -> None:
    """A key that is none, or that goes with nothing."""
    assert ended.run(words).code == 2


def test_verifying_changes_nothing(ended: Any) -> None:
    """Verifying and exporting leave the database as it was."""
    before = ended.database.read_bytes()
    ended.run("audit verify")
    ended.run("audit", "export", "-")
    assert ended.database.read_bytes() == before
