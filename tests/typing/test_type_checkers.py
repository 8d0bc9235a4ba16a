"""mypy and pyright know every governed function by its own signature, and find the mistakes people make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SAMPLE = HERE / "declared_types.py"
CACHE = ROOT / ".mypy_cache" / "declared_types"  # of its own: the options differ from the project's
WRONG = {
    number
    for number, line in enumerate(SAMPLE.read_text().splitlines(), 1)
    if re.search(r"  # wrong: .+$", line)
}


def explained(found: Iterable[tuple[int, str]]) -> tuple[list[str], list[str]]:
    """Errors on lines that are right, and wrong lines without an error, to be read by a person."""
    lines = SAMPLE.read_text().splitlines()
    by_line = dict(found)
    return (
        [f"{line}: {lines[line - 1].strip()}: {by_line[line]}" for line in sorted(by_line.keys() - WRONG)],
        [f"{line}: {lines[line - 1].strip()}" for line in sorted(WRONG - by_line.keys())],
    )


def test_the_sample_has_mistakes_in_it() -> None:
    """The marks are found: without them the other tests would ask for nothing."""
    assert len(WRONG) > 40


def test_mypy_strict(tmp_path: Path) -> None:
    """``mypy --strict`` reports every line marked wrong and no other."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\n[mypy-cel_expr_python.*,cvss.*]\nignore_missing_imports = True\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--output=json"),
            *(f"--config-file={config}", f"--cache-dir={CACHE}", str(SAMPLE)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    reported: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [(entry["line"], entry["message"]) for entry in reported if entry["severity"] == "error"]
    assert explained(errors) == ([], [])


def test_pyright_strict(tmp_path: Path) -> None:
    """So does pyright in its strictest mode."""
    copied = tmp_path / SAMPLE.name  # pyright takes no paths outside the configuration's folder
    copied.write_text(SAMPLE.read_text())
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [copied.name],
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
    reported: list[dict[str, Any]] = json.loads(done.stdout)["generalDiagnostics"]
    errors = [
        (entry["range"]["start"]["line"] + 1, entry["message"])
        for entry in reported
        if entry["severity"] == "error"
    ]
    assert explained(errors) == ([], [])
