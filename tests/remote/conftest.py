"""What the tests of the guard over HTTP share."""

from __future__ import annotations

import threading

import pytest
from remote_world import Threads


@pytest.fixture
def threads() -> Threads:
    """The guard's threads that were started since the test began; those of other tests are not its business."""
    before = set(threading.enumerate())

    def started(name: str = "ascend-guard") -> list[str]:
        alive = set(threading.enumerate()) - before
        return [thread.name for thread in alive if thread.name.startswith(name)]

    return started
