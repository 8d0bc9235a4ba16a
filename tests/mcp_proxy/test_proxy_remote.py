"""The proxy of a process whose decisions are a server's."""

from __future__ import annotations

from proxy_world import POLICY, Desk, Proxy, words
from serving import serving

from ascend_guard.engine.registry.mcp_servers import MCP_SERVERS, McpServer


def test_decisions_of_a_server(desk: Desk) -> None:
    """Allowed, denied, approved there; the outcome is recorded there."""
    with serving(desk.folder / "server.db", POLICY) as server:
        environment = {
            name: value for name, value in desk.environment.items() if not name.startswith("ASCEND_")
        }
        environment |= {
            "ASCEND_API_KEY": server.key(),
            "ASCEND_API_URL": server.url,
            "ASCEND_AGENT_ID": "my-agent",
        }
        shop = McpServer("shop")
        server.store.write(lambda tx: MCP_SERVERS.register(tx, "local", "shop", shop, "ann"))
        proxy = Proxy(desk.command(), environment)
        try:
            proxy.call(1, "fails")
            assert "the till is closed" in words(proxy.answer())
            proxy.call(2, "drop_table")
            assert "Drops are off." in words(proxy.answer())
            proxy.call(3, "refund", {"amount": 500})
            server.approve(server.newest_pending())
            assert words(proxy.answer()) == '{"amount": 500}'
            assert proxy.hang_up() == 0
        finally:
            proxy.close()
            print(proxy.errors)
        rows = server.store.read(lambda reader: list(reader.actions("local", limit=10)))
        assert [row.outcome for row in rows] == ["completed", None, "failed"]
