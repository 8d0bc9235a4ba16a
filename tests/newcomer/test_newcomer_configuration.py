"""Whatever is wrong with the configuration is said in one clear error, and nothing runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from newcomer_scripts import ALLOW

import ascend_guard
from ascend_guard import (
    AscendError,
    AuthenticationError,
    ConfigurationError,
    KillSwitchError,
    PolicyError,
    StoreError,
    governed,
)

ran: list[object] = []


@governed("note")
def note(text: object) -> object:
    ran.append(text)
    return text


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a policy, where nothing has run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(ALLOW)
    ran.clear()


def refused(kind: type[AscendError] | tuple[type[AscendError], ...], begin: Callable[[], object]) -> str:
    """What the one error says; nothing runs, neither before nor after it."""

    def begin_and_call() -> None:
        begin()
        note("must not run")

    with pytest.raises(kind) as caught:
        begin_and_call()
    assert ran == []
    return str(caught.value)


def kind_of(value: object) -> str:
    return type(value).__name__


def configuring(**settings: Any) -> Callable[[], object]:
    return lambda: ascend_guard.configure(**settings)


def test_nothing_is_configured() -> None:
    """The first call says the two ways to configure."""
    said = refused(ConfigurationError, lambda: None)
    assert "ascend-guard init" in said
    assert "ASCEND_POLICY" in said
    assert "configure(policy=" in said


def test_an_empty_variable_is_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """``export ASCEND_POLICY=`` is as good as nothing."""
    monkeypatch.setenv("ASCEND_POLICY", "")
    assert "Nothing is configured" in refused(ConfigurationError, lambda: None)


def test_no_such_policy_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """In code and in the environment: where it was looked for, what to name instead, and how to write a policy."""
    said = refused(PolicyError, configuring(policy="nowhere.yaml"))
    assert f"{Path.cwd()}/nowhere.yaml: the policy file does not exist; check the path" in said
    assert "ascend-guard init" in said
    monkeypatch.setenv("ASCEND_POLICY", "elsewhere.yaml")
    assert "elsewhere.yaml: the policy file does not exist" in refused(PolicyError, lambda: None)


def test_the_policy_is_a_directory(tmp_path: Path) -> None:
    """Name the file inside it."""
    assert "name the policy file inside it" in refused(PolicyError, configuring(policy=tmp_path))


def test_a_broken_rule(tmp_path: Path) -> None:
    """File, line, what is wrong, and the remedy."""
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nrules:\n  - {name: all, effect: alow}\n  - {name: x, effect: deny, when: args.amount >}\n"
    )
    first, second = refused(PolicyError, configuring(policy="policy.yaml")).splitlines()
    assert re.match(r"policy\.yaml:3: .+did you mean allow\?", first)
    assert second.startswith("policy.yaml:4: ")


def test_a_policy_that_is_no_yaml(tmp_path: Path) -> None:
    """File and line, not a parser's traceback."""
    (tmp_path / "policy.yaml").write_text("version: 1\nrules: [\n")
    assert refused(PolicyError, configuring(policy="policy.yaml")).startswith("policy.yaml:")
    (tmp_path / "policy.yaml").write_bytes(b"version: 1\n\xff\xfe")
    assert "save it as UTF-8" in refused(PolicyError, configuring(policy="policy.yaml"))


@pytest.mark.parametrize(
    "policy", [0, 1, True, False, {}, {"version": 1}, [], b"policy.yaml", object()], ids=kind_of
)
def test_a_policy_of_the_wrong_type(policy: Any) -> None:
    """The error names the argument and says that a path is wanted."""
    assert "policy" in refused(ConfigurationError, configuring(policy=policy))


@pytest.mark.parametrize("policy", ["", ".", "a\0b", "x" * 5000, ALLOW], ids=ascii)
def test_a_policy_that_is_no_path(policy: str) -> None:
    """An empty, an impossible and an endless path, and a policy's text instead of its path."""
    assert refused(ConfigurationError, configuring(policy=policy))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "x.db",
            "x",
            "sqlite://x.db",
            "sqlite:///",
            "sqlite://",
            "sqlite:/",
            "file:///x.db",
            "mysql://h/d",
        ),
        *("http://[bad", "sqlite:///a%00b.db", "sqlite:///:memory:", "sqlite:///x.db#part"),
        *("sqlite:///x.db?durabilty=power", "sqlite:///x.db?durability=never"),
        *(0, 5, {}, b"sqlite:///x.db", Path("x.db")),
    ],
    ids=ascii,
)
def test_a_wrong_database_url(url: Any, tmp_path: Path) -> None:
    """Whatever is wrong with the address: it is named, and no file is made for it."""
    said = refused(ConfigurationError, configuring(policy="policy.yaml", database_url=url))
    assert "database_url" in said or "durability" in said
    assert [path.name for path in tmp_path.iterdir()] == ["policy.yaml"]


def test_a_postgresql_address_keeps_its_password() -> None:
    """A server that cannot be reached is named, and not the password."""
    said = refused(
        StoreError,
        configuring(policy="policy.yaml", database_url="postgresql://ana:hunter2@127.0.0.1:9/ascend"),
    )
    assert "127.0.0.1" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("place", ["/proc/nowhere/ascend.db", "policy.yaml/ascend.db", "policy.yaml", "."])
def test_a_database_in_an_impossible_place(place: str, tmp_path: Path) -> None:
    """The path, and what to do about it."""
    url = f"sqlite:///{tmp_path / place}"
    said = refused(StoreError, configuring(policy="policy.yaml", database_url=url))
    assert re.search(r"name another location|move it away", said)
    assert (tmp_path / "policy.yaml").read_text() == ALLOW


@pytest.mark.parametrize("durability", ["fast", 0, [], b"power"], ids=kind_of)
def test_a_wrong_durability(durability: Any) -> None:
    """It names the two there are."""
    said = refused(ConfigurationError, configuring(policy="policy.yaml", durability=durability))
    assert "durability" in said


@pytest.mark.parametrize("setting", ["agent_id", "agent_name"])
@pytest.mark.parametrize("value", [5, {}, b"billing", "\ud800"], ids=ascii)
def test_a_wrong_agent(setting: str, value: Any) -> None:
    """The error names the setting when it is set, not the control plane when it is used."""
    assert setting in refused(ConfigurationError, configuring(policy="policy.yaml", **{setting: value}))


@pytest.mark.parametrize(
    "key", ["", "short", "ask_live_123", "sk_live_0123456789abcdef", "owkai_ with blanks in it"]
)
def test_a_key_that_is_none(key: str) -> None:
    """The error says how a key is formed, and does not show this one."""
    said = refused(
        (AuthenticationError, ConfigurationError), configuring(api_key=key, api_url="http://127.0.0.1:9")
    )
    assert "api_key" in said
    assert not key or key not in said


def test_a_server_that_is_not_there() -> None:
    """A governed call is blocked, and the error says what to check."""
    said = refused(
        KillSwitchError, configuring(api_key="owkai_0123456789abcdef", api_url="http://127.0.0.1:9")
    )
    assert "cannot be known" in said
    assert "owkai_0123456789abcdef" not in said


@pytest.mark.parametrize(
    "url", ["http://ascend.example.com", "ftp://localhost", "localhost", "https://a:b@c", "https://"]
)
def test_an_address_of_no_server(url: str) -> None:
    """Keys are not sent in clear text, nor anywhere that is no server."""
    said = refused(ConfigurationError, configuring(api_key="owkai_0123456789abcdef", api_url=url))
    assert "ASCEND_API_URL" in said


def test_an_api_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ignored for a policy beside it, nor overriding one given in code."""
    monkeypatch.setenv("ASCEND_API_KEY", "owkai_0123456789abcdef")
    monkeypatch.setenv("ASCEND_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ASCEND_POLICY", "policy.yaml")
    assert "cannot be known" in refused(KillSwitchError, lambda: None)
    plane = ascend_guard.configure(policy="policy.yaml", durability="process")
    assert note("runs") == "runs"
    plane.close()


@pytest.mark.parametrize("plane", [5, "policy.yaml", object(), {}, 0], ids=kind_of)
def test_a_control_plane_that_is_none(plane: Any) -> None:
    """The error says that it is no control plane."""
    assert "control_plane" in refused(ConfigurationError, configuring(control_plane=plane))


def test_a_database_alone_is_not_enough() -> None:
    """Without a policy nothing can be decided."""
    said = refused(ConfigurationError, configuring(database_url="sqlite:///x.db"))
    assert "configure(policy=" in said


def test_a_misspelt_argument() -> None:
    """It is not ignored: another policy than the one meant would decide."""
    assert "did you mean 'policy'" in refused(ConfigurationError, configuring(polcy="p.yaml"))


def test_in_a_folder_that_was_deleted(tmp_path: Path) -> None:
    """A relative path cannot be found from there: an error of ours, and an absolute one works."""
    code = f"""
import os, tempfile
from ascend_guard import AscendError, configure
gone = tempfile.mkdtemp(dir={str(tmp_path)!r})
os.chdir(gone)
os.rmdir(gone)
for given in ({{"policy": "p.yaml"}}, {{"policy": {str(tmp_path / "p.yaml")!r}, "database_url": "sqlite:///x.db"}}, {{}}):
    try:
        configure(**given)
        print("ran")
    except AscendError as error:
        print(type(error).__name__)
configure(policy={str(tmp_path / "p.yaml")!r}).close()
print("ran")
"""
    (tmp_path / "p.yaml").write_text("version: 1\nrules:\n  - {name: a, effect: allow}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.stdout.split() == ["PolicyError", "ConfigurationError", "ConfigurationError", "ran"], (
        done.stderr
    )
