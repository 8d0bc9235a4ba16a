"""What the documents say is true: code compiles, links resolve, commands exist, and the first minute really happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
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


MAPS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md"]
"""Documents that say where things are."""
FILE = re.compile(r"`([\w./-]+\.(?:py|sql|txt|yml|toml|lock)|[\w./-]+/)`")


@pytest.mark.parametrize("document", MAPS, ids=name)
def test_files_exist(document: Path) -> None:
    """Every file and folder that a map of the repository names, by its path or the end of it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    files = {f"/{file}" for file in listed}
    there = files | {str(folder) for file in files for folder in Path(file).parents}
    named = [found.rstrip("/") for found in FILE.findall(document.read_text())]
    assert len(named) > 10
    assert [one for one in named if not any(path.endswith(f"/{one}") for path in there)] == []


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
    """The README's quick start as it stands, in a shell: begun, approved by another process, stopped and verified."""
    readme = ROOT / "README.md"
    (tmp_path / "agent.py").write_text(
        next(block for block in blocks(readme, "python") if "# agent.py" in block)
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    for program, does in {"ascend-guard": "-m ascend_guard", "python": ""}.items():
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" {does} "$@"\n')
        (programs / program).chmod(0o755)
    setup, use = blocks(readme, "bash")[:2]
    begin, listing, approve, *rest = use.splitlines()
    assert setup.startswith("pip install ascend-guard\n")
    assert begin == "python agent.py &"
    script = [
        "set -eu",
        setup.partition("\n")[2],
        "python agent.py > said.txt 2> waited.txt & AGENT=$!",
        "trap 'kill $AGENT 2> /dev/null || true' EXIT",
        "until ascend-guard approvals list 2> /dev/null | grep -q refund; do sleep 0.1; done",
        listing,
        approve.replace("approve 2", "approve 2 --yes"),  # at a terminal it asks
        "wait $AGENT",
        *rest,
        "if python agent.py 2> stopped.txt; then exit 9; fi",
    ]
    ran = subprocess.run(
        ["sh", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "said.txt").read_text() == "refunded 40 for A-17\nrefunded 900 for A-18\n"
    (waited,) = (tmp_path / "waited.txt").read_text().splitlines()
    assert waited.startswith("Waiting for a person: refund by billing ")
    assert "ascend-guard approvals show 2 (database " in waited
    stopped = (tmp_path / "stopped.txt").read_text()
    assert "KillSwitchError" in stopped
    assert "looks wrong" in stopped
    assert "none edited, removed, reordered or cut" in ran.stdout
