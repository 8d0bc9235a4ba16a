"""Environments that hold the published packages and nothing of ours, made on first use."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venvs"

SDK_VERSIONS = ("2.5.2", "2.7.1")

ENVIRONMENTS = {
    **{f"ascend-ai-sdk-{version}": (f"ascend-ai-sdk=={version}",) for version in SDK_VERSIONS},
    "ascend-langchain-2.0.1": ("ascend-langchain==2.0.1", "ascend-ai-sdk==2.7.1", "langchain-core>=1.2"),
}
"""What pip installs into each; their own requirements come along."""


class EnvironmentFailed(RuntimeError):
    """An environment could not be made; the message ends with what pip said."""


def published(name: str) -> Path:
    """Give the Python of an environment, making it when it is not there.

    A lock on a file beside it lets one process make it while the others wait. An environment that was not
    finished, or was made for other requirements, is made anew.

    Args:
        name: One of ``ENVIRONMENTS``.

    Raises:
        EnvironmentFailed: venv or pip failed.
    """
    wanted = "\n".join(ENVIRONMENTS[name])
    place = FOLDER / name
    ready = place / ".ready"
    python = place / "bin" / "python"
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and ready.exists() and ready.read_text() == wanted:
            return python
        shutil.rmtree(place, ignore_errors=True)
        _run(name, sys.executable, "-m", "venv", str(place))
        _run(
            name,
            *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *ENVIRONMENTS[name],
        )
        ready.write_text(wanted)
    return python


def _run(name: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise EnvironmentFailed(
            f"The environment {name} could not be made: {' '.join(command[1:])} ended with {done.returncode}.\n{said}"
        )


if __name__ == "__main__":
    for each in ENVIRONMENTS:
        print(published(each))
