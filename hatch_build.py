"""Reports the required Python when an older one installs a checkout.

``requires-python`` alone does not do that: pip reads it after it has searched the dependencies, and fails with the
first one without a release for this Python; with extras it tries other versions of the dependencies for minutes.
"""

from __future__ import annotations

import platform
import sys

from hatchling.metadata.plugin.interface import MetadataHookInterface
from packaging.specifiers import SpecifierSet


class RequirePython(MetadataHookInterface):
    """Ends the installation before dependencies are searched."""

    def update(self, metadata: dict[str, object]) -> None:
        """Change nothing. Exits with a message, which pip shows, if this Python is too old."""
        wanted = str(metadata["requires-python"])
        if not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
            sys.exit(
                f"ascend-guard needs Python {wanted.lstrip('>=')} or newer; {sys.executable} is "
                f"{platform.python_version()}. Create the environment with a newer one, such as: python3.12 -m venv .venv"
            )
