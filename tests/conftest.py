"""Profiles: ``quick`` for every day, ``ci`` for each submission, ``full`` for the long schedules."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support import PROFILE
from world import Keyboard, World

import ascend_guard.config
from ascend_guard import EmbeddedControlPlane

collect_ignore = ["agent_frameworks"]
"""They run in an environment of their own: ``frameworks/test_agent_frameworks_environment.py`` starts them there."""

_COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("quick", max_examples=60, **_COMMON)
# A submission must not fail for an example that it did not bring in: ci always draws the same ones. The other profiles draw
# anew in each run, and what they find is kept as an example of the test.
settings.register_profile("ci", max_examples=150, derandomize=True, **_COMMON)
settings.register_profile("full", max_examples=3000, **_COMMON)
settings.load_profile(PROFILE)

# Shells start background jobs with SIGINT ignored, and a process that starts so passes this on to all it starts. Tests
# send SIGINT to themselves and to their children, so it means here what it means in a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the environment's configuration or another test's."""
    for name in list(os.environ):
        if name.startswith("ASCEND_") and name != "ASCEND_TEST_PROFILE":
            monkeypatch.delenv(name)
    monkeypatch.setattr(ascend_guard.config, "_default", None)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    """An embedded control plane with a small policy, which is also the configured default."""
    world = World(tmp_path)
    yield world.plane
    world.close()


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sit down at a terminal and answer what is asked: ``types("y")``."""

    def sit(*answers: str) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setattr("sys.stdin", Keyboard(answers))

    return sit


def pytest_collection_finish() -> None:
    """Keep what collecting has loaded out of every collection of garbage: dozens of tests collect, and it takes a second."""
    gc.collect()
    gc.freeze()
