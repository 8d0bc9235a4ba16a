"""mcp 1.x and fastmcp 3 do not go together with the development environment's: their tests run in one of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).parents[1] / "published"
OLD = Path(__file__).parents[1] / "mcp_old"


@pytest.mark.timeout(900)  # the first run makes the environment
def test_the_older_libraries() -> None:
    """The same matrix and the same promises hold with them."""
    sys.path.insert(0, str(PUBLISHED))
    try:
        from published_environments import published
    finally:
        sys.path.remove(str(PUBLISHED))
    done = subprocess.run(
        [
            *(str(published("mcp-1")), "-m", "pytest", "-q", "--tb=short", "-c", str(OLD / "pytest.ini")),
            *("--rootdir", str(OLD), "--confcutdir", str(OLD), "-p", "no:cacheprovider", str(OLD)),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=OLD.parents[1],
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
