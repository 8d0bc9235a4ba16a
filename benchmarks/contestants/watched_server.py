"""A server that keeps note of how long its event loop was held, for ``benchmarks.abuse``."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

from ascend_guard.config import ServerSettings as Config
from ascend_guard.engine.policy import load_policy
from ascend_guard.server.app import Server
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.serve import serve

SWITCH_INTERVAL = 0.0005
"""As ``ascend-guard serve`` has it."""

App = Callable[[Any, Any, Any], Awaitable[None]]


class _Steps:
    """Runs a coroutine and notes the processor time of each of its steps on the loop's thread."""

    def __init__(self, coroutine: Any, note: Callable[[float], None]) -> None:
        self._coroutine = coroutine
        self._note = note

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                waiting = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            finally:
                self._note(time.thread_time() - began)
            error = None
            try:
                yield waiting
            except BaseException as raised:  # cancelled: the coroutine is told
                error = raised


def main(policy: str, database: str, said: str) -> None:
    """Serve until asked to end, then write what was noted to the file ``said``."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    config = Config(policy=Path(policy), database_url=database, durability="process")
    server = Server(config.store(), load_policy(Path(policy)), ServerSettings())
    steps: list[float] = []
    lags: list[float] = []
    app = server.app

    async def timed(scope: Any, receive: Any, send: Any) -> None:
        await _Steps(app(scope, receive, send), steps.append)

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before - 0.005)

    beating: list[asyncio.Task[None]] = []

    def ready(url: str) -> None:
        beating.append(asyncio.get_running_loop().create_task(beat()))
        print(json.dumps({"url": url}), flush=True)

    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again at its end
    server.app = timed  # type: ignore[method-assign]  # to watch it is what this is for
    serve(server, "127.0.0.1", 0, ready)
    Path(said).write_text(json.dumps({"steps": steps, "lags": lags}))


if __name__ == "__main__":
    main(*sys.argv[1:])
