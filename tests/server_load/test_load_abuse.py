"""Fifty ordinary callers beside an abusive one of each kind: all of them are served, and the server stays what it is.

How long they wait is a measurement, which ``python -m benchmarks.abuse`` prints; here it goes into the test's report.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support import PROFILE

from ascend_guard.engine.audit import verify
from ascend_guard.store.sqlite.store import SQLiteStore
from benchmarks.abuse import World, measured
from benchmarks.contestants.http_callers import CALLERS, KINDS

SECONDS = {"quick": 4.0, "ci": 12.0, "full": 120.0}[PROFILE]
PEAK = 700
"""Mebibytes: bodies of 128, twenty unread pages on each of twenty connections, and the process itself."""


@pytest.mark.timeout(600)
def test_ordinary_callers_are_served(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """None of their requests fails, every abusive kind was at work, and memory and the audit trail stay within bounds."""
    world = World(tmp_path)
    alone, beside = measured(world, SECONDS, []), measured(world, SECONDS, list(KINDS))
    assert (alone.failed, beside.failed, beside.wrong) == ({}, {}, [])
    assert len(beside.took["submit"]) > CALLERS
    assert len(beside.took["kill_switch"]) > CALLERS / 5
    idle = [kind for kind in KINDS if not sum(beside.abusive[kind].values())]
    assert len(idle) <= (3 if PROFILE == "quick" else 0), beside.abusive
    assert beside.peak < PEAK
    for what in alone.took:
        record_property(f"{what} p99 ms, alone and beside", (1e3 * alone.p99(what), 1e3 * beside.p99(what)))
    with closing(SQLiteStore(tmp_path / "ascend.db")) as store:
        assert store.snapshot(lambda reader: verify(reader, store.secret)).ok
