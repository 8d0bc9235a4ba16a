"""Says which Python is needed when an older one installs a checkout.

``requires-python`` alone does not: pip reads it after it has looked for the dependencies, and ends with the first that has
no release for this Python; with extras it tries other versions of the dependencies for minutes.
"""

from __future__ import annotations

import platform
import sys

from hatchling.metadata.plugin.interface import MetadataHookInterface
from packaging.specifiers import SpecifierSet


class RequirePython(MetadataHookInterface):
    """Ends the installation before dependencies are looked for."""

    def update(self, metadata: dict[str, object]) -> None:
        """Change nothing. Exits with a message, which pip shows, where this Python is too old."""
        wanted = str(metadata["requires-python"])
        if not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
            sys.exit(
                f"ascend-guard needs Python {wanted.lstrip('>=')} or newer; {sys.executable} is "
                f"{platform.python_version()}. Make the environment with a newer one, such as: python3.12 -m venv .venv"
            )
