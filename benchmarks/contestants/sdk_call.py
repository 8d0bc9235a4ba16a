"""The published SDK's ``mcp_governance`` around a no-op. Usage: URL KEY.

Failures after the call it swallows and only logs, so a warning ends the run. Kill-switch polling runs, every five seconds
beside the calls, because without it the SDK warns at every call.
"""

from __future__ import annotations

import sys

from ascend import AscendClient
from ascend.mcp import mcp_governance
from serving import fail_on_warnings, serve

url, key = sys.argv[1:]


fail_on_warnings()
client = AscendClient(api_key=key, agent_id="bench", agent_name="bench", api_url=url)
client.start_kill_switch_polling()
ran = 0


@mcp_governance(client, action_type="refund", resource="payments")
def refund(order_id: str, amount: int, note: str) -> None:
    global ran
    ran += 1


def call(number: int) -> None:
    before = ran
    refund(f"order-{number}", 42, "late delivery")
    assert ran == before + 1


serve(call)
client.stop_kill_switch_polling()
client.close()
