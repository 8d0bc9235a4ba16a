"""The proxy in front of a published, unchanged MCP server: some calls run, one is denied, one waits for ana.

Run it from anywhere (``pip install 'ascend-guard[mcp]' mcp-server-git``, and git itself). Nothing goes over the network::

    python examples/mcp_proxy.py

To do the same in an MCP client's configuration takes one command: ``ascend-guard mcp-proxy install``.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

try:
    from mcp import Client, StdioServerParameters
except ModuleNotFoundError as error:
    sys.exit(f"This needs {error.name}. Install it: pip install 'ascend-guard[mcp]' mcp-server-git")

import ascend_guard
from ascend_guard import EmbeddedControlPlane

POLICY = """\
version: 1
rules:
  - name: looking
    actions: [git.git_status]
    when: args.repo_path == "/srv/notes" && args.all(name, name == "repo_path") && risk.score < 70
    effect: allow
  - name: staging                     # notes of this repository, and no option of git that looks like a file
    actions: [git.git_add]
    when: |
      args.repo_path == "/srv/notes" && args.all(name, name in ["repo_path", "files"])
      && type(args.files) == list && args.files.all(file, file.matches("^[a-z]{1,30}[.]txt$")) && risk.score < 70
    effect: allow
  - {name: no-resets, actions: [git.git_reset], effect: deny, reason: Agents do not throw work away.}
  - name: commits
    actions: [git.git_commit]
    effect: require_approval
    reason: A person reads what is committed.
"""


async def main(folder: Path) -> None:
    server = shutil.which("mcp-server-git")
    if server is None:
        sys.exit("This needs a server to put the proxy in front of. Install it: pip install mcp-server-git")
    repository = folder / "repository"
    git("init", "--quiet", str(repository))
    git("-C", str(repository), "config", "user.name", "agent")
    git("-C", str(repository), "config", "user.email", "agent@example.org")
    (repository / "notes.txt").write_text("Buy milk.\n")

    policy, database = folder / "policy.yaml", f"sqlite:///{folder}/ascend.db"
    policy.write_text(POLICY.replace('"/srv/notes"', json.dumps(str(repository))))
    people = ascend_guard.configure(policy=policy, database_url=database)
    assert isinstance(people, EmbeddedControlPlane)

    words = ["-m", "ascend_guard", "--policy", str(policy), "--database-url", database, "mcp-proxy"]
    behind = ["--name", "git", "--", server, "--repository", str(repository)]
    started = StdioServerParameters(command=sys.executable, args=[*words, *behind])
    async with Client(started) as client:

        async def call(tool: str, **arguments: Any) -> str:
            result = await client.call_tool(tool, {"repo_path": str(repository), **arguments})
            return " ".join(block.text for block in result.content if block.type == "text")

        tools = (await client.list_tools()).tools
        print(f"1. The client sees the server as it is: {len(tools)} tools, such as {tools[0].name}")
        print("2. The policy allows it:", await call("git_add", files=["notes.txt"]))
        print("3. The policy denies it:", await call("git_reset"))

        committing = asyncio.create_task(call("git_commit", message="stuff"))
        waiting = await asyncio.to_thread(first_pending, people)
        print(f"4. A person has to decide: {waiting.action_type}. {waiting.reason}")
        people.approve(str(waiting.id), approver="ana", arguments={"message": "Note: buy milk"})
        await committing
        print(
            "5. Ana approved it with another message:", git("-C", str(repository), "log", "--format=%an: %s")
        )

        people.kill(reason="too many agents", by="ana")
        print("6. The kill switch is on:", await call("git_status"))

    report = people.verify_audit()
    print(f"7. The audit trail has {report.records} records and is intact: {report.ok}")
    people.close()


def first_pending(people: EmbeddedControlPlane) -> Any:
    """Return the first pending action, as `ascend-guard approvals list` shows it."""
    while not (waiting := people.pending()):
        time.sleep(0.02)
    return waiting[0]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main(Path(temporary)))
