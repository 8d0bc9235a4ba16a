"""One call of a LangChain tool that ``govern_tool`` governs. Usage: DURABILITY FOLDER, or: http URL KEY."""

from __future__ import annotations

import sys

from ascend_guard_langchain import govern_tool
from plane import control_plane, wait_until_live
from serving import serve
from text_tool import Refund, caller

from ascend_guard.client.guard.control_plane import RemoteControlPlane

how, place, *key = sys.argv[1:]
if how == "http":
    remote = RemoteControlPlane(key[0], place, agent_id="bench")
    governed = caller(govern_tool(Refund(), control_plane=remote))
    governed(-1)
    wait_until_live(remote)

    def call(number: int) -> None:
        assert remote._feed.live, "the stream is not live"
        governed(number)

    serve(call)
    remote.close()
else:
    plane = control_plane(place, how)
    serve(caller(govern_tool(Refund(), control_plane=plane)))
    plane.close()
