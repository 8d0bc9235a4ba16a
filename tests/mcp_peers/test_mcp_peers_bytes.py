"""Published servers say to a client behind the proxy, byte for byte, what they say to one without."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mcp_peers import PEERS, Peer, make_world, proxied, surroundings
from peer_lines import Lines, Step
from peer_scripts import masked, script
from peer_web import Exchange, Web, everything_on, free_port, listening_before, messages

Said = list[bytes]


def _over_stdio(peer: Peer, modern: bool, folder: Path, *, proxy: bool) -> Said:
    world = make_world(peer, folder / "world")
    command = peer.command(world)
    lines = Lines(proxied(folder, peer.name, behind=command) if proxy else command, surroundings(), folder)
    said = lines.play(script(peer.name, world, modern=modern))
    status = lines.close(kill=not proxy)
    assert not proxy or status == 0, lines.errors
    return said


def test_over_stdio(name: str, modern: bool, tmp_path: Path) -> None:
    """The same lines in the same order, for everything the server offers and some that it does not."""
    peer = PEERS[name]

    def play(proxy: bool) -> Said:
        # Answers show where the world is, so both find theirs at the same path; without one they need not take turns.
        folder = tmp_path if peer.world else tmp_path / str(proxy)
        folder.mkdir(exist_ok=True)
        return _over_stdio(peer, modern, folder, proxy=proxy)

    with ThreadPoolExecutor(1 if peer.world else 2) as pool:
        without, behind = pool.map(play, (False, True))
    assert masked(behind) == masked(without)
    _everything_was_asked(script(name, tmp_path / "world", modern=modern), without)


def _everything_was_asked(steps: list[Step], said: Said) -> None:
    """Each tool it lists has been called, and has answered other than by an error."""
    answers = [message for message in map(json.loads, said) if "method" not in message]
    (listed, *_) = (answer["result"]["tools"] for answer in answers if "tools" in answer.get("result", {}))
    asked = [step for step in steps if step.kind in ("request", "begin")]
    by_id = {answer["id"]: answer for answer in answers}
    worked = {
        (step.params or {})["name"]
        for number, step in enumerate(asked, 1)
        if step.method == "tools/call" and _worked(by_id.get(number, {}))
    }
    assert {tool["name"] for tool in listed} <= worked


def _worked(answer: dict[str, Any]) -> bool:
    return "result" in answer and not answer["result"].get("isError")


# --- over HTTP --------------------------------------------------------------------------------------------------


class Played(NamedTuple):
    """What server-everything's script was answered over HTTP.

    Attributes:
        without: by the server itself.
        listening: by the proxy, as an HTTP server.
        lines: by the proxy, on standard input and output.
    """

    without: list[Exchange]
    listening: list[Exchange]
    lines: Said


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """All three at once, each with a server of its own."""

    def without() -> list[Exchange]:
        folder = tmp_path_factory.mktemp("without")
        with everything_on(free_port(), folder) as url:
            return _exchanges(url, folder)

    def listening() -> list[Exchange]:
        folder = tmp_path_factory.mktemp("listening")
        with everything_on(free_port(), folder) as url, listening_before(url, folder) as ours:
            return _exchanges(ours, folder)

    def on_lines() -> Said:
        folder = tmp_path_factory.mktemp("lines")
        with everything_on(free_port(), folder) as url:
            command = proxied(folder, "everything", "--url", url, behind=[])
            lines = Lines(command, surroundings(), folder)
            said = lines.play(script("everything", folder))
            assert lines.close() == 0, lines.errors
            return said

    with ThreadPoolExecutor(3) as pool:
        begun = [pool.submit(work) for work in (without, listening, on_lines)]
        return Played(*(each.result() for each in begun))  # type: ignore[arg-type]


def _exchanges(url: str, folder: Path) -> list[Exchange]:
    web = Web(url)
    web.play(script("everything", folder))
    return web.close()


class TestOverHttp:
    """server-everything as an HTTP server."""

    pytestmark = pytest.mark.timeout(300)  # the first run makes the environments

    def test_listening(self, played: Played) -> None:
        """The same statuses, headers and bodies, streams of events included."""
        assert list(map(_masked, played.listening)) == list(map(_masked, played.without))
        assert {exchange.status for exchange in played.without} == {200, 202, 400}

    def test_on_standard_input_and_output(self, played: Played) -> None:
        """A client on standard input and output reads the same messages, out of several streams as they come."""
        without = masked(messages(played.without))
        assert Counter(masked(played.lines)) == Counter(
            _named(line) for line in without if not _too_early(line)
        )


def _masked(exchange: Exchange) -> Exchange:
    return exchange._replace(body=masked([exchange.body])[0])


def _named(line: bytes) -> bytes:
    """The one error that comes with a status and names no request. On standard output it has to name it."""
    return line.replace(b'"id":null', b'"id":1')


def _too_early(line: bytes) -> bool:
    """Said before a client can have opened the stream for it: the official ones open it when the proxy does."""
    return b'"notifications/tools/list_changed"' in line
