"""An MCP server whose tools are governed, and the official client that uses it over stdio.

Run it from anywhere (``pip install 'ascend-guard[mcp]' 'mcp>=2'``)::

    python examples/mcp_server.py
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from ascend_guard_mcp import govern_server
    from mcp import Client, StdioServerParameters
    from mcp.server.mcpserver import MCPServer
except ImportError as error:
    sys.exit(f"This needs {error.name}. Install it: pip install 'ascend-guard[mcp]' 'mcp>=2'")

import ascend_guard
from ascend_guard import EmbeddedControlPlane

POLICY = """\
version: 1
rules:
  - name: reading
    actions: [orders.find]
    when: args.order_id.matches("^[0-9]{1,9}$") && args.all(name, name == "order_id") && risk.score < 50
    effect: allow
  - name: refunds
    actions: [orders.refund]
    effect: require_approval
    reason: Refunds need finance.
  - {name: no-deletions, actions: [orders.delete], effect: deny, reason: Agents do not delete orders.}
"""


def control_plane(folder: Path) -> EmbeddedControlPlane:
    return ascend_guard.configure(
        policy=folder / "policy.yaml", database_url=f"sqlite:///{folder}/ascend.db", agent_id="support-agent"
    )


def serve(folder: Path) -> None:
    """An ordinary server; the line that governs it may be before or after its tools."""
    control_plane(folder)
    server = govern_server(MCPServer("orders"), wait=0.5, hide_denied=True)

    @server.tool()
    def find(order_id: str) -> str:
        """Look an order up."""
        return f"order {order_id}: paid, 940.00"

    @server.tool()
    def refund(order_id: str, amount: float) -> str:
        """Pay an order back."""
        return f"refunded {amount:.2f} on order {order_id}"

    @server.tool()
    def delete(order_id: str) -> str:
        """Delete an order."""
        return f"order {order_id} is gone"

    server.run("stdio")


async def use(folder: Path) -> None:
    """The client."""
    plane = control_plane(folder)
    started = StdioServerParameters(command=sys.executable, args=[__file__, str(folder)])
    async with Client(started, mode="legacy") as client:

        async def call(tool: str, **arguments: Any) -> str:
            result = await client.call_tool(tool, arguments)
            return f"{'error: ' if result.is_error else ''}{result.content[0].text}"  # type: ignore[union-attr]

        tools = (await client.list_tools()).tools
        print("1. What policy always denies is not even listed:", ", ".join(tool.name for tool in tools))
        print("2. The policy allows it:", await call("find", order_id="7731"))
        print("3. The policy denies it:", await call("delete", order_id="7731"))
        print("4. A person has to decide:", await call("refund", order_id="7731", amount=940.0))

        (waiting,) = plane.pending()
        plane.approve(str(waiting.id), approver="ana")
        print("5. Ana approved, and the same call runs:", await call("refund", order_id="7731", amount=940.0))
    plane.close()


def main(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY)
    asyncio.run(use(folder))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
