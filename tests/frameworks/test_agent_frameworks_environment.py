"""openai-agents and pydantic-ai want packages of their own: their tests run in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).parents[1] / "published"
HERE = Path(__file__).parents[1] / "agent_frameworks"


@pytest.mark.timeout(900)  # the first run makes the environment
@pytest.mark.parametrize("file", ["framework_plain.py", "framework_options.py"])
def test_agent_frameworks(file: str) -> None:
    """Scripted models call governed tools, sync and async, and learn what was decided."""
    sys.path.insert(0, str(PUBLISHED))
    try:
        from published_environments import published
    finally:
        sys.path.remove(str(PUBLISHED))
    done = subprocess.run(
        [
            *(str(published("agent-frameworks")), "-m", "pytest", "-q", "--tb=short"),
            *("-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), "--confcutdir", str(HERE)),
            *("-p", "no:cacheprovider", str(HERE / file)),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=HERE.parents[1],
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
