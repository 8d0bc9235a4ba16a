"""Temporary environments with the published peers, created at the first use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venvs" / "bench-peers"
LANGCHAIN_FOLDER = ROOT / ".venvs" / "bench-ascend-langchain"

PEERS = {
    "agent-governance-toolkit-core": "5.0.0",
    "agentbarrier": "1.1.0",
    "ctrlrun": "0.12.2",
    "agent-runtime-governance": "0.9.1",
}
REQUESTS = {"requests": "2.34.2"}
SDK = {"ascend-ai-sdk": "2.7.1"}
LANGCHAIN = {"langchain-core": "1.8.3", "ascend-ai-sdk": "2.7.1", "ascend-langchain": "2.0.1"}

_LIST = """
import importlib.metadata, json
print(json.dumps({each.name.lower(): each.version for each in importlib.metadata.distributions()}))
"""


class PeerEnvironment:
    """Installs packages one by one: a peer that cannot be installed does not affect the others."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.missing: dict[str, str] = {}

    def prepare(self, wanted: Iterable[tuple[str, str]], say: Callable[[str], None]) -> None:
        """Install these versions in the environment; ``missing`` has those that cannot be installed, with the reason."""
        if not self.python.exists():
            say("creating an environment for the peers (once)")
            subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        have = self._installed()
        for name, version in wanted:
            if have.get(name) == version:
                continue
            say(f"installing {name} {version} (once)")
            done = self._pip(f"{name}=={version}")
            if done.returncode:
                self.missing[name] = f"pip could not install {name} {version} (exit status {done.returncode})"

    def prepare_ourselves(self, say: Callable[[str], None]) -> None:
        """Install the project itself, to time its import and another package's in one environment."""
        if "ascend-guard" not in self._installed():
            say("installing ascend-guard beside the peers (once)")
            done = self._pip("--editable", str(ROOT))
            if done.returncode:
                self.missing["ascend-guard"] = (
                    f"pip could not install the project (exit status {done.returncode})"
                )

    def holds(self, wanted: dict[str, str]) -> bool:
        """Return whether these versions are already installed."""
        return self.python.exists() and wanted.items() <= self._installed().items()

    def _pip(self, *what: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
        return subprocess.run(command, capture_output=True, text=True)

    def _installed(self) -> dict[str, str]:
        listed = subprocess.run([str(self.python), "-c", _LIST], capture_output=True, text=True, check=True)
        have: dict[str, str] = json.loads(listed.stdout)
        return have
