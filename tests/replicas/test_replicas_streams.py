"""Streams carry their own organization's events only, on both databases and on every replica."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from postgres_server import shared_server
from recorded import every_record
from replica_world import PATIENCE, World, pair, until
from serving import Serving, serving

from ascend_guard import EmbeddedControlPlane
from ascend_guard.engine import approve as approving
from ascend_guard.engine.approvers import Approver
from ascend_guard.engine.kill import pull, release
from ascend_guard.model import AgentAction
from ascend_guard.server.change_feed import ChangeFeed, Listener
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.stream import MOST_MISSED
from ascend_guard.store.port import ActionRow, Store, Transaction
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.store.sqlite.switch_file import SwitchFile
from ascend_guard.store.sqlite.switch_records import Entry

SECRET = b"s" * 32
AGENTS = ("a", "b")
_numbers = itertools.count()
_EVENT = re.compile(rb"event: (\w+)\n(id: \d+\n)?data: (.*)\n\n")


@pytest.fixture(params=["sqlite", "postgres"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Store]]:
    """Two stores on one database, as two replicas have them."""
    with ExitStack() as stack:
        stores: list[Any]
        if request.param == "sqlite":
            stores = [SQLiteStore(tmp_path / "a.db", durability="process") for _ in range(2)]
        else:
            url = stack.enter_context(shared_server().database())
            stores = [PostgresStore(url, secret=SECRET) for _ in range(2)]
        for store in stores:
            stack.callback(store.close)
        yield stores


def waiting(tx: Transaction, organization: str, agent_id: str) -> ActionRow:
    """An action that waits for a person."""
    action_id = tx.next_action(organization)
    tx.record(
        "submitted", organization=organization, actor=agent_id, action_id=action_id, decision="pending",
        action=AgentAction(agent_id, agent_id, "refund", "r", "shop"), risk={"score": 1.0, "level": "low"},
        reason="why", digest="00",
    )  # fmt: skip
    row = tx.action(organization, action_id)
    assert row is not None
    return row


def done(tx: Transaction, what: str, organization: str, agent_id: str) -> None:
    """Make one event happen."""
    if what == "decision":
        approving.deny(tx, waiting(tx, organization, agent_id), Approver("ann"), None)
    elif what == "submission":
        waiting(tx, organization, agent_id)
    else:
        agent = None if what.endswith("all") else agent_id
        if (agent or "") in tx.kill_switches(organization):
            release(tx, organization, agent, "go on", "ann")
        else:
            pull(tx, organization, agent, "stop", "ann")


EVENTS = st.tuples(
    st.sampled_from(["decision", "submission", "kill one", "kill all"]),
    st.sampled_from([0, 1]),
    st.sampled_from(AGENTS),
    st.sampled_from([0, 1]),
)


def owners(store: Store, organizations: list[str]) -> dict[tuple[str, int], tuple[str, str | None]]:
    """Of each record of some organizations, by whose it is and its number: what happened, and which agent it names."""
    found = {}
    for name in organizations:
        for row in store.read(lambda reader, name=name: every_record(reader, name)):
            action = row.action_id and store.read(
                lambda reader, name=name, row=row: reader.action(name, row.action_id or 0)
            )
            found[name, row.seq] = (
                row.event,
                action.agent_id if action else json.loads(row.body).get("agent_id"),
            )
    return found


async def heard(
    stores: list[Store], happenings: list[Any], organizations: list[str]
) -> dict[Listener, bytes]:
    """What listeners of both organizations are told, on both replicas, until something of their own ends it."""
    news = [ChangeFeed(store) for store in stores]
    tasks = [asyncio.create_task(one.run()) for one in news]
    try:
        while not all(one.fresh for one in news):
            await asyncio.sleep(0.01)
        listeners = {
            Listener(organization, agent): one
            for one in news
            for organization in organizations
            for agent in (None, *AGENTS)
        }
        for listener, one in listeners.items():
            one.add(listener)
            listener.opened({})
        for what, whose, agent, replica in happenings:
            await stores[replica].awrite(
                lambda tx, what=what, whose=whose, agent=agent: done(tx, what, organizations[whose], agent)
            )
        for organization in organizations:
            await stores[0].awrite(
                lambda tx, whose=organization: pull(tx, whose, None, f"end of {whose}", "ann")
            )
        told = dict.fromkeys(listeners, b"")
        async with asyncio.timeout(PATIENCE):
            for listener in listeners:
                while f"end of {listener.organization}".encode() not in told[listener]:
                    told[listener] += await listener.queue.get() or b""
        await asyncio.sleep(0.05)  # anything more would be told by now
        for listener in listeners:
            while not listener.queue.empty():
                told[listener] += listener.queue.get_nowait() or b""
        return told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_listener_is_told_its_own_and_nothing_else(replicas: list[Store]) -> None:
    """Every message is of a record of the listener's organization and agent, each such decision comes, others bring none."""
    seen: Counter[str] = Counter()

    @given(happenings=st.lists(EVENTS, min_size=1, max_size=8))
    def check(happenings: list[Any]) -> None:
        organizations = [f"org-{next(_numbers)}", f"org-{next(_numbers)}"]
        told = asyncio.run(heard(replicas, happenings, organizations))
        records = owners(replicas[0], organizations)
        for listener, text in told.items():
            messages = _EVENT.findall(text)
            assert b"".join(b"event: %b\n%bdata: %b\n\n" % one for one in messages) == text
            mine = {
                seq: event
                for (organization, seq), (event, agent) in records.items()
                if organization == listener.organization and listener.hears(agent)
            }
            decisions = {seq for seq, event in mine.items() if event == "denied"}
            turns = {seq for seq, event in mine.items() if event.startswith("kill_switch.")}
            assert {int(number[4:]) for kind, number, _ in messages if kind == b"decision"} == decisions
            # What the switch file said before or after its record has no number; only one that turned brings it.
            assert {
                int(number[4:]) for kind, number, _ in messages if kind == b"kill_switch" and number
            } <= turns
            assert turns or not any(kind == b"kill_switch" for kind, _, _ in messages)
            for kind, _, data in messages:
                if kind == b"kill_switch":
                    on = json.loads(data)["on"]
                    assert all(listener.hears(state.get("agent_id")) for state in on)
            seen["decisions"] += len(decisions)
            seen["turns of others"] += sum(
                event.startswith("kill_switch.") for event, _ in records.values()
            ) - len(turns)

    check()
    assert seen["decisions"] > 50
    assert seen["turns of others"] > 50


def test_a_release_whose_record_is_seen_before_the_switch_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record comes first, and then the file: a listener that was told "on" in between is told "off" as well."""
    append = SwitchFile.append

    def late(file: SwitchFile, *entries: Entry) -> None:
        if any(entry.kind == "off" for entry in entries):
            time.sleep(0.2)  # a slow disk
        append(file, *entries)

    monkeypatch.setattr(SwitchFile, "append", late)
    with serving(tmp_path / "a.db", settings=ServerSettings(heartbeat=0.1)) as server:
        key = server.key()
        for agent in (None, "my-agent"):
            EmbeddedControlPlane(server.store).kill(reason="fire", by="ann", agent_id=agent)
            with closing(_listening(server, key)) as stream:
                lines = stream.iter_lines(decode_unicode=True)
                assert "fire" in next(line for line in lines if line.startswith("data: "))
                EmbeddedControlPlane(server.store).release(reason="out", by="ann", agent_id=agent)
                told = ["fire"]
                for line in lines:
                    told += [line] if line.startswith("data: ") else []
                    if told[-1] == 'data: {"on":[]}':
                        break
                assert len(told) <= 4  # as it was at the start, when each record came, and as it is


def _listening(server: Serving, key: str) -> requests.Response:
    answer = requests.get(
        server.url + "/api/v1/stream", headers={"X-API-Key": key}, stream=True, timeout=PATIENCE
    )
    assert answer.status_code == 200
    return answer


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_nothing_but_heartbeats_reaches_the_streams_of_others(database: str, tmp_path: Path) -> None:
    """Over HTTP, from another replica: after ``ready``, an idle organization's stream is heartbeats, byte for byte."""
    with ExitStack() as stack:
        if database == "sqlite":
            stores: list[Any] = [SQLiteStore(tmp_path / "a.db", durability="process") for _ in range(2)]
        else:
            url = stack.enter_context(shared_server().database())
            stores = [PostgresStore(url, secret=SECRET) for _ in range(2)]
        first, second = (
            stack.enter_context(serving(store, settings=ServerSettings(heartbeat=0.2))) for store in stores
        )
        own, idle = first.key(None, "admin", "busy"), second.key(None, "admin", "idle")
        quiet = stack.enter_context(_listening(second, idle))
        loud = stack.enter_context(_listening(second, own))
        spoken = loud.iter_lines(decode_unicode=True)
        for number in range(3):
            body = {"reason": f"stop number {number}"}
            if number == 1:
                body["agent_id"] = "a"
            assert first.ask("POST", "/api/billing/kill-switch/busy/trigger", own, body).ok
            assert first.ask("POST", "/api/billing/kill-switch/busy/release", own, body).ok
        asked = {"agent_id": "a", "agent_name": "A", "action_type": "refund", "resource": "r"}
        action = first.ask("POST", "/api/v1/actions/submit", own, asked).json()["action_id"]
        denied = first.ask("POST", f"/api/actions/{action}/deny", first.token(organization="busy"), {})
        assert denied.ok
        assert until(lambda: next(spoken).startswith("event: decision"), "the own organization is told")
        lines = quiet.iter_lines(decode_unicode=True)
        beats, others = 0, []
        while beats < 5:
            line = next(lines)
            beats += line == ": heartbeat"
            if line not in ("", ": heartbeat"):
                others.append(line)
        assert others[0] == "event: ready"
        assert len(others) == 3, others


def test_a_stream_that_comes_back_is_told_its_own(tmp_path: Path) -> None:
    """``Last-Event-ID`` brings the own decisions; how much others did in the meantime resets nothing."""
    with serving(tmp_path / "a.db", settings=ServerSettings(heartbeat=0.2)) as server:
        own, busy = server.key(None, "admin", "own"), server.key(None, "admin", "busy")
        asked = {"agent_id": "a", "agent_name": "A", "action_type": "refund", "resource": "r"}
        since = {
            name: server.store.read(lambda reader, name=name: reader.head(name).seq)
            for name in ("own", "busy")
        }
        for organization, key in (("own", own), ("busy", busy)):
            action = server.ask("POST", "/api/v1/actions/submit", key, asked).json()["action_id"]
            assert server.ask(
                "POST", f"/api/actions/{action}/deny", server.token(organization=organization), {}
            ).ok

        def noise(tx: Transaction) -> None:
            for _ in range(MOST_MISSED + 10):
                tx.record("NOISE", organization="busy", actor="x")

        server.store.write(noise)
        expectations = (("own", own, ["decision", "ready"]), ("busy", busy, ["ready", "reset"]))
        for organization, key, expected in expectations:
            headers = {"X-API-Key": key, "Last-Event-ID": str(since[organization])}
            with requests.get(
                server.url + "/api/v1/stream", headers=headers, stream=True, timeout=PATIENCE
            ) as stream:
                heard = []
                for line in stream.iter_lines(decode_unicode=True):
                    if line == ": heartbeat":
                        break
                    heard += re.findall("event: (.*)", line)
            assert heard == expected


def test_replicas_started_as_an_operator_does(world: World) -> None:
    """Two processes on one PostgreSQL: a stop made at one is on its own organization's stream at the other."""
    with pair(world) as (started, _), ExitStack() as stack:
        own = world.key()
        urls = [replica.url for replica in started]
        stream = stack.enter_context(
            requests.get(
                f"{urls[1]}/api/v1/stream", headers={"X-API-Key": own}, stream=True, timeout=PATIENCE
            )
        )
        lines = stream.iter_lines(decode_unicode=True)
        assert next(lines) == "event: ready"
        body = {"reason": "enough of this"}
        trigger = f"{urls[0]}/api/billing/kill-switch/local/trigger"
        assert requests.post(trigger, json=body, headers={"X-API-Key": own}, timeout=PATIENCE).ok
        assert until(lambda: "enough of this" in next(lines), "the stop is told")
