"""The cost of governing one call over HTTP: against the published SDK on the same server, and against one bare POST."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from .environment import SDK, PeerEnvironment
from .report import Aim, Group, add_timing, race_group
from .rounds import Worker, race
from .servers import EchoServer, GuardServer

SDK_AIM = Aim(0.5)
POST_AIM = Aim(1.3)

_POST = "requests.Session().post to the bare echo route"
_ASKED = "kill switch asked, submit, outcome"
_PUSHED = "stream live: submit, outcome"
_VERSION = f"ascend-ai-sdk {SDK['ascend-ai-sdk']}"
_SDK = f"{_VERSION}: submit, outcome"


def http_call(folder: Path, seconds: float, environment: PeerEnvironment) -> Group:
    """One thread, one call after the other; the published SDK if it is installed."""
    group = race_group(
        "http_call",
        "One governed no-op call over HTTP",
        "The server's database has durability 'process' here: a sync of the disk would hide what clients cost. The "
        "published SDK makes no check before its submit; its kill-switch polling runs beside the calls.",
    )
    published = environment.holds(SDK)
    with ExitStack() as stack:
        guard = GuardServer(folder, "process")
        stack.callback(guard.close)
        echo = EchoServer()
        stack.callback(echo.close)
        contestants = {
            _POST: Worker("requests_post", f"{echo.url}/echo"),
            _PUSHED: Worker("http_call", guard.url, guard.key, "pushed"),
            _ASKED: Worker("http_call", guard.url, guard.key, "asked"),
        }
        if published:
            contestants[_SDK] = Worker("sdk_call", guard.url, guard.key, python=environment.python)
        timings = race(contestants, seconds)
    post, pushed, asked = timings[_POST], timings[_PUSHED], timings[_ASKED]
    add_timing(group, _POST, post, None)
    add_timing(group, f"{_PUSHED}; against that POST", pushed, post, POST_AIM)
    if not published:
        why = environment.missing.get(
            "ascend-ai-sdk", f"{_VERSION} is not installed; run without --quick once"
        )
        group.add(_ASKED, ["", "", "", "", "", "", why, ""], missing=why)
        return group
    sdk = timings[_SDK]
    add_timing(group, f"{_SDK}; against that POST", sdk, post)
    add_timing(group, f"{_ASKED}; against the SDK", asked, sdk, SDK_AIM)
    add_timing(group, f"{_PUSHED}; against the SDK", pushed, sdk)
    return group
