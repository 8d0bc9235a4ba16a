"""The control plane as a server: agents use it with a key, people decide with a token, and it fails closed.

Run it from anywhere, with the server's extra (``pip install 'ascend-guard[server]'``)::

    python examples/over_http.py

It starts `ascend-guard serve` on a free port with a database in a temporary folder, and stops it again.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import requests

import ascend_guard
from ascend_guard import AscendError, KillSwitchError, governed

POLICY = """\
version: 1
rules:
  - name: small-refunds
    actions: [refund]
    tools: [billing]
    when: |
      args.amount > 0 && args.amount <= 100 && risk.score < 70
      && args.order_id.matches("^[A-Z]-[0-9]{1,9}$") && args.all(name, name in ["order_id", "amount"])
    effect: allow
  - name: big-refunds
    actions: [refund]
    when: args.amount > 100 || risk.score >= 70
    effect: require_approval
    approvers: [finance]
    reason: Refunds above 100 need finance.
"""


@governed("refund", "billing", resource="orders/{order_id}", timeout=30)
def refund(order_id: str, amount: float) -> str:
    """The tool. Its code does not depend on where its calls are decided."""
    return f"refunded {amount:.2f} on order {order_id}"


class Person:
    """A person with a token, who uses the API as a console does."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, self.url + path, json=body, headers=self.headers, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def first_pending(self) -> Any:
        while not (waiting := self.ask("GET", "/api/v1/actions?status=pending")["actions"]):
            time.sleep(0.02)
        return waiting[0]


def main(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
    environment["ASCEND_POLICY"] = str(folder / "policy.yaml")
    command = [sys.executable, "-m", "ascend_guard"]
    missing = [name for name in ("starlette", "uvicorn", "jwt", "prometheus_client") if not find_spec(name)]
    if missing:
        sys.exit(f"This needs {missing[0]}. Install it: pip install 'ascend-guard[server]'")

    def command_line(*words: str) -> Any:
        ran = subprocess.run(
            [*command, *words, "--json"], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(ran.stdout)

    key = command_line("keys", "create", "--agent", "billing-agent")["api_key"]
    token = command_line("token", "--user", "ann@example.com", "--role", "admin", "--group", "finance")[
        "token"
    ]

    with serving(command, environment) as url:
        # Or set ASCEND_API_KEY, ASCEND_API_URL and ASCEND_AGENT_ID, and remove this.
        plane = ascend_guard.configure(api_key=key, api_url=url, agent_id="billing-agent")
        ann = Person(url, token)
        print("1. The server's policy allows it:", refund("A-17", 40.0))

        approved_at = 0.0

        def approve() -> None:
            nonlocal approved_at
            action = ann.first_pending()
            path = f"/api/actions/{action['id']}/approve"
            refused = requests.post(url + path, headers={"X-API-Key": key}, timeout=10)
            print(f"2. The agent's own key may not approve: HTTP {refused.status_code}")
            ann.ask("POST", path, {"comments": "Charged twice."})
            approved_at = time.perf_counter()

        deciding = threading.Thread(target=approve)
        deciding.start()
        done = refund("A-18", 940.0)
        resumed = time.perf_counter()
        deciding.join()
        late = max(0.0, resumed - approved_at) * 1000
        print(f"3. Approved by ann@example.com, and {late:.1f} ms later: {done}")

        while (action := ann.ask("GET", "/api/v1/actions")["actions"][0])["outcome"] is None:
            time.sleep(0.02)  # outcomes are reported a moment after the call
        trail = ann.ask("GET", f"/api/v1/actions/{action['id']}")["audit_trail"]
        print("4. On record:", ", ".join(f"{entry['event']} by {entry['actor']}" for entry in trail))

        ann.ask("POST", "/api/billing/kill-switch/local/trigger", {"reason": "too many refunds"})
        try:
            refund("A-19", 5.0)
        except KillSwitchError as error:
            print("5. The kill switch is on:", error)
        ann.ask("POST", "/api/billing/kill-switch/local/release", {"reason": "a false alarm"})

    try:
        refund("A-20", 5.0)
    except AscendError as error:
        print("6. Without the server nothing runs:", error)
    plane.close()


@contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run the server; yields its address."""
    server = subprocess.Popen(
        [*command, "serve", "--port", "0", "--json"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = server.stdout.readline()
            assert line, "the server did not start"
            said += line
        yield json.loads(said)["url"]
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
