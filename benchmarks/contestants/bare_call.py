"""The same no-op function, not governed."""

from __future__ import annotations

from plane import ARGUMENTS
from serving import serve_fast


def refund(order_id: str, amount: int, note: str) -> None:
    return None


def loop(count: int) -> None:
    for number in range(count):
        refund(f"order-{number}", *ARGUMENTS)


serve_fast(loop)
