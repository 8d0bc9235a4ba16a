"""The pytest plugin: one fixture, loaded lazily."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import ScriptedControlPlane


@pytest.fixture
def ascend_guard_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedControlPlane]:
    """A scripted control plane as the configured default, for one test."""
    from . import config
    from .testing import ScriptedControlPlane

    plane = ScriptedControlPlane()
    monkeypatch.setattr(config, "_default", plane)
    yield plane
