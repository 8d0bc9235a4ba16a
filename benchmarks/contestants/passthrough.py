"""Starts a server and copies lines both ways without reading them. Usage: COMMAND ARGUMENT..."""

from __future__ import annotations

import asyncio
import sys


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while line := await source.readline():
        target.write(line)
        await target.drain()
    target.close()


async def main() -> None:
    loop, pipe = asyncio.get_running_loop(), asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*sys.argv[1:], stdin=pipe, stdout=pipe)
    assert server.stdin is not None
    assert server.stdout is not None
    source = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    target = asyncio.StreamWriter(transport, protocol, None, loop)
    await asyncio.gather(copy(source, server.stdin), copy(server.stdout, target))
    await server.wait()


asyncio.run(main())
