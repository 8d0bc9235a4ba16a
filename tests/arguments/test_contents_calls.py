"""What was approved is what runs, whatever type it has: values that change while a person decides."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from argument_changes import NOTICED, Client, Plain, Slotted, corpus, nested

from ascend_guard import ActionPendingError, AuthorizationDeniedError, EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

ASK = "version: 1\nrules:\n  - {name: ask, actions: [ask], effect: require_approval, timeout: 30m, reason: ask}\n"


def test_a_changed_call_does_not_run(tmp_path: Path) -> None:
    """Every value of the corpus through the governed call: changed while a person decides, and then approved."""
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(ASK), agent_id="a")
    ran: list[Any] = []
    blocked = 0

    @governed("ask", "tool", control_plane=plane, timeout=60)
    def tool(value: Any) -> None:
        ran.append(value)

    def call(whole: Any) -> None:
        nonlocal blocked
        try:
            tool(whole)
        except AuthorizationDeniedError as error:
            blocked += "arguments changed" in str(error)

    values = corpus(NOTICED)
    try:
        for case, wraps in values:
            value = case.make()
            thread = threading.Thread(target=call, args=(nested(value, wraps),))
            thread.start()
            while not (waiting := plane.pending()):
                assert thread.is_alive()
                time.sleep(0.001)
            case.change(value)
            plane.approve(str(waiting[0].id), approver="p")
            thread.join()
            assert not ran, (case.name, wraps)
        assert blocked == len(values)
    finally:
        plane.close()


@pytest.mark.parametrize("change", [False, True], ids=["as it was", "changed"])
def test_a_client_among_the_arguments(tmp_path: Path, change: bool) -> None:
    """It may go on working while the call waits; what is passed beside it may not change."""
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(ASK), agent_id="a")
    ran: list[Any] = []

    @governed("ask", "tool", control_plane=plane, timeout=60)
    def tool(client: Client, order: Plain) -> None:
        ran.append(client)

    def decide() -> None:
        while not (waiting := plane.pending()):
            time.sleep(0.001)
        client.cache["b"] = 2
        client.pool.amount += 1
        if change:
            order.amount = 1000
        plane.approve(str(waiting[0].id), approver="p")

    client, order = Client(), Plain(1)
    thread = threading.Thread(target=decide)
    thread.start()
    try:
        if change:
            with pytest.raises(AuthorizationDeniedError, match="arguments changed"):
                tool(client, order)
            assert not ran
        else:
            tool(client, order)
            assert ran == [client]
        thread.join()
    finally:
        plane.close()


def test_an_instance_of_the_same_content_is_the_same_call(tmp_path: Path) -> None:
    """So a call with plain objects can be made again later; other content is another, and so is another order of keys."""
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(ASK), agent_id="a")

    @governed("ask", "tool", control_plane=plane, on_pending="raise")
    def tool(order: Plain) -> None:
        raise AssertionError

    def held(order: Plain) -> str | None:
        with pytest.raises(ActionPendingError) as caught:
            tool(order)
        return caught.value.action_id

    try:
        first = held(Plain({"b": 1, "a": 2}))
        assert held(Plain({"b": 1, "a": 2})) == first
        assert held(Plain({"a": 2, "b": 1})) != first  # decision record 28
        assert held(Plain({"a": 2, "b": 2})) != first
        assert held(Slotted({"b": 1, "a": 2})) != first  # type: ignore[arg-type]  # another class
    finally:
        plane.close()
