"""What all commands have in common: shared options, help, statuses, errors."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from ascend_guard import __version__
from ascend_guard.cli import main
from ascend_guard.cli.app import app
from ascend_guard.errors import ServerError
from ascend_guard.store.sqlite.store import SQLiteStore


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    command = command or typer.main.get_command(app)
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, (*path, name))


COMMANDS = dict(commands())


def test_the_commands() -> None:
    """All there are; one more needs its own tests, and its place in this list."""
    assert {" ".join(path) for path in COMMANDS} == {
        "init", "demo", "doctor", "approvals list", "approvals show", "approvals approve", "approvals deny",
        "approvals clear-denial", "approvals watch", "approvals review", "actions list", "actions show",
        "kill-switch on", "kill-switch off", "kill-switch status",
        "policy check", "policy explain", "audit verify", "audit export", "audit rebuild",
        "serve", "keys create", "keys list", "keys revoke", "token", "mcp-proxy install", "mcp-proxy uninstall",
    }  # fmt: skip


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != ("demo",)], ids=" ".join)
def test_every_command_takes_the_shared_options_and_has_help(shop: Any, path: tuple[str, ...]) -> None:
    """--policy, --database-url and --json after the command too, and a line of help for all of it."""
    names = {name for parameter in COMMANDS[path].params for name in parameter.opts}
    assert {"--policy", "--database-url", "--json"} <= names
    answer = shop.run(*path, "--help")
    assert answer.code == 0
    assert COMMANDS[path].help
    assert all(
        getattr(parameter, "help", None) for parameter in COMMANDS[path].params if parameter.name != "help"
    )


def test_options_before_and_after(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option after the command wins over the same before it, and both over the environment."""
    asked = shop.ask()
    url = f"sqlite:///{shop.database}"
    (tmp_path / "elsewhere.yaml").touch()
    monkeypatch.setenv("ASCEND_POLICY", str(tmp_path / "elsewhere.yaml"))
    assert shop.run("approvals", "list", "--json").code == 1
    for words in (
        ("--database-url", url, "approvals", "list", "--json"),
        ("--json", "approvals", "list", "--database-url", url),
        (
            "--database-url",
            "sqlite:///nowhere.db",
            "approvals",
            "--",
            "list",
            "--json",
            "--database-url",
            url,
        ),
        ("--policy", str(shop.policy), "approvals", "list", "--json"),
    ):
        assert (
            shop.run(*[word for word in words if word != "--"]).json["actions"][0]["action_id"]
            == asked.action_id
        )


def test_durability_in_the_address(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of the database's address are kept."""
    shop.ask()
    monkeypatch.delenv("ASCEND_DURABILITY")
    assert (
        shop.run("approvals", "list", "--database-url", f"sqlite:///{shop.database}?durability=process").code
        == 0
    )
    for query in ("durability=never", "speed=fast"):
        answer = shop.run("approvals", "list", "--database-url", f"sqlite:///{shop.database}?{query}")
        assert answer.code == 1


@pytest.mark.parametrize("folder", ["a b", "ü-漢", "50%25", "what?", "no#1"])
def test_any_folder(shop: Any, tmp_path: Path, folder: str) -> None:
    """The database beside the policy is found whatever the folder is called."""
    place = tmp_path / folder
    place.mkdir()
    (place / "p.yaml").write_text(shop.policy.read_text())
    SQLiteStore(place / ".ascend" / "ascend.db", durability="process").close()
    answer = shop.run("kill-switch", "on", "--policy", str(place / "p.yaml"), "--json")
    assert answer.json["blocked"] is True
    assert answer.json["database"] == str(place / ".ascend" / "ascend.db")
    assert shop.run("audit", "verify", "--policy", str(place / "p.yaml")).code == 0
    assert shop.run("doctor", "--policy", str(place / "p.yaml")).code == 0


def test_version_and_help(shop: Any) -> None:
    """--version, --help, and what happens without a word."""
    assert shop.run("--version").out == f"ascend-guard {__version__}\n"
    assert "kill-switch" in shop.run("--help").out
    assert shop.run("-h").code == 0
    for words in ((), ("approvals",)):
        answer = Answerless(shop, words)
        assert answer.code == 2
        assert "Usage" in answer.out


class Answerless:
    """A run without arguments, which a shell line cannot express."""

    def __init__(self, shop: Any, words: tuple[str, ...]) -> None:
        shop._capsys.readouterr()
        self.code = main(words)
        self.out = "".join(shop._capsys.readouterr())


@pytest.mark.parametrize(
    "words", ["nonsense", "approvals nonsense", "approvals show", "approvals list --nonsense"]
)
def test_wrong_usage(shop: Any, words: str) -> None:
    """Status 2, a message on standard error that says how to go on, nothing on standard output."""
    answer = shop.run(words)
    assert answer.code == 2
    assert answer.out == ""
    assert "Error: " in answer.err
    assert "--help" in answer.err
    assert shop.run(words + " --json").json["error"]["type"] == "UsageError"


def test_nothing_configured(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways, line by line."""
    monkeypatch.delenv("ASCEND_POLICY")
    for words in ("approvals list", "actions show 1", "kill-switch on", "audit verify"):
        answer = shop.run(words)
        assert answer.code == 1
        assert "\n    export ASCEND_POLICY" in answer.err
        assert shop.run(words + " --json").json["error"]["type"] == "ConfigurationError"


def test_a_server_is_configured(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment means a server; nothing local is looked at or made instead."""
    monkeypatch.setenv("ASCEND_API_KEY", "owkai_x")
    for words in ("approvals list", "kill-switch on", "actions list"):
        answer = shop.run(words)
        assert answer.code == 1
        assert "ASCEND_API_KEY" in answer.err
    assert not shop.database.exists()


def test_an_unforeseen_failure(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a fault of ours is one message; the traceback is there for who asks."""
    shop.ask()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a\x1b[2Jb")

    monkeypatch.setattr("ascend_guard.cli.screen.lookup.outcome_of", broken)
    answer = shop.run("actions list --json")
    assert answer.code == 1
    assert answer.json["error"]["type"] == "ZeroDivisionError"
    answer = shop.run("actions list")
    assert "Traceback" not in answer.err
    assert r"a\x1b[2Jb" in answer.err
    monkeypatch.setenv("ASCEND_DEBUG", "1")
    answer = shop.run("actions list")
    assert "Traceback" in answer.err
    assert "\x1b" not in answer.err


def test_a_line_break_in_an_error_is_no_line(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data in an error message cannot write a line of its own."""

    def failing(*_: Any, **__: Any) -> None:
        raise ServerError("it failed\nApproved: action 1 may run")

    monkeypatch.setattr("ascend_guard.cli.screen.lookup.outcome_of", failing)
    shop.ask()
    assert shop.run("actions list").err == "Error: it failed\\nApproved: action 1 may run\n"


def test_the_console_script() -> None:
    """It is registered under its name."""
    [script] = entry_points(group="console_scripts", name="ascend-guard")
    assert script.load() is main
