"""The REST document's reference implementations, word for word but for the address, against the real server.

The document as it is handed around has lost its indentation, which only Python misses: ``rest_reference.txt`` has it again.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import Serving, serving

from ascend_guard.engine.kill import release, stop
from ascend_guard.server.handling import ServerSettings
from ascend_guard.store.sqlite.store import SQLiteStore

HERE = Path(__file__).parent
DOCUMENT = (HERE / "rest_document.txt").read_text()
HOSTED = "https://pilot.owkai.app"

RUNTIMES = ["python", *(name for name in ("node", "java") if shutil.which(name))]
"""The languages whose runtime is on this machine."""

CALLS = {
    "python": """
import json, sys
try:
    print(json.dumps(evaluate_action_governed(json.loads(sys.argv[1]))))
except AscendBlocked as blocked:
    print("BLOCKED", blocked)
""",
    "node": """
submitActionGoverned(JSON.parse(process.argv[2])).then(
  (result) => console.log(JSON.stringify(result)),
  (error) => console.log(error instanceof AscendBlocked ? 'BLOCKED ' + error.message : 'FAILED ' + error),
);
""",
    "java": """
public class Main {
    public static void main(String[] args) throws Exception {
        try {
            System.out.println(new AscendClient().submitActionGoverned(args[0]).get("body"));
        } catch (AscendClient.AscendBlocked blocked) {
            System.out.println("BLOCKED " + blocked.getMessage());
        }
    }
}
""",
}


def section(name: str, after: str) -> str:
    """What the document has under a language's name, until the next one's."""
    text = DOCUMENT.split(f"\n{name}\n")[1]
    return text.split(f"\n{after}\n")[0] if after else text


class Reference:
    """One language's implementation, ready to be called.

    Args:
        language: one of ``RUNTIMES``.
        folder: where its program may be.
    """

    def __init__(self, language: str, folder: Path) -> None:
        self.language = language
        self._folder = folder
        self._source = {
            "python": lambda: (HERE / "rest_reference.txt").read_text(),
            "node": lambda: section("Node.js", "Go"),
            "java": lambda: section("Java", ""),
        }[language]()

    def __call__(self, url: str, key: str, action: dict[str, Any]) -> str:
        """What it makes of an action: the answer's JSON, or ``BLOCKED`` and why."""
        folder = self._folder / url.rpartition(":")[2]
        folder.mkdir(exist_ok=True)
        assert HOSTED in self._source
        source = self._source.replace(HOSTED, url)
        if self.language == "java":
            (folder / "AscendClient.java").write_text(source)
            (folder / "Main.java").write_text(CALLS["java"])
            if not (folder / "Main.class").exists():
                subprocess.run(
                    ["javac", "Main.java", "AscendClient.java"], cwd=folder, check=True, timeout=120
                )
            line = ["java", "-cp", str(folder), "Main"]
        else:
            program = folder / {"python": "program.py", "node": "program.js"}[self.language]
            program.write_text(source + CALLS[self.language])
            line = [sys.executable if self.language == "python" else "node", str(program)]
        done = subprocess.run(
            [*line, json.dumps(action)],
            env={**os.environ, "ASCEND_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    """Every implementation that can run here."""
    return [Reference(language, tmp_path_factory.mktemp(language)) for language in RUNTIMES]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without limits."""
    with serving(tmp_path_factory.mktemp("reference") / "a.db") as running:
        yield running


def action(kind: str, amount: float = 0.0) -> dict[str, Any]:
    """A submission as the document has it."""
    return {
        "agent_id": "my-agent",
        "agent_name": "My AI Agent",
        "action_type": kind,
        "description": "Query customers' data: é",
        "tool_name": "postgresql",
        "action_details": {"amount": amount},
    }


def all_at_once(everyone: list[Reference], ask: Callable[[Reference], str]) -> dict[str, str]:
    """What each says, by its language: they wait between attempts, and need not wait for one another."""
    with ThreadPoolExecutor(len(everyone)) as threads:
        return dict(zip((one.language for one in everyone), threads.map(ask, everyone), strict=True))


def test_the_python_one_is_the_documents() -> None:
    """The indented text has the document's very lines."""
    lines = [line.strip() for line in section("Python", "Node.js").splitlines() if line.strip()]
    kept = [line.strip() for line in (HERE / "rest_reference.txt").read_text().splitlines() if line.strip()]
    assert kept == lines


@pytest.mark.parametrize(
    ("kind", "amount", "status"),
    [("orders_read", 0.0, "approved"), ("orders_delete", 0.0, "denied"), ("refund", 900.0, "pending")],
)
def test_decisions(server: Serving, everyone: list[Reference], kind: str, amount: float, status: str) -> None:
    """Each submits, with its body, and is told what the policy decides."""
    asked = action(kind, amount)
    for said in all_at_once(everyone, lambda one: one(server.url, server.key(), asked)).values():
        decided = json.loads(said)
        assert decided["status"] == status
        kept = server.ask("GET", f"/api/v1/actions/{decided['id']}", server.token()).json()
        assert (kept["action_type"], kept["description"]) == (kind, asked["description"])
        assert kept["action_details"] == {"amount": amount}


def test_the_kill_switch(server: Serving, everyone: list[Reference]) -> None:
    """While it is on, each is blocked before it submits."""
    stop(server.store, "local", None, "an incident for the test", "ann@example.com")
    try:
        for said in all_at_once(
            everyone, lambda one: one(server.url, server.key(), action("orders_read"))
        ).values():
            assert said.startswith("BLOCKED ")
            assert "kill-switch" in said
    finally:
        server.store.write(lambda tx: release(tx, "local", None, "the incident is over", "ann@example.com"))
        server.store.require_released()


def test_a_wrong_key(server: Serving, everyone: list[Reference]) -> None:
    """A key that is none blocks."""
    key = "owkai_" + "0" * 43
    for said in all_at_once(everyone, lambda one: one(server.url, key, action("orders_read"))).values():
        assert said.startswith("BLOCKED ")


def test_nobody_there(everyone: list[Reference]) -> None:
    """Where no server listens, each is blocked."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        for said in all_at_once(
            everyone, lambda one: one(url, "owkai_" + "0" * 43, action("orders_read"))
        ).values():
            assert said.startswith("BLOCKED ")


def test_too_often(tmp_path: Path, everyone: list[Reference]) -> None:
    """Each tries five times while the limit is used up, and is blocked: the switch was asked within it."""

    def ask(one: Reference) -> str:
        # A server of its own: all keys of an organization have one limit.
        with serving(tmp_path / f"{one.language}.db", settings=ServerSettings(tier="free")) as server:
            key = server.key()
            used = [server.ask("GET", "/api/v1/actions?limit=1", key).status_code for _ in range(59)]
            assert used == [200] * 59
            return one(server.url, key, action("orders_read"))

    assert set(all_at_once(everyone, ask).values()) <= {
        "BLOCKED max retries exceeded (429)",
        "BLOCKED ASCEND blocked: max retries exceeded (429)",
    }


def test_nothing_can_be_recorded(tmp_path: Path, everyone: list[Reference]) -> None:
    """While the database is gone, which is answered 503, each is blocked."""
    store = SQLiteStore(tmp_path / "a.db", durability="process")
    with serving(store) as server:
        key = server.key()
        store.close()
        assert server.ask("POST", "/api/v1/actions/submit", key, action("orders_read")).status_code == 503
        for said in all_at_once(everyone, lambda one: one(server.url, key, action("orders_read"))).values():
            assert said.startswith("BLOCKED ")
