"""Many processes, one key: whoever forks, and however many ask, one approval is one run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_workers import plane_of, refunded
from remote_world import ended, program
from serving import Serving, serving
from world import eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "a.db") as made:
        yield made


def _worker(name: str, *args: str) -> subprocess.Popen[str]:
    return program(f"import sys, remote_workers; remote_workers.{name}(*sys.argv[1:])", *args)


def _rows(server: Serving, status: str | None = None) -> list[Any]:
    return server.store.read(lambda reader: reader.actions("local", status=status, limit=100))


def test_a_family_waits_for_the_same_call(server: Serving) -> None:
    """Parent and workers wait for the same call, each for an action of its own; one approval makes one of them run."""
    family = _worker("family", server.url, server.key("my-agent"), "3")
    eventually(lambda: len(_rows(server, "pending")) == 4)
    actions = _rows(server, "pending")
    assert len({row.waiter for row in actions}) == 4
    assert server.approve(actions[0].id).ok
    eventually(lambda: len([row for row in _rows(server) if row.outcome == "completed"]) == 2)
    for row in actions[1:]:
        assert server.deny(row.id).ok
    lines = ended(family).splitlines()
    assert len({line for line in lines if line.startswith("runner")}) == 4
    ends = sorted(line for line in lines if not line.startswith("runner"))
    assert ends == ["AuthorizationDeniedError"] * 3 + ["ran"]


def test_processes_rush_for_one_approval(server: Serving) -> None:
    """Two processes with eight threads each make the same detached call after its approval: exactly one runs."""
    key = server.key("my-agent")
    plane = plane_of(server.url, key)
    assert refunded(plane, 900, "raise") == "ActionPendingError"
    assert server.approve(server.newest_pending()).ok
    workers = [_worker("rush", server.url, key, "900") for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    ends = [line for worker in workers for line in ended(worker).splitlines()]
    assert sorted(ends) == ["ActionPendingError"] * 15 + ["ran"]
    plane.close()


def test_a_childs_threads_use_it_first(server: Serving) -> None:
    """They get one feed, and each its run."""
    out = ended(_worker("first_use_in_threads", server.url, server.key("my-agent")))
    assert out.split() == ["1", *["ran"] * 8]
    eventually(lambda: all(row.outcome == "completed" for row in _rows(server)))


def test_forked_with_locks_held(server: Serving) -> None:
    """A lock that somebody held in the parent is nobody's in the child."""
    out = ended(_worker("forks_while_it_waits", server.url, server.key("my-agent")))
    assert out.split() == ["ran", "ran"]


def test_a_process_that_was_killed(server: Serving) -> None:
    """Its permit is gone with it: the same call asks anew, and nobody says that it completed."""
    key = server.key("my-agent")
    victim = program(
        """
        import os, sys, remote_workers
        from ascend_guard import governed
        plane = remote_workers.plane_of(*sys.argv[1:])
        @governed("refund", "stripe", control_plane=plane)
        def refund(amount: int) -> None:
            os.kill(os.getpid(), 9)
        refund(5)
        """,
        server.url,
        key,
    )
    assert victim.wait(60) == -9
    victim.communicate()
    (row,) = _rows(server)
    assert row.claimed_at is not None
    assert row.outcome is None
    plane = plane_of(server.url, key)
    assert refunded(plane, 5) == "ran"
    plane.close()
    eventually(lambda: [row.outcome for row in _rows(server)] == ["completed", None])
