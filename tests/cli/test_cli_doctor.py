"""``ascend-guard doctor``: says what is wrong and how to fix it, whatever is wrong."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from recorded import change


def checks(answer: Any) -> dict[str, dict[str, Any]]:
    """What was looked at, by name."""
    return {check["name"]: check for check in answer.json["checks"]}


def test_all_is_well(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working shop: status 0."""
    monkeypatch.setenv("COLUMNS", "300")
    shop.ask()
    answer = shop.run("doctor")
    assert answer.code == 0
    assert "No problems were found." in answer.out
    for text in (str(shop.policy), "4 rules", str(shop.database), "writable, WAL", "1 waiting", "GiB free"):
        assert text in answer.out
    looked = checks(shop.run("doctor --json"))
    for name in ("policy", "database", "audit trail", "kill switch", "control plane", "disk"):
        assert looked[name]["state"] == "ok"


def test_nothing_is_configured(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works all the same, and tells both ways."""
    monkeypatch.delenv("ASCEND_POLICY")
    answer = shop.run("doctor")
    assert answer.code == 1
    for text in ("Nothing is configured", "ascend-guard init", "ASCEND_POLICY", "ASCEND_API_KEY"):
        assert text in answer.out


def test_before_the_first_call(shop: Any) -> None:
    """No database yet is no fault, and looking does not make one."""
    answer = shop.run("doctor --json")
    assert answer.code == 0
    assert "does not exist yet" in checks(answer)["database"]["detail"]
    assert not shop.database.parent.exists()


def test_a_server_is_configured(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is masked."""
    monkeypatch.setenv("ASCEND_API_KEY", "owkai_0123456789abcdefghij")
    monkeypatch.setenv("ASCEND_API_URL", "https://user:secret@example.com")
    for answer in (shop.run("doctor"), shop.run("doctor --json")):
        assert answer.code == 1
        assert "owkai_" in answer.out
        assert "0123456789" not in answer.out
        assert "secret" not in answer.out


def test_a_broken_policy(shop: Any) -> None:
    """Its mistakes are told with file and line."""
    shop.policy.write_text("version: 2\n")
    answer = shop.run("doctor --json")
    assert answer.code == 1
    assert f"{shop.policy}:1: " in checks(answer)["policy"]["detail"]
    assert "policy check" in checks(answer)["policy"]["remedy"]


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("ASCEND_DURABILITY", "never", "durability"),
        ("ASCEND_DATABASE_URL", "mysql://x/y", "control plane"),
        ("ASCEND_DATABASE_URL", "postgresql://u:p@127.0.0.1:9/d", "database"),
    ],
)
def test_wrong_settings(
    shop: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, check: str
) -> None:
    """A setting that means nothing is wrong, with a remedy."""
    monkeypatch.setenv(name, value)
    answer = shop.run("doctor --json")
    assert answer.code == 1
    assert checks(answer)[check]["state"] == "wrong"
    assert checks(answer)[check]["remedy"]


def test_a_misspelt_variable(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable nobody reads is pointed out with the one that was meant."""
    monkeypatch.setenv("ASCEND_POLCY", "x")
    assert "ASCEND_POLICY" in checks(shop.run("doctor --json"))["ASCEND_POLCY"]["remedy"]


def test_no_database_of_ours(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text file, and somebody else's database."""
    text = tmp_path / "text.db"
    text.write_text("hello " * 1000)
    monkeypatch.setenv("ASCEND_DATABASE_URL", f"sqlite:///{text}")
    assert shop.run("doctor").code == 1
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    monkeypatch.setenv("ASCEND_DATABASE_URL", f"sqlite:///{other}")
    answer = shop.run("doctor")
    assert answer.code == 1
    assert "Traceback" not in answer.err


def test_a_cut_trail(shop: Any) -> None:
    """Where the store refuses to open, doctor still looks, and says why."""
    shop.ask()
    shop.close()
    connection = sqlite3.connect(shop.database)
    with connection:
        connection.execute("UPDATE heads SET seq = 0")
    connection.close()
    assert shop.run("approvals list").code == 1
    answer = shop.run("doctor --json")
    assert answer.code == 1
    assert "audit verify" in checks(answer)["audit trail"]["remedy"]


def test_a_missing_key(shop: Any) -> None:
    """The key of the trail is gone."""
    shop.ask()
    shop.close()
    shop.database.with_name("ascend.db.key").unlink()
    assert "missing" in checks(shop.run("doctor --json"))["audit trail"]["detail"]


def test_others_may_read_it(shop: Any) -> None:
    """Files that other users can use are pointed out."""
    shop.ask()
    shop.database.chmod(0o644)
    assert checks(shop.run("doctor --json"))["permissions"]["remedy"] == f"chmod 600 {shop.database}"


def test_stopped_overdue_and_dead(shop: Any) -> None:
    """Kill switches, what is overdue, and what dead processes left, before anything tidies up."""
    running, waiting = shop.ask("data_read"), shop.ask()
    assert running.claimed
    shop.plane.store.write(lambda tx: change(tx, int(waiting.action_id), expires_at=1.0))
    shop.plane.kill(reason="fire", by="carol")
    fcntl.flock(shop.plane.store._liveness._file, fcntl.LOCK_UN)
    answer = shop.run("doctor --json")
    assert answer.code == 0
    looked = checks(answer)
    assert "fire" in looked["kill switch"]["detail"]
    assert "1 of them past their deadline" in looked["approvals"]["detail"]
    assert "1 call running" in looked["processes"]["detail"]


def test_the_kill_switch_is_read_from_its_file(shop: Any) -> None:
    """The command named for a switch releases that one; a file that is missing stops everybody, and is not "off"."""
    shop.plane.kill(reason="fire", by="carol", agent_id="a b")
    told = checks(shop.run("doctor --json"))["kill switch"]
    assert told["remedy"].endswith("kill-switch off --agent 'a b'")
    shop.plane.release(reason="out", by="carol", agent_id="a b")
    assert checks(shop.run("doctor --json"))["kill switch"]["detail"] == "off"
    shop.plane.store._switches.path.unlink()
    told = checks(shop.run("doctor --json"))["kill switch"]
    assert told["state"] == "warning"
    assert "missing" in told["detail"]


def test_a_full_disk(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little space is a warning, next to none is wrong."""
    usage = type("Usage", (), {"free": 500 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert checks(shop.run("doctor --json"))["disk"]["state"] == "warning"
    usage.free = 1 << 20
    answer = shop.run("doctor --json")
    assert answer.code == 1
    assert checks(answer)["disk"]["remedy"]
