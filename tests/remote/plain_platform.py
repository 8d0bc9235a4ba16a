"""A platform that knows the documented API and nothing else: no permits, no digests, no stream."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class PlainPlatform:
    """Answers as the REST API document shows, and notes every request.

    Attributes:
        decision: what a new action becomes.
        extra: fields that are put into every answer about an action.
        deployment: the answer of ``/api/deployment-info``; None for 404.
        same: every submission is the same action, as on a platform that recognises repetitions.
    """

    def __init__(self) -> None:
        self.decision = "approved"
        self.extra: dict[str, Any] = {}
        self.deployment: dict[str, Any] | None = None
        self.same = False
        self.blocked: Any = False
        self.payment_required = False
        self.statuses: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str], dict[str, Any]]] = []
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one segment

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size) or b"{}")
                headers = {name.lower(): value for name, value in self.headers.items()}
                platform.requests.append((self.command, self.path, headers, body))
                status, told = platform.answer(self.command, self.path, body)
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/api/deployment-info":
            return (404, {"detail": "Not Found"}) if self.deployment is None else (200, self.deployment)
        if "kill-switch" in path or "kill_switch" in path:
            if self.payment_required:
                return 402, {"detail": "spend limit reached"}
            return 200, {"blocked": self.blocked, "reason": None}
        if path == "/api/v1/actions/submit":
            action = "1" if self.same and self.statuses else str(len(self.statuses) + 1)
            self.statuses.setdefault(action, self.decision)
            return 200, self._told(action)
        parts = path.split("/")
        if path.startswith("/api/v1/actions/") and parts[-1] == "status":
            return 200, self._told(parts[-2])
        if path.startswith("/api/agent-action/"):
            return 200, {"success": True, "action_id": parts[-2], "status": parts[-1]}
        return 404, {"detail": "Not Found"}

    def _told(self, action: str) -> dict[str, Any]:
        status = self.statuses[action]
        return {"id": int(action), "action_id": action, "status": status, "risk_score": 10.0, **self.extra}

    def outcomes(self) -> list[tuple[str, str]]:
        """(action, outcome) as they were reported."""
        paths = [path for _, path, _, _ in self.requests if path.startswith("/api/agent-action/")]
        return [(path.split("/")[-2], path.split("/")[-1]) for path in paths]
