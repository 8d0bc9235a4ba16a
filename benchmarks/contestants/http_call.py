"""One governed no-op call over HTTP. Usage: URL KEY MODE; MODE is ``pushed`` or ``asked``.

``pushed``: the stream reports the kill switch. ``asked``: the client requests its state before every call.
"""

from __future__ import annotations

import sys

from plane import ARGUMENTS, wait_until_live
from serving import serve

from ascend_guard import governed
from ascend_guard.client.guard.control_plane import RemoteControlPlane

url, key, mode = sys.argv[1:]
plane = RemoteControlPlane(key, url, agent_id="bench", push=mode == "pushed")
ran = 0


@governed("refund", "payments", control_plane=plane)
def refund(order_id: str, amount: int, note: str) -> None:
    global ran
    ran += 1


def call(number: int) -> None:
    if plane._feed.live is not live:
        raise AssertionError("the stream is live when it must not be, or the other way round")
    before = ran
    refund(f"order-{number}", *ARGUMENTS)
    assert ran == before + 1


live = mode == "pushed"
refund("order-first", *ARGUMENTS)
if live:
    wait_until_live(plane)
serve(call)
plane.close()
