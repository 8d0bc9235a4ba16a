"""One call of a LangChain tool that ``govern_tool`` governs. Usage: DURABILITY FOLDER, or: http URL KEY."""

from __future__ import annotations

import sys
from time import monotonic, sleep

from ascend_guard_langchain import govern_tool
from serving import serve
from text_tool import Refund, caller
from tools import control_plane

from ascend_guard.client.guard.control_plane import RemoteControlPlane

how, place, *key = sys.argv[1:]
if how == "http":
    remote = RemoteControlPlane(key[0], place, agent_id="bench")
    governed = caller(govern_tool(Refund(), control_plane=remote))
    governed(-1)
    patience = monotonic() + 10
    while not remote._feed.live and monotonic() < patience:
        sleep(0.01)

    def call(number: int) -> None:
        assert remote._feed.live, "the stream is not live"
        governed(number)

    serve(call)
    remote.close()
else:
    plane = control_plane(place, how)
    serve(caller(govern_tool(Refund(), control_plane=plane)))
    plane.close()
