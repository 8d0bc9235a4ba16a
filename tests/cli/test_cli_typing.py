"""What is typed: help that says what to write, durations, and completion in the shells there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli_usage import COMMANDS

from ascend_guard.durations import duration

COMMAND = (sys.executable, "-c", "import sys; from ascend_guard.cli import main; sys.exit(main())")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@pytest.mark.parametrize("path", [(), *COMMANDS, ("mcp-proxy",)], ids=" ".join)
def test_help_speaks_no_types(shop: Any, path: tuple[str, ...]) -> None:
    """No ``<bool>`` nor ``<int range>``: a word for what to write, and nothing where nothing is written."""
    answer = shop.run(*path, "--help") if path else shop.run("--help")
    assert answer.code == 0
    assert not re.search(r"<[a-z ]+>|\b(BOOLEAN|INTEGER|FLOAT|PATH)\b(?!\])", answer.out)


@pytest.mark.parametrize("words", ["token --help", "approvals watch --help", "mcp-proxy --help"])
def test_help_says_how_durations_are_written(shop: Any, words: str) -> None:
    """By an example."""
    assert re.search(r"DURATION.*such as\s", " ".join(shop.run(words).out.split()))


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(list(SECONDS))), min_size=1, max_size=5))
def test_durations_are_sums(parts: list[tuple[int, str]]) -> None:
    """From large to small; anything else is a slip."""
    sizes = [SECONDS[unit] for _, unit in parts]
    text = "".join(f"{number}{unit}" for number, unit in parts)
    fits = all(larger > smaller for larger, smaller in pairwise(sizes))
    seconds = duration(text)
    assert seconds == (pytest.approx(sum(n * SECONDS[unit] for n, unit in parts)) if fits else None)
    if fits:
        assert duration(" ".join(f"{number} {unit}" for number, unit in parts).upper()) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        ("1.5 hours", 5400),
        ("2 days", 172_800),
    ],
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    """Those of the help, and words."""
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "90",
        "m",
        "-5m",
        "5x",
        "1h 2",
        "1h1h",
        "1m1h",
        "inf",
        "nan",
        "1e3s",
        "٣s",
        "1,5h",
        "5m\0",
        "1h-5m",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    """Neither a number alone, nor a sign, nor an order that people do not write."""
    assert duration(text) is None


@pytest.mark.parametrize("given_", ["soon", "12", "31d", "0s", "-1h"])
def test_an_error_says_what_is_accepted(shop: Any, given_: str) -> None:
    """Examples, or the limits."""
    answer = shop.run("token", "--user", "ann@example.com", "--for", given_)
    assert answer.code == 2
    assert re.search("90s, 15m, 2h, 1d|to 30 d|--help", answer.err)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes(shell: str) -> None:
    """Commands, and options, in the shells that are asked for; the script for each can be had."""

    def completed(line: str) -> str:
        asked = {
            "_ASCEND_GUARD_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        done = subprocess.run(
            COMMAND, env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    assert "kill-switch" in completed("ascend-guard kil")
    assert "status" in completed("ascend-guard kill-switch st")
    assert "--database-url" in completed("ascend-guard approvals list --data")
    shown = subprocess.run(
        [*COMMAND, "--show-completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert shown.returncode == 0, shown.stderr
    assert "_ASCEND_GUARD_COMPLETE" in shown.stdout


def test_the_demo_for_programs() -> None:
    """``demo --json``, or ``--json demo``: one value with every scene and every claim that was looked up."""
    for words in (["demo", "--json"], ["--json", "demo"]):
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert told["ok"] is True
        assert told["error"] is None
        proved = [line for scene in told["scenes"] for line in scene["lines"] if line["proved"]]
        assert len(proved) == told["proofs"] > 5
        assert len(told["scenes"]) == 7
        assert all(line["text"] for scene in told["scenes"] for line in scene["lines"])
