"""``ascend-guard audit``: a trail that was tampered with is found, here and in an export."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ascend_guard.store.log import key_of

FOURTH = key_of(1, 4)  # the key of the fourth record of the organization local
RECORDS = 11  # two for each call that a rule allows, one for a call that waits


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
    assert f"{RECORDS} records" in answer.out
    report = ended.run("audit verify --json").json
    assert report["ok"] is True
    assert report["records"] == RECORDS
    assert report["problems"] == []


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE log SET body = CAST(replace(body, 'seller', 'buyer') AS BLOB) WHERE key = {FOURTH}",
        f"DELETE FROM log WHERE key = {FOURTH}",
        f"DELETE FROM log WHERE key > {FOURTH}",
        "UPDATE heads SET seq = seq - 1 WHERE organization = 'local'",
        "UPDATE heads SET mac = zeroblob(32)",
        "UPDATE actions SET status = 'approved' WHERE status = 'pending'",
        "UPDATE actions SET duration = duration + 1",
        "DELETE FROM heads WHERE organization = 'local'",
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


ACME = "(SELECT number << 40 FROM heads WHERE organization = 'acme')"


@pytest.mark.parametrize(
    ("statement", "where", "what"),
    [
        (f"UPDATE log SET salt = zeroblob(16) WHERE key = {FOURTH}", "record 4", "the record was edited"),
        (
            f"UPDATE log SET salt = zeroblob(16) WHERE key = 1 + {ACME}",
            "record 1 of the log of acme",
            "the record was edited",
        ),
        (
            "UPDATE log SET salt = zeroblob(16) WHERE key = 1",
            "record 1 of the system's log",
            "the record was edited",
        ),
        ("DELETE FROM heads WHERE organization = 'acme'", "the log of acme", "the whole log was removed"),
        (f"DELETE FROM log WHERE key >= {ACME}", "the log of acme", "2 records were cut from the end"),
        (
            "INSERT INTO approvals (action, approver, at) VALUES (9 << 40 | 1, 'mallory', 0)",
            "",
            "1 rows of the table approvals belong to no log",
        ),
    ],
)
def test_where_it_is_found(ended: Any, statement: str, where: str, what: str) -> None:
    """The record, and whose log it is if it is not that of local; what is about no record has no number."""
    assert ended.run("keys create --agent seller --organization acme").code == 0
    assert ended.run("audit verify").code == 0
    tamper(ended, statement)
    lines = [line.strip() for line in ended.run("audit verify").out.splitlines()]
    assert f"{where} {what}".strip() in [re.sub(" +", " ", line) for line in lines]
    said = ended.run("audit export -").err.replace("\n", " ")
    assert (f"{where}: {what}" if where else f"({what})") in said


def test_an_export_is_verified_offline(ended: Any, tmp_path: Path) -> None:
    """Export, verify with the key it printed; another key, or one changed byte, is found."""
    path = tmp_path / "trail.jsonl"
    record = ended.run("audit", "export", str(path), "--json").json
    assert record["records"] == RECORDS
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
    assert len(lines) == RECORDS + 1
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


def test_tables_are_computed_anew(ended: Any) -> None:
    """What was changed is as it was, and it is said how much that was; a second time changes nothing."""
    tamper(ended, "UPDATE actions SET status = 'approved', decided_by = 'eve' WHERE status = 'pending'")
    assert ended.run("audit verify").code == 1
    answer = ended.run("audit", "rebuild")
    assert answer.code == 0
    assert "computed anew from 11 records; 1 difference is gone." in answer.out
    assert ended.run("audit verify").code == 0
    again = ended.run("audit", "rebuild", "--json").json
    assert again == {"rebuilt": ended.database, "records": 12, "problems": 0} | again
    assert ended.run("actions", "list", "--json").json["actions"][0]["status"] == "pending"


def test_nothing_is_computed_from_a_changed_log(ended: Any) -> None:
    """Status 1, with the record that differs, and no success."""
    tamper(ended, "DELETE FROM log WHERE key = (1 << 40) + 4")
    answer = ended.run("audit", "rebuild")
    assert answer.code == 1
    assert "Nothing was rebuilt: the log itself was changed" in answer.err
    assert answer.out == ""
