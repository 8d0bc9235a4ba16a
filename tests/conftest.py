"""Profiles: ``quick`` for every day, ``ci`` for each submission, ``full`` for the long schedules."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support import POLICY, PROFILE

import ascend_guard.config
from ascend_guard import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

collect_ignore = ["agent_frameworks"]
"""They run in an environment of their own: ``frameworks/test_agent_frameworks_environment.py`` starts them there."""

_COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("quick", max_examples=60, **_COMMON)
settings.register_profile("ci", max_examples=300, **_COMMON)
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
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    control_plane = EmbeddedControlPlane(store, parse_policy(POLICY), agent_id="billing")
    ascend_guard.configure(control_plane=control_plane)
    yield control_plane
    control_plane.close()
