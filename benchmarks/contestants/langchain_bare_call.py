"""One call of an ungoverned LangChain tool. Runs in any environment with LangChain."""

from __future__ import annotations

from serving import serve
from text_tool import Refund, caller

serve(caller(Refund()))
