"""What the documents say is true: code compiles, links resolve, commands exist, and the first minute really happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import typer.main

from ascend_guard.cli.app import app, run

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^([ ]*)```(\w*)[^\n]*\n(.*?)^\1```", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"ascend-guard ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path, language: str) -> list[str]:
    return [
        textwrap.dedent(body) for _, kind, body in BLOCK.findall(document.read_text()) if kind == language
    ]


def prose(document: Path) -> str:
    return BLOCK.sub("", document.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_python_compiles(document: Path) -> None:
    """Every Python block of every document, also those with an await at the top."""
    for number, code in enumerate(blocks(document, "python"), 1):
        compile(code, f"{document.name}, block {number}", "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_resolve(document: Path) -> None:
    """Every link to a file finds it, and every link to a heading finds that."""
    for target in LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text()), re.M)
            anchors = [
                re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
            ]
            assert anchor in anchors, target


def commands() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    return {
        name: set(getattr(command, "commands", {}))
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_exist(document: Path) -> None:
    """Every ``ascend-guard ...`` in code, of a block or in a line, is a command."""
    known = commands()
    text = document.read_text()
    code = [body for _, _, body in BLOCK.findall(text)] + re.findall(
        r"`(ascend-guard [^`]+)`", prose(document)
    )
    for words in COMMAND.findall("\n".join(code)):
        first, _, second = words.partition(" ")
        assert first in known, words
        assert not known[first] or not second or second in known[first], words


def test_every_command_the_help_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """From the top down, each answers its own ``--help``, and names only commands there are."""
    known = commands()
    assert run(["--help"]) == 0
    top = capsys.readouterr().out
    listed = set(re.findall(r"^[│|\s]+([a-z][a-z-]+)\s{2,}\S", top, re.M))
    assert listed == set(known)
    for group, inner in known.items():
        for words in ([group], *([group, command] for command in sorted(inner))):
            assert run([*words, "--help"]) == 0, words
            said = capsys.readouterr().out
            assert f"ascend-guard {' '.join(words)}" in said
            for named in COMMAND.findall(said):
                first, _, second = named.partition(" ")
                assert first in known, named
                assert not known[first] or not second or second in known[first], (words, named)


def test_the_first_sixty_seconds(tmp_path: Path) -> None:
    """The README's first example as it stands: begun, approved from another process, stopped and verified."""
    code = next(block for block in blocks(ROOT / "README.md", "python") if "# agent.py" in block)
    (tmp_path / "agent.py").write_text(code)
    command = [sys.executable, "-c", "from ascend_guard.cli import main; raise SystemExit(main())"]
    environment = {
        "PATH": os.environ["PATH"],
        "COLUMNS": "200",
        "ASCEND_POLICY": "ascend-policy.yaml",
        "PYTHONUNBUFFERED": "1",
    }

    def type_in(*words: str) -> str:
        answer = subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    type_in("init")
    agent = subprocess.Popen(
        [sys.executable, "agent.py"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "refunded 40 for A-17\n"
        until = time.monotonic() + 20
        while "refund" not in (listed := type_in("approvals", "list")):
            assert time.monotonic() < until, listed
        assert agent.poll() is None
        type_in("approvals", "approve", "2", "--yes")  # at a terminal it asks instead
        out, err = agent.communicate(timeout=20)
        assert (out, agent.returncode) == ("refunded 900 for A-18\n", 0)
        (waited,) = err.splitlines()
        assert waited.startswith("Waiting for a person: refund by billing ")
        assert "ascend-guard approvals show 2 (database " in waited
    finally:
        agent.kill()
        agent.communicate()
    type_in("kill-switch", "on", "--reason", "looks wrong")
    stopped = subprocess.run(
        [sys.executable, "agent.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert stopped.returncode == 1
    assert stopped.stdout == ""
    assert "KillSwitchError" in stopped.stderr
    assert "looks wrong" in stopped.stderr
    assert "none edited, removed, reordered or cut" in type_in("audit", "verify")
