"""Whatever happens to two replicas and their database under load, what was acknowledged stays, and nothing runs twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer
from replica_drill import EVENTS, drill
from replica_journal import told
from replica_truth import Line
from replica_world import until
from support import PROFILE

ROUNDS = {"quick": 1, "ci": 2, "full": 20}[PROFILE]


def test_what_was_acknowledged_survives_whatever_befalls(own_server: PostgresServer, tmp_path: Path) -> None:
    """Replicas are killed and ended, PostgreSQL and agents crash; the journals of all agree with the trail afterwards."""
    seed = random.SystemRandom().getrandbits(32)
    with drill(own_server, tmp_path, seed) as going:
        for _ in range(ROUNDS):
            events = list(EVENTS)
            going.chance.shuffle(events)
            for event in events:
                going.befall(event)
        counted = going.end()
        going.observed.append(f"checked: {counted}")
    for what in ("began", "acknowledged", "decided", "AuthorizationDeniedError", "trigger answered"):
        assert counted.get(what), (what, counted)


LIES: dict[str, tuple[str, Callable[[Line], dict[str, Any]]]] = {
    "a decision nobody took": ("decided", lambda line: {"verb": "deny", "status": "denied"}),
    "a decision in other words": ("decided", lambda line: {"comment": "not what was said"}),
    "a decision by somebody else": ("decided", lambda line: {"who": "mallory@example.com"}),
    "a second yes": ("decided", lambda line: {}),
    "a body that ran twice": ("began", lambda line: {}),
    "a body without a permit": ("began", lambda line: {"id": 10**9}),
    "a body of a call that was refused": ("returned", lambda line: {"what": "refused"}),
    "an action that is not there": ("acknowledged", lambda line: {"id": 10**9}),
    "another outcome": ("acknowledged", lambda line: {"path": f"/{line['id']}/fail"}),
}


def test_what_does_not_agree_is_found(own_server: PostgresServer, tmp_path: Path) -> None:
    """One line that says something else than what happened, in anybody's journal, does not go unnoticed."""
    with drill(own_server, tmp_path, seed=7) as going:
        going.linger()
        until(lambda: any(line["what"] == "decided" for line in going.lines()), "somebody decides")
        going.end()
        for name, (what, change) in LIES.items():
            path, line = next(
                (path, line)
                for path in going.journals()
                for line in reversed(told(path))
                if line["what"] == what and (what != "acknowledged" or line["path"].endswith("/complete"))
            )
            honest = path.read_bytes()
            path.write_bytes(honest + json.dumps({**line, **change(line)}).encode() + b"\n")
            try:
                going.check()
            except (AssertionError, ValueError, KeyError):
                path.write_bytes(honest)
            else:
                pytest.fail(f"nobody noticed {name}")
        assert going.check()["decided"]
