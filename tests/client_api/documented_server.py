"""A real HTTP server on this machine that answers as the documents show."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Reply = tuple[int, Any]

ACTION_ID = 12345


class Request:
    """What arrived."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body


class DocumentedServer:
    """Decides every action the same way.

    Args:
        decision: of submissions; what is pending is approved when asked for again.
        override: answers instead, when it returns something.
    """

    def __init__(
        self, decision: str = "approved", override: Callable[[Request], Reply | None] | None = None
    ) -> None:
        self.decision = decision
        self.override = override
        self.requests: list[Request] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, self.rfile.read(length))
                server.requests.append(request)
                status, body = server.reply(request)
                raw = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that hangs up is no failure of the server's

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> DocumentedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reply(self, request: Request) -> Reply:
        """What the documents show for a request."""
        if self.override is not None and (told := self.override(request)) is not None:
            return told
        path = request.path.partition("?")[0]
        for method, pattern, answer in self._table():
            if request.method == method and re.fullmatch(pattern, path):
                return 200, answer
        return 404, {"detail": "Not Found", "error_code": "NOT_FOUND", "status_code": 404}

    def _table(self) -> list[tuple[str, str, Body]]:
        number = r"/api/v1/actions/[^/]+"
        listed = {
            "actions": [{"id": ACTION_ID, "agent_id": "my-agent", "action_type": "database_read",
                         "status": "approved", "risk_level": "low", "created_at": "2025-12-16T10:30:00Z"}],
            "total": 150, "limit": 50, "offset": 0, "has_more": True,
        }  # fmt: skip
        command = {
            "command_id": "cmd-1", "command_type": "BLOCK", "target_type": "agent", "reason": "looks wrong",
            "parameters": {}, "status": "pending", "issued_by": "admin@company.com", "is_broadcast": False,
        }  # fmt: skip
        return [
            ("GET", "/health", {"status": "healthy", "timestamp": "2025-12-16T10:30:00Z"}),
            ("GET", "/api/deployment-info", {"version": "2.5.0", "environment": "production"}),
            ("GET", "/api/sdk/kill-switch/status", {"blocked": False, "reason": None}),
            ("POST", "/api/v1/(mcp/)?actions/submit", self._decided(self.decision)),
            ("GET", f"{number}/status", self._decided(self._later())),
            ("GET", number, {**self._decided(self._later()), "audit_trail": [{"event": "submitted", "actor": "agent"}]}),
            ("GET", "/api/v1/actions", listed),
            ("PUT", "/api/registry/agents/[^/]+", {"success": True, "agent": {"agent_id": "a"}, "message": "linked"}),
            ("POST", "/api/v1/supply-chain/components", {"success": True, "component": {"id": 1}, "message": "kept"}),
            ("GET", "/api/registry/agents/[^/]+/commands", {"commands": [command]}),
            ("POST", "/api/registry/agents/[^/]+/commands/cmd-1/ack", {"success": True}),
        ]  # fmt: skip

    def _later(self) -> str:
        return "approved" if self.decision == "pending_approval" else self.decision

    def _decided(self, status: str) -> Body:
        body: Body = {
            "id": ACTION_ID,
            "action_id": "act_abc123xyz",
            "status": status,
            "risk_score": 3.5,
            "risk_level": "low",
            "summary": f"Action {status} by the document",
            "created_at": "2025-12-16T10:30:00Z",
            "mcp_governance": {"server_registered": True, "enforcement": "Layer 13"},
            "model_governance": {"registry_checked": True, "compliance_status": "approved"},
        }
        if status == "pending_approval":
            body |= {"requires_approval": True, "pending_approvers": ["admin@company.com"]}
        return body
