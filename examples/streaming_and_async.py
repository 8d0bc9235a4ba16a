"""Coroutines, streams, blocks and many agents in one process, all with the same decorator.

Run it from anywhere::

    python examples/streaming_and_async.py
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import ascend_guard
from ascend_guard import EmbeddedControlPlane, KillSwitchError, governed, guard, scope

POLICY = """\
version: 1
rules:
  - name: reports
    actions: [file_read]
    tools: [read_pages]
    when: |
      args.name.matches("^[a-z]{1,30}[.]pdf$") && args.pages > 0 && args.pages <= 1000
      && args.all(name, name in ["name", "pages"]) && risk.score < 50
    effect: allow
  - name: drafts
    actions: [file_write]
    tools: [drafts]
    when: |
      resource.name.matches("^drafts/[a-z]{1,30}[.]txt$") && resource.id == null
      && type(args.text) == string && args.all(name, name == "text") && risk.score < 50
    effect: allow
  - {name: mail, actions: [email_send], effect: require_approval, reason: Mail is read before it leaves.}
"""


@governed("email_send", resource="mail to {to}", timeout=10)
async def send_mail(to: str, text: str) -> str:
    """A coroutine: while it waits for a person, the event loop is free."""
    return f"sent to {to}"


@governed("file_read", resource="{name}")
async def read_pages(name: str, pages: int) -> AsyncIterator[str]:
    """A stream: decided before its first chunk; the kill switch is checked before each further one."""
    for number in range(pages):
        await asyncio.sleep(0.01)
        yield f"{name}, page {number + 1}"


async def approve_what_waits(plane: EmbeddedControlPlane) -> None:
    """Approves like a person with `ascend-guard approvals watch`."""
    while True:
        waiting = plane.read(lambda reader: reader.actions(plane.organization, status="pending"))
        if waiting:
            await asyncio.to_thread(plane.approve, str(waiting[0].id), approver="ana")
            return
        await asyncio.sleep(0.01)


async def count_while(task: asyncio.Task[str]) -> int:
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    return turns


async def main(folder: Path) -> None:
    (folder / "drafts").mkdir()
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    plane = ascend_guard.configure(
        policy=policy, database_url=f"sqlite:///{folder}/ascend.db", agent_id="writer"
    )
    assert isinstance(plane, EmbeddedControlPlane)

    # Waiting for a person blocks no other work.
    mail = asyncio.create_task(send_mail("mira@example.org", text="Your refund is on its way."))
    turns, _ = await asyncio.gather(count_while(mail), approve_what_waits(plane))
    print(f"1. Mail {await mail}; the event loop went round {turns} times while it waited.")

    # A block that is not a function. Use permit.parameters, because an approver may have edited them.
    draft = folder / "drafts" / "reply.txt"
    async with guard(
        "file_write", "drafts", resource="drafts/reply.txt", parameters={"text": "Dear Mira"}
    ) as permit:
        draft.write_text(permit.parameters["text"])
    print(f"2. The block ran: {draft.read_text()!r} is in {draft.name}.")

    # Many agents and conversations in one process: all calls inside carry these values.
    with scope(agent_id="researcher", session_id="conversation-7"):
        pages = [page async for page in read_pages("report.pdf", pages=3)]
    latest = plane.read(lambda reader: reader.actions(plane.organization, limit=1))[0]
    print(f"3. {len(pages)} pages were read by {latest.agent_id} in {latest.session_id}.")

    # A stream ends at the next chunk after the kill switch is turned on, by any person and from any process.
    read, pulled = 0, 0.0
    try:
        async for _ in read_pages("archive.pdf", pages=1000):
            read += 1
            if read == 5:
                plane.kill(reason="too many pages", by="ana", agent_id="writer")
                pulled = time.perf_counter()
    except KillSwitchError as error:
        late = 1000 * (time.perf_counter() - pulled)
        print(f"4. Stopped after {read} of 1000 pages, {late:.1f} ms after the switch: {error.reason}.")
    assert read == 5
    plane.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main(Path(temporary)))
