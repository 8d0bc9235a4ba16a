"""The SDK document against the server people run: every code block, and a person who decides."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_sdk_document import BLOCKS, reader

from ascend_guard import errors
from ascend_guard.client.api.asking import told
from ascend_guard.client.api.clients import AscendClient
from ascend_guard.client.http.exchange import run
from ascend_guard.model import AgentAction

POLICIES = {"approved": "allow", "denied": "deny", "pending_approval": "require_approval"}
ACTION = AgentAction("a-1", "Agent one", "refund", "orders/17", "payments", action_details={"amount": 900})
PATIENCE = 60


class Served:
    """A server process with a policy that decides every action alike, and what the document takes to be registered."""

    def __init__(self, folder: Path, decision: str) -> None:
        self.decision = decision
        effect = POLICIES[decision]
        policy = folder / "policy.yaml"
        policy.write_text(f'version: 1\nrules:\n  - {{name: all, actions: ["*"], effect: {effect}}}\n')
        self._where = ["--policy", str(policy), "--database-url", f"sqlite:///{folder / 'ascend.db'}"]
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")
        }
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "ascend_guard", "serve", "--port", "0", *self._where]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        try:
            self.url = self._listening()
            self.key: str = self._told("keys", "create", "--role", "admin")["api_key"]
            self.token: str = self._told("token", "--user", "ann@example.com", "--role", "approver")["token"]
            with AscendClient(self.key, self.url) as client:
                self.model = self._registered(client)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _told(self, *words: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "ascend_guard", *words, "--json", *self._where],
            capture_output=True, text=True, env=self._environment, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    def _listening(self) -> str:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:\d+", self._log.read_text()):
                return found[0]
            time.sleep(0.02)
        raise AssertionError(self._log.read_text())

    def _registered(self, client: AscendClient) -> int:
        for agent in ("financial-advisor-prod", "agent-001"):
            client.register_agent(agent)
        for name in ("filesystem-server", "salesforce-mcp"):
            client.register_mcp_server(name)
        body = {"model_id": "gpt-4-production", "compliance_status": "approved"}
        model = run(told(client._identity, "register_model", body=body), client._sender)
        number: int = model["model"]["id"]
        return number


@pytest.fixture(scope="module", params=sorted(POLICIES))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all blocks."""
    server = Served(tmp_path_factory.mktemp(request.param), request.param)
    yield server
    server.close()


@pytest.fixture
def _environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASCEND_API_KEY", served.key)
    monkeypatch.setenv("ASCEND_API_URL", served.url)


def run_block(title: str, served: Served) -> list[str]:
    """One block after the others a reader has seen; what its functions were called for."""
    names, done = reader(served)
    code = BLOCKS[title].replace("owkai_xxx", served.key).replace("https://pilot.owkai.app", served.url)
    # The document's model and component exist already, or are another number here.
    code = code.replace("model_id=42", f"model_id={served.model}").replace(
        "hf-bert-base", f"hf-{time.time_ns()}"
    )
    exec(compile(code, title, "exec", dont_inherit=True), names)
    return done


WAITING = ("Synchronous Wait", "Complete Example")


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("title", [title for title in BLOCKS if title not in WAITING])
def test_every_block_runs(title: str, served: Served) -> None:
    """Whatever is decided; what it guards runs only when it was approved."""
    done = run_block(title, served)
    assert ("executed" in done) <= (served.decision == "approved")


@pytest.mark.usefixtures("_environment")
def test_the_complete_example(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """The customer is read only when that is approved, by the policy or by a person meanwhile."""
    if served.decision == "denied":
        with pytest.raises(PermissionError):
            run_block("Complete Example", served)
    else:
        approver = threading.Thread(target=approve_what_waits, args=(served,))
        approver.start()
        try:
            run_block("Complete Example", served)
        finally:
            approver.join()
    assert ("Customer: " in capsys.readouterr().out) is (served.decision != "denied")


def approve_what_waits(served: Served) -> None:
    """A person who says yes to everything of one agent, until there was something."""
    if served.decision != "pending_approval":
        return
    until = time.monotonic() + PATIENCE
    with AscendClient(served.key, served.url) as client:
        while time.monotonic() < until:
            waiting = client.list_actions(status="pending", agent_id="data-processor-prod").actions
            for action in waiting:
                client.approve_action(action.action_id, "looks right", token=served.token)
            if waiting:
                return


def test_a_person_decides(served: Served) -> None:
    """Not a key; the decision reaches whoever waits, and the story of it is in the action's trail."""
    if served.decision != "pending_approval":
        with AscendClient(served.key, served.url) as client:
            assert client.submit_action(ACTION).status == served.decision
        return
    with AscendClient(served.key, served.url, agent_id="a-1") as client:
        result = client.submit_action(ACTION)
        assert result.is_pending()
        with pytest.raises(errors.TimeoutError):
            client.wait_for_decision(result.action_id, timeout_ms=200, poll_interval=0.05)
        with pytest.raises(errors.AuthenticationError):
            client.approve_action(result.action_id, token=served.key)
        assert client.get_action_status(result.action_id).is_pending()
        client.approve_action(result.action_id, "looks right", token=served.token)
        decided = client.wait_for_decision(result.action_id, timeout_ms=5000, poll_interval=0.05)
        assert decided.is_approved()
        assert decided.decided_by == "ann@example.com"
        assert client.complete_action(decided.action_id, {"refunded": True}, 12.0)["success"] is True
        trail = client.get_action(result.action_id).metadata["audit_trail"]
        assert [step["event"] for step in trail][:2] == ["submitted", "approved"]
        with pytest.raises(errors.ConflictError):
            client.deny_action(result.action_id, token=served.token)


def test_a_resent_submission_is_the_same_action(served: Served) -> None:
    """By its key, as after an answer that was lost."""
    with AscendClient(served.key, served.url) as client:
        first = client.submit_action(ACTION, idempotency_key=f"order-{time.time_ns()}-17")
        other = client.submit_action(ACTION)
        key = f"order-{time.time_ns()}"
        assert client.submit_action(ACTION, idempotency_key=key).action_id == (
            client.submit_action(ACTION, idempotency_key=key).action_id
        )
        assert first.action_id != other.action_id


def test_the_kill_switch_stops_everybody(served: Served) -> None:
    """Before a submission, and after an approval that was waited for."""
    with AscendClient(served.key, served.url) as client:
        earlier = client.submit_action(ACTION)
        client.trigger_kill_switch(1, "something is wrong")
        try:
            assert client.kill_switch_status().blocked
            with pytest.raises(errors.KillSwitchError, match="something is wrong"):
                client.submit_action(ACTION)
            if not earlier.is_denied():
                with pytest.raises(errors.KillSwitchError):
                    client.wait_for_decision(earlier.action_id, timeout_ms=1000)
        finally:
            client.release_kill_switch(1, "all is well again")
        assert not client.kill_switch_status().blocked


def test_every_page_is_listed(served: Served) -> None:
    """Each action once."""
    with AscendClient(served.key, served.url) as client:
        made = {client.submit_action(ACTION).action_id for _ in range(5)}
        listed = [action.action_id for action in client.iterate_actions(limit=2)]
    assert len(set(listed)) == len(listed)
    assert made <= set(listed)
