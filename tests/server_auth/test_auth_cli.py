"""The commands that make keys and tokens, as newcomers use them."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from recorded import every_record
from world import Answer, standing

from ascend_guard.api.endpoint import Access
from ascend_guard.cli import main
from ascend_guard.engine.keys import key_of, signing_secret_of, tier_of
from ascend_guard.errors import AuthenticationError
from ascend_guard.server.access.auth import Gate
from ascend_guard.server.access.tokens import LocalIssuer
from ascend_guard.store.sqlite.store import SQLiteStore


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the database will be."""
    return tmp_path / "server" / "ascend.db"


@pytest.fixture
def run(
    database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Answer]:
    """Type a command, on a narrow screen without colours; no policy is configured, only a database."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("ASCEND_DATABASE_URL", f"sqlite:///{database}")
    monkeypatch.setenv("ASCEND_DURABILITY", "process")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def type_(line: str) -> Answer:
        capsys.readouterr()
        code = main(shlex.split(line))
        return Answer(code, *capsys.readouterr())

    return type_


def opened(database: Path) -> SQLiteStore:
    """The store a server would have."""
    return SQLiteStore(database, durability="process")


def test_a_first_key(run: Callable[[str], Answer], database: Path) -> None:
    """One command makes the database and the key, and says how to use it and how to take it back."""
    made = run("keys create --agent my-agent")
    assert made.code == 0
    key = next(word for word in made.out.split() if word.startswith("owkai_"))
    assert f"export ASCEND_API_KEY={key}\n" in made.out
    assert "only now" in made.out
    assert "keys revoke 1" in made.out
    assert key not in made.err
    assert str(database) in made.err.replace("\n", "")
    store = opened(database)
    info = store.read(lambda reader: key_of(reader, key))
    store.close()
    assert info is not None
    assert (info.key_id, info.agent_id, info.organization, info.role) == ("1", "my-agent", "local", "agent")


def test_for_programs(run: Callable[[str], Answer], database: Path) -> None:
    """``--json`` prints one value with just these names, and where the key is."""
    made = run("keys create --agent seller --role admin --organization acme --tier pro --json")
    assert made.json | {"api_key": "", "key_id": ""} == {
        "database": str(database),
        "api_key": "",
        "key_id": "",
        "agent_id": "seller",
        "organization": "acme",
        "role": "admin",
    }
    store = opened(database)
    assert store.read(lambda reader: key_of(reader, made.json["api_key"])) is not None
    assert store.read(lambda reader: tier_of(reader, "acme")) == "pro"
    store.close()
    assert "was created, with the tier pro" in made.err.replace("\n", " ")
    again = run("keys create --organization acme --json")
    assert again.json["agent_id"] is None
    assert "was made" not in again.err


def test_a_key_with_a_signing_secret(run: Callable[[str], Answer], database: Path) -> None:
    """The secret is shown once, with the variable clients read it from; lists and the trail only say that there is one."""
    made = run("keys create --agent seller --signing-secret")
    secret = next(word for word in made.out.replace("=", " ").split() if word.startswith("ascs_"))
    assert f"export ASCEND_SIGNING_SECRET={secret}\n" in made.out
    again = run("keys create --signing-secret --json").json
    assert again["signing_secret"] != secret
    assert "signing_secret" not in run("keys create --json").json
    listed = run("keys list --json")
    assert [entry["signed"] for entry in listed.json["keys"]] == [True, True, False]
    store = opened(database)
    trail = store.read(lambda reader: b"".join(row.body for row in every_record(reader)))
    info = store.read(lambda reader: key_of(reader, again["api_key"]))
    assert info is not None
    assert signing_secret_of(store.secret, info) == again["signing_secret"]
    store.close()
    assert trail.count(b'"signed":true') == 2
    for text in (listed.out, run("keys list").out, trail.decode()):
        assert "ascs_" not in text


def test_a_key_is_listed_and_revoked(run: Callable[[str], Answer]) -> None:
    """By its number, as the list or the audit trail writes it; no list shows a key."""
    keys = [run("keys create --agent seller --json").json for _ in range(2)]
    text, listed = run("keys list"), run("keys list --json").json
    assert listed["total"] == 2
    assert [entry["key_id"] for entry in listed["keys"]] == [key["key_id"] for key in keys]
    for key in keys:
        assert key["api_key"] not in text.out + json.dumps(listed)
        assert key["api_key"][:10] in text.out
    done = run(f"keys revoke {keys[0]['key_id']}")
    assert "Revoked" in done.out
    assert run(f"keys revoke key:{keys[1]['key_id']} --json").json["revoked_at"] is not None
    assert all(entry["revoked_at"] for entry in run("keys list --json").json["keys"])


def test_organizations_see_their_own_keys(run: Callable[[str], Answer]) -> None:
    """Neither in the list nor to revoke is there another's."""
    key = run("keys create --organization acme --json").json
    assert run("keys list --json").json["total"] == 0
    assert run("keys list --organization acme --json").json["total"] == 1
    refused = run(f"keys revoke {key['key_id']}")
    assert refused.code == 1
    assert "no API key" in refused.err
    assert run(f"keys revoke {key['key_id']} -o acme").code == 0


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("keys create --agent ''", 2, "is empty"),
        ("keys create --agent ' '", 2, "is empty"),
        ("keys create --organization ''", 2, "is empty"),
        ("keys create --organization Acme", 1, "is not a valid name for an organization"),
        ("keys create --organization acme --tier gold", 1, "is not a tier"),
        ("keys create --tier free", 1, "already exists"),
        ("keys create --role root", 1, "not a role"),
        ("keys revoke 7", 1, "no database"),
        ("token --user ''", 1, "not a valid name"),
        ("token --user key:7", 1, "not a valid name"),
        ("token --user ann@example.com --role root", 1, "not a role"),
        ("token --user ann@example.com --for 0h", 2, "and 30 d"),
        ("token --user ann@example.com --for 12", 2, "90s, 15m, 2h, 1d"),
        ("token --user ann@example.com --group ''", 2, "is empty"),
        ("token --user ann@example.com --organization acme", 1, "no organization"),
        ("token", 2, "--user"),
    ],
)
def test_mistakes(run: Callable[[str], Answer], line: str, code: int, words: str) -> None:
    """Each is answered with what was wrong, and nothing is made."""
    answer = run(line)
    assert answer.code == code
    assert words in " ".join(answer.err.split())
    assert answer.out == ""
    assert run("keys list --json").json.get("total", 0) == 0  # where there is no database, that is an error


def test_looking_makes_no_database(run: Callable[[str], Answer], database: Path) -> None:
    """It is an error that names the place, and leaves nothing behind."""
    answer = run("keys list")
    assert answer.code == 1
    assert str(database) in answer.err.replace("\n", "")
    assert not database.exists()


def test_a_token_for_a_person(run: Callable[[str], Answer], database: Path) -> None:
    """It stands alone on the output, in one line, and opens what keys do not."""
    made = run("token --user approver@example.com --role approver --group finance --group board")
    token = made.out.removesuffix("\n")
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    key = run("keys create --role admin --json").json["api_key"]
    store = opened(database)

    async def play() -> None:
        gate = Gate(store, standing(), [LocalIssuer(store.secret)])
        with pytest.raises(AuthenticationError):
            await gate.admit({"x-api-key": key}, Access.PERSON)
        caller = await gate.admit({"authorization": f"Bearer {token}"}, Access.PERSON)
        assert (caller.name, caller.role, caller.organization) == (
            "approver@example.com",
            "approver",
            "local",
        )
        assert caller.groups == {"finance", "board"}

    asyncio.run(play())
    trail = store.read(lambda reader: [json.loads(row.body) for row in every_record(reader)])
    store.close()
    issued = next(record for record in trail if record["event"] == "token.issued")
    assert (issued["user"], issued["role"]) == ("approver@example.com", "approver")
    assert token.split(".")[2] not in json.dumps(trail)


def test_a_token_for_programs(run: Callable[[str], Answer]) -> None:
    """``--json`` says who it is for and until when."""
    run("keys create --organization acme")
    made = run("token --user ann@example.com --organization acme --for 30m --json").json
    claims = jwt.decode(made.pop("token"), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 1800
    assert made.pop("expires_at").endswith("Z")
    assert made.pop("database").endswith("ascend.db")
    assert made == {"user": "ann@example.com", "role": "viewer", "groups": [], "organization": "acme"}
