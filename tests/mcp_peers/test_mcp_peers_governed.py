"""What is decided about a published server's tools is what happens: to a repository, a database, a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal
from mcp_peers import PEERS
from peer_deeds import ALLOWED, DEEDS, DENIED, EDITED, HELD, LATER, Station

from ascend_guard.model import OutcomeStatus


@pytest.fixture(scope="module")
def station(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One server behind the proxy, for all of its tests."""
    with start_blocking_portal() as portal:
        one = Station(name, tmp_path_factory.mktemp(name), portal)
        yield one
        one.close()


def test_an_allowed_deed_is_done(station: Station) -> None:
    """It succeeds, it shows, and its outcome is on record."""
    assert not station.do(ALLOWED).failed
    assert station.left(ALLOWED)
    row = station.settled(station.deed.tool)
    assert (row.action_type, row.outcome) == (f"{station.name}.{station.deed.tool}", OutcomeStatus.COMPLETED)


def test_a_denied_deed_is_not_done(station: Station) -> None:
    """The client's model is told why."""
    said = station.do(DENIED)
    assert said.failed
    assert "Not that one." in said.text
    assert not station.left(DENIED)


def test_a_held_deed_is_done_once_approved(station: Station) -> None:
    """Not before; and one approval is valid for one run."""
    asked = station.ask(HELD)
    row = station.pending()
    assert not station.left(HELD)
    assert not asked.done()
    station.plane.approve(str(row.id), approver="ann")
    assert not asked.result(40).failed
    assert station.left(HELD)
    assert station.settled(station.deed.tool).outcome == OutcomeStatus.COMPLETED


def test_an_edited_deed_is_done_as_edited(station: Station) -> None:
    """And not as it was asked for."""
    asked = station.ask(f"{HELD}{HELD}" if station.name != "time" else HELD)
    row = station.pending()
    edited = station.deed.arguments(station.world, EDITED)[station.deed.marked]
    station.plane.approve(str(row.id), approver="ann", arguments={station.deed.marked: edited})
    assert not asked.result(40).failed
    assert station.left(EDITED)
    assert station.name == "time" or not station.left(f"{HELD}{HELD}")


def test_a_held_deed_that_a_person_denies_is_not_done(station: Station) -> None:
    """The person's words come back."""
    asked = station.ask(f"{HELD}-{LATER}")
    station.plane.deny(str(station.pending().id), approver="ann", comment="Too late.")
    said = asked.result(40)
    assert said.failed
    assert "Too late." in said.text
    assert not station.left(LATER)


def test_nothing_is_done_while_the_kill_switch_is_on(station: Station) -> None:
    """Neither what waits nor what is allowed; everything that is no tool call still passes; afterwards all is well."""
    waiting = station.ask(f"{HELD}--{LATER}")  # other words than those that were denied
    station.pending()
    station.plane.kill(reason="fire drill", by="ann")
    assert "fire drill" in waiting.result(40).text
    assert "fire drill" in station.do(LATER).text
    assert station.tools() > 1
    assert not station.left(LATER)
    station.plane.release(reason="over", by="ann")
    station.do(LATER)
    assert station.left(LATER)


def test_a_call_that_the_client_gives_up_is_on_record(station: Station) -> None:
    """The server is told, and nobody knows what it had done by then."""
    tool = "trigger-long-running-operation"
    asked = station.call(tool, duration=3, steps=1)
    station.begun(tool)
    asked.cancel()
    row = station.settled(tool)
    assert row.outcome == OutcomeStatus.UNKNOWN
    assert "cancelled" in (row.error or "")


test_a_call_that_the_client_gives_up_is_on_record.only = ("everything", "everything-over-http")  # type: ignore[attr-defined]


def test_every_server_is_here() -> None:
    """As many as are compared byte for byte."""
    assert set(DEEDS) == set(PEERS)
