"""The packages as their own sources show them."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ascend_guard"
INTEGRATIONS = sorted((ROOT / "integrations").glob("ascend_guard_*"))
OWN = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*OWN, *(path for folder in INTEGRATIONS for path in sorted(folder.rglob("*.py")))]


def name_of(path: Path) -> str:
    """The dotted name of a module, without the package: ``engine.policy.load``; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in OWN}


@cache
def tree_of(path: Path) -> ast.Module:
    """Its syntax tree."""
    return ast.parse(path.read_text("utf-8"), str(path))


def python(code: str, *arguments: str, executable: str = sys.executable, cwd: Path | None = None) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
