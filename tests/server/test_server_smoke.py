"""A governed call through a real server, as a reader should see it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from serving import serving

from ascend_guard import AuthorizationDeniedError, KillSwitchError, governed


def test_a_governed_call_over_http(tmp_path: Path) -> None:
    """Allowed at once, denied, held until a person has looked, stopped: all decided on the server."""
    with serving(tmp_path / "a.db") as server:
        plane = server.plane()
        ran = []

        @governed("refund", "stripe", control_plane=plane)
        def refund(amount: float) -> float:
            ran.append(amount)
            return amount

        @governed("orders_delete", "db", control_plane=plane)
        def delete(order: str) -> None:
            ran.append(order)

        assert refund(10.0) == 10.0
        with pytest.raises(AuthorizationDeniedError, match="Deletes are off"):
            delete("o-1")
        waiting = threading.Thread(target=refund, args=(900.0,))
        waiting.start()
        assert server.approve(server.newest_pending()).status_code == 200
        waiting.join(20)
        assert ran == [10.0, 900.0]
        stop = {"reason": "a fire drill"}
        assert server.ask(
            "POST", "/api/billing/kill-switch/local/trigger", server.key(None, "admin"), stop
        ).ok
        with pytest.raises(KillSwitchError, match="fire drill"):
            refund(1.0)
        assert ran == [10.0, 900.0]
        plane.close()
