"""A person at a command line, in a project folder, with a home of their own."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from install_world import VSCODE, commands
from world import Answer

from ascend_guard.cli import main

POLICY = "version: 1\nrules:\n  - {name: reads, actions: ['files.read'], effect: allow}\n"


class Desk:
    """A project, a home, and a command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.project = folder / "project"
        self.policy = folder / "policy.yaml"
        self.home = folder / "home"
        self.project.mkdir()
        self.home.mkdir()
        self._capsys = capsys

    def has(self, where: str, text: str = VSCODE) -> Path:
        """A file in the project, or with ``~/`` in the home."""
        path = self.home / where[2:] if where.startswith("~/") else self.project / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))
        return path

    def run(self, *arguments: str) -> Answer:
        """Type a command after ``mcp-proxy``; a single argument is split as a shell would."""
        words = shlex.split(arguments[0]) if len(arguments) == 1 else list(arguments)
        self._capsys.readouterr()
        code = main(["mcp-proxy", *words] if words[0] in ("install", "uninstall") else words)
        return Answer(code, *self._capsys.readouterr())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Sit down; the screen has no colours and is wide, and the shell knows a policy."""
    made = Desk(tmp_path, capsys)
    monkeypatch.setattr("ascend_guard.cli.app.app", commands())
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setenv("COLUMNS", "300")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    made.policy.write_text(POLICY)
    monkeypatch.setenv("ASCEND_POLICY", str(made.policy))
    monkeypatch.chdir(made.project)
    return made
