"""The published SDK's ``mcp_governance`` around a no-op. Usage: URL KEY KIND; KIND is ``sync`` or ``async``.

It swallows what goes wrong after the call and only logs it, so a warning ends the run. Kill-switch polling runs, every five
seconds beside the calls, because without it the SDK warns at every call.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable
from typing import Any

from ascend import AscendClient
from ascend.mcp import mcp_governance
from serving import serve, serve_async

url, key, kind = sys.argv[1:]


class Loud(logging.Handler):
    """Makes an error of what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError(record.getMessage())


logging.getLogger().addHandler(Loud(logging.WARNING))
client = AscendClient(api_key=key, agent_id="bench", agent_name="bench", api_url=url)
client.start_kill_switch_polling()
ran = 0


@mcp_governance(client, action_type="refund", resource="payments")
def refund(order_id: str, amount: int, note: str) -> None:
    global ran
    ran += 1


@mcp_governance(client, action_type="refund", resource="payments")
async def refund_async(order_id: str, amount: int, note: str) -> None:
    return None


def call(number: int) -> None:
    before = ran
    refund(f"order-{number}", 42, "late delivery")
    assert ran == before + 1


def acall(number: int) -> Awaitable[Any]:
    return refund_async(f"order-{number}", 42, "late delivery")


if kind == "sync":
    serve(call)
else:
    serve_async(acall)
client.stop_kill_switch_polling()
client.close()
