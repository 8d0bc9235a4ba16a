"""Prints the test tools of the dev extra with their locked versions: for a cell of the matrix with other dependencies.

What the package itself needs, and the frameworks it governs, are left out: those are what such a cell varies.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = re.compile(r"pytest|coverage|hypothesis|attrs|pixeltable|moto|pyte|schemathesis|hatchling|editables|uv\b")

extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
locked = dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE))
for requirement in extras["dev"]:
    if TOOLS.match(requirement):
        name, more = re.match(r"([\w.-]+)(\[.*?\])?", requirement).groups(default="")
        print(f"{name}{more}=={locked[name.lower()]}")
