"""One governed no-op call. Usage: KIND DURABILITY FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from plane import ARGUMENTS, control_plane
from serving import serve, serve_async

from ascend_guard import AuthorizationDeniedError, governed

kind, durability, folder = sys.argv[1:]
plane = control_plane(folder, durability)


@governed("refund", "payments", control_plane=plane)
def refund(order_id: str, amount: int, note: str) -> None:
    return None


@governed("wipe", "payments", control_plane=plane)
def wipe(order_id: str, amount: int, note: str) -> None:
    raise AssertionError("a denied call ran")


@governed("refund", "payments", control_plane=plane)
async def refund_async(order_id: str, amount: int, note: str) -> None:
    return None


@governed("refund", "payments", control_plane=plane)
def refund_stream(order_id: str, amount: int, note: str) -> Iterator[int]:
    yield amount


def denied(number: int) -> None:
    try:
        wipe(f"order-{number}", *ARGUMENTS)
    except AuthorizationDeniedError:
        return
    raise AssertionError("a call that must be denied was not")


if kind == "sync":
    serve(lambda number: refund(f"order-{number}", *ARGUMENTS))
elif kind == "async":
    serve_async(lambda number: refund_async(f"order-{number}", *ARGUMENTS))
elif kind == "generator":
    serve(lambda number: list(refund_stream(f"order-{number}", *ARGUMENTS)))
elif kind == "denied":
    serve(denied)
plane.close()
