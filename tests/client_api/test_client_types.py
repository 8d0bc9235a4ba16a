"""mypy and pyright know every method of both clients by its own signature."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SAMPLE = HERE / "client_types.py"
LINES = SAMPLE.read_text().splitlines()
WRONG = {number for number, line in enumerate(LINES, 1) if re.search(r"  # wrong: .+$", line)}


def marked(found: dict[int, str]) -> list[str]:
    """Where a checker and the marks disagree, to be read by a person."""
    return [f"{n}: {LINES[n - 1].strip()}: {found.get(n, 'no error')}" for n in sorted(found.keys() ^ WRONG)]


def test_mypy_strict(tmp_path: Path) -> None:
    """``mypy --strict`` reports every line marked wrong and no other."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--output=json"),
            *(f"--config-file={config}", f"--cache-dir={ROOT / '.mypy_cache' / 'client_types'}", str(SAMPLE)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    reported = [json.loads(line) for line in done.stdout.splitlines()]
    assert marked({e["line"]: e["message"] for e in reported if e["severity"] == "error"}) == []


def test_pyright_strict(tmp_path: Path) -> None:
    """So does pyright in its strictest mode."""
    (tmp_path / SAMPLE.name).write_text(SAMPLE.read_text())
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [SAMPLE.name],
                "extraPaths": [str(ROOT)],
                "pythonVersion": "3.11",
                "typeCheckingMode": "strict",
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    reported = json.loads(done.stdout)["generalDiagnostics"]
    errors = {e["range"]["start"]["line"] + 1: e["message"] for e in reported if e["severity"] == "error"}
    assert marked(errors) == []
