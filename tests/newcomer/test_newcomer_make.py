"""``make`` with a Python that will not do says so, and makes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("3.10", "PYTHON=3.10 is not a Python that can be run. Name one: make PYTHON=python3.12"),
        (
            "./old",
            "ascend-guard needs Python 3.11 or newer; Python 3.10.13 is ./old. Try: make PYTHON=python3.12",
        ),
    ],
)
def test_a_python_that_will_not_do(target: str, python: str, says: str, tmp_path: Path) -> None:
    """A version instead of a program, and a program that is too old: one line that says what to write."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements-dev.lock"):
        (tmp_path / name).touch()
    old = tmp_path / "old"
    old.write_text(
        '#!/bin/sh\ncase "$*" in --version) echo Python 3.10.13;; *version_info*) exit 1;; "-c ") ;; *) exit 9;; esac\n'
    )
    old.chmod(0o755)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout.startswith(says)
    assert len(done.stdout.splitlines()) == 1
    assert not (tmp_path / ".venv").exists()
