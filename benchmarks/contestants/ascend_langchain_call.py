"""ascend-langchain 2.0.1: one call of a tool under ``wrap_tools``. Usage: URL KEY.

A failure that it swallows it logs, so a warning ends the run. Kill-switch polling runs, every five seconds beside the
calls, because without it its client warns at every call.
"""

from __future__ import annotations

import sys

from ascend_langchain.wrapper import wrap_tools
from serving import fail_on_warnings, serve
from text_tool import Refund, caller

url, key = sys.argv[1:]


fail_on_warnings()
(wrapped,) = wrap_tools(
    [Refund()],
    action_type_map={"refund_text": "langchain.refund_wrapped"},
    agent_id="bench",
    agent_name="bench",
    api_key=key,
    api_url=url,
)
wrapped.client.start_kill_switch_polling()
serve(caller(wrapped))
wrapped.client.stop_kill_switch_polling()
wrapped.client.close()
