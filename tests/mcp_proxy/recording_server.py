"""An MCP server in plain Python that writes down each line it gets. Run as a program: ``recording_server.py RECORD``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

RAW = (
    b'{ "result" : {"content":[{"type":"text","text":"na\\u00efve \\u2028 \xe2\x80\xa8 1"}],"n":1.50e0 },"id": %s ,'
    b'"jsonrpc":"2.0"}'
)
"""An answer nobody would write like that twice: only the very bytes look so."""

TOOLS = [
    {"name": name, "inputSchema": {"type": "object"}}
    for name in ("get_order", "refund", "drop_table", "slow", "crash", "fails", "asks")
]


def say(line: bytes) -> None:
    """Write one line."""
    os.write(1, line + b"\n")


def answer(identity: Any, **said: Any) -> None:
    """Answer one request."""
    say(json.dumps({"jsonrpc": "2.0", "id": identity, **said}).encode())


def text(words: str, **more: Any) -> dict[str, Any]:
    """A tool's result."""
    return {"content": [{"type": "text", "text": words}], **more}


def call(identity: Any, tool: str, arguments: dict[str, Any]) -> None:
    """Run one tool."""
    if tool == "get_order":
        say(RAW % json.dumps(identity).encode())
    elif tool == "crash":
        os._exit(3)
    elif tool == "fails":
        answer(identity, result=text("the till is closed", isError=True))
    elif tool == "asks":
        say(
            json.dumps(
                {"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage", "params": {}}
            ).encode()
        )
        answer(identity, result=text("asked"))
    elif tool == "nothing":
        answer(identity, error={"code": -32602, "message": "no such tool"})
    elif tool != "slow":
        answer(identity, result=text(json.dumps(arguments, sort_keys=True)))


def handle(message: Any) -> None:
    """One message."""
    if isinstance(message, list):
        for part in message:
            handle(part)
        return
    method, identity = message.get("method"), message.get("id")
    if method == "tools/call":
        params = message["params"]
        call(identity, params["name"], params.get("arguments", {}))
    elif method == "tools/list":
        answer(identity, result={"tools": TOOLS})
    elif method == "initialize":
        version = message["params"]["protocolVersion"]
        info = {"name": "recorder", "version": "1"}
        answer(
            identity, result={"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        )
    elif method in ("ping", "x/future"):
        answer(identity, result={})
    elif method == "x/quit":
        sys.exit(message["params"]["status"])
    elif method is not None and identity is not None:
        answer(identity, error={"code": -32601, "message": "no such method"})


def main() -> None:
    """Until standard input closes."""
    with open(sys.argv[1], "ab", buffering=0) as record:
        print("recorder is up", file=sys.stderr, flush=True)
        while line := sys.stdin.buffer.readline():
            record.write(line)
            handle(json.loads(line))


if __name__ == "__main__":
    main()
