"""A call is recognised over HTTP as it is embedded: what waits for an approval is for one order of keys."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from serving import serving

from ascend_guard import ActionPendingError, RemoteControlPlane, governed

ASK = "version: 1\nrules:\n  - {name: ask, actions: [ask], effect: require_approval, timeout: 30m, reason: ask}\n"


def test_another_order_of_keys_asks_anew(tmp_path: Path) -> None:
    """The same call resumes its action; in another order, or with other content, it is another request (record 28)."""
    with (
        serving(tmp_path / "a.db", ASK) as server,
        closing(RemoteControlPlane(server.key(), server.url, agent_id="my-agent")) as plane,
    ):

        @governed("ask", "tool", control_plane=plane, on_pending="raise")
        def tool(plan: dict[str, object], **more: int) -> None:
            raise AssertionError

        seen = []
        for plan, more in (
            ({"b": 1, "a": {"d": 2, "c": 3}}, {"y": 1, "x": 2}),
            ({"b": 1, "a": {"d": 2, "c": 3}}, {"y": 1, "x": 2}),
            ({"a": {"c": 3, "d": 2}, "b": 1}, {"x": 2, "y": 1}),
            ({"b": 1, "a": {"d": 2, "c": 4}}, {"y": 1, "x": 2}),
        ):
            with pytest.raises(ActionPendingError) as caught:
                tool(plan, **more)
            seen.append(caught.value.action_id)
        assert seen[0] == seen[1]
        assert len(set(seen)) == 3
