"""A server that records how long its event loop was blocked, for ``benchmarks.abuse``."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from pathlib import Path

from ascend_guard.config import Settings as Config
from ascend_guard.engine.policy import load_policy
from ascend_guard.server.app import Server
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.serve import serve

SWITCH_INTERVAL = 0.0005
"""The value of ``ascend-guard serve``."""


def main(policy: str, database: str, said: str) -> None:
    """Serve until asked to stop, then write the record to the file ``said``."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    config = Config(policy=Path(policy), database_url=database, durability="process")
    server = Server(config.store(), load_policy(Path(policy)), ServerSettings())
    lags: list[float] = []

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before - 0.005)

    beating: list[asyncio.Task[None]] = []

    def ready(url: str) -> None:
        beating.append(asyncio.get_running_loop().create_task(beat()))
        print(json.dumps({"url": url}), flush=True)

    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it ends
    serve(server, "127.0.0.1", 0, ready)
    Path(said).write_text(json.dumps(lags))


if __name__ == "__main__":
    main(*sys.argv[1:])
