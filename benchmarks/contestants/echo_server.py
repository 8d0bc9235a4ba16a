"""A bare Starlette route under the same uvicorn settings as ``ascend-guard serve``: decodes a submission, sends it back."""

from __future__ import annotations

import json
import socket

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ascend_guard.api.actions import SubmitBody

decode = msgspec.json.Decoder(SubmitBody).decode
encode = msgspec.json.Encoder().encode


async def echo(request: Request) -> Response:
    return Response(encode(decode(await request.body())), media_type="application/json")


with socket.create_server(("127.0.0.1", 0)) as listening:
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(
        Starlette(routes=[Route("/echo", echo, methods=["POST"])]),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=64 << 10,
        lifespan="on",
    )
    uvicorn.Server(config).run([listening])
