"""What the byte-keeping client says to each published server, and what in the answers changes from run to run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from peer_lines import LATEST, TASK, Step, ask, call

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
WHO = {"name": "peers", "version": "1"}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": WHO,
    "io.modelcontextprotocol/clientCapabilities": {},
}
CAPABILITIES = {
    "roots": {"listChanged": True},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "tasks": {"requests": {"elicitation": {"create": {}}, "sampling": {"createMessage": {}}}},
}
DATA = "data:text/plain;base64,R3LDtsOfZQ=="
UNUSUAL = 'Größe \u2028 \U0001f600 \\ " \x7f \t </script>'

MASKS = {
    "a moment": (rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", b"MOMENT"),
    "a moment as JavaScript writes it": (
        rb"\w{3} \w{3} \d\d \d{4} \d\d:\d\d:\d\d GMT\+0000 \([^)]*\)",
        b"MOMENT",
    ),
    "the day of the week": (rb"(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day", b"DAY"),
    "the time of day": (rb"created at \d+:\d\d:\d\d [AP]M", b"created at TIME"),
    "the time of day, in base64": (rb'"blob":"UmVzb3VyY2Ug[A-Za-z0-9+/=]*"', b'"blob":"TIME"'),
    "the port it listens on": (rb'\\"PORT\\": \\"\d+', b"PORT"),
    "a random id": (rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"ID"),
    "the id of a task": (rb"\b[0-9a-f]{32}\b", b"TASK"),
    "a log message's random level": (rb'"level":"\w+","data":"\w+[- ]level[- ]message', b'"level":"RANDOM'),
}
"""What is not the same in two runs of the very same server: its name, a pattern, what stands for it."""


def masked(said: Iterable[bytes]) -> list[bytes]:
    """These lines without what is never the same twice."""
    return [_masked(line) for line in said]


def _masked(line: bytes) -> bytes:
    for pattern, instead in MASKS.values():
        line = re.sub(pattern, instead, line)
    return line


def script(name: str, world: Path, *, modern: bool = False) -> list[Step]:
    """Everything that is said to one of the servers.

    Args:
        name: whose.
        world: the folder it acts in.
        modern: in protocol version 2026-07-28; else with a handshake, and with those that do not know that version
            after the question whether they do, as the official client does it.
    """
    body = [*_SCRIPTS[name](world), *_WRONG]
    if modern:
        body = [step for step in body if step.method not in _NOT_MODERN]
        steps = [ask("server/discover"), *body]
        return [step._replace(params={**(step.params or {}), "_meta": META}) for step in steps]
    probe = [] if name in ("time", "git") else [ask("server/discover", _meta=META)]
    return [
        *probe,
        ask("initialize", protocolVersion=LEGACY, capabilities=CAPABILITIES, clientInfo=WHO),
        Step("notify", "notifications/initialized"),
        *body,
        ask("ping"),
    ]


_NOT_MODERN = ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")
_WRONG = [
    call("no_such_tool", x=1),
    ask("tools/call", name="no_arguments"),
    ask("no/such/method", x=[1, 1.5, 1e-7, -0.0, 12345678901234567890, None, UNUSUAL]),
    ask("tools/list", cursor="nowhere"),
]


def _lists() -> Iterator[Step]:
    for what in ("tools", "resources", "resources/templates", "prompts"):
        yield ask(f"{what}/list")


def _time(world: Path) -> list[Step]:
    return [
        *_lists(),
        call("get_current_time", timezone="Europe/Berlin"),
        call("convert_time", source_timezone="UTC", time="12:30", target_timezone="Asia/Tokyo"),
        call("convert_time", source_timezone=UNUSUAL, time="12:30", target_timezone="Asia/Tokyo"),
        call("convert_time", source_timezone="UTC"),
    ]


def _git(world: Path) -> list[Step]:
    def at(tool: str, **arguments: Any) -> Step:
        return call(f"git_{tool}", repo_path=str(world), **arguments)

    return [
        *_lists(),
        at("status"),
        at("diff_unstaged"),
        at("add", files=["notes.txt"]),
        at("diff_staged", context_lines=1),
        at("reset"),
        at("add", files=["new.txt"]),
        at("commit", message=UNUSUAL),
        at("log", max_count=5),
        at("create_branch", branch_name="other", base_branch="main"),
        at("checkout", branch_name="other"),
        at("branch", branch_type="all"),
        at("show", revision="HEAD"),
        at("diff", target="HEAD~1"),
        at("checkout", branch_name="nowhere"),
        call("git_status", repo_path="/nonexistent"),
    ]


def _sqlite(world: Path) -> list[Step]:
    return [
        *_lists(),
        call("create_table", query="CREATE TABLE items (name TEXT)"),
        call("write_query", query=f"INSERT INTO items VALUES ('{UNUSUAL}')"),
        call("read_query", query="SELECT * FROM items"),
        call("write_query", query="SELECT 1"),
        call("read_query", query="SELECT * FROM nowhere"),
        call("list_tables"),
        call("describe_table", table_name="items"),
        call("append_insight", insight="Orders grow."),
        ask("resources/read", uri="memo://insights"),
        ask("resources/read", uri="memo://nowhere"),
        ask("prompts/get", name="mcp-demo", arguments={"topic": UNUSUAL}),
        ask("prompts/get", name="nowhere"),
    ]


def _filesystem(world: Path) -> list[Step]:
    def at(place: str) -> str:
        return str(world / place)

    edits = [{"oldText": "two", "newText": "zwei"}]
    return [
        Step("hear", "roots/list"),
        ask("ping"),
        ask("tools/list"),
        call("list_allowed_directories"),
        call("read_file", path=at("notes.txt")),
        call("read_text_file", path=at("sub/größe.md")),
        call("read_text_file", path=at("notes.txt"), head=2),
        call("read_media_file", path=at("dot.png")),
        call("read_multiple_files", paths=[at("notes.txt"), at("nowhere")]),
        call("write_file", path=at("written.txt"), content=UNUSUAL),
        call("edit_file", path=at("notes.txt"), edits=edits, dryRun=True),
        call("edit_file", path=at("notes.txt"), edits=edits),
        call("create_directory", path=at("made")),
        call("list_directory", path=at("")),
        call("list_directory_with_sizes", path=at(""), sortBy="size"),
        call("directory_tree", path=at("")),
        call("move_file", source=at("written.txt"), destination=at("made/moved.txt")),
        call("search_files", path=at(""), pattern="**/*.txt"),
        call("get_file_info", path=at("notes.txt")),
        call("read_text_file", path="/etc/hostname"),
        call("read_text_file", path=7),
    ]


def _everything(world: Path) -> list[Step]:
    text, document = "demo://resource/dynamic/text/1", "demo://resource/static/document/features.md"
    prompt = {"type": "ref/prompt", "name": "completable-prompt"}
    template = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    slow = {"name": "trigger-long-running-operation", "arguments": {"duration": 0.2, "steps": 4}}
    never = {"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 1}}
    research = {"name": "simulate-research-query", "arguments": {"topic": UNUSUAL}, "task": {"ttl": 60000}}
    return [
        Step("hear", "Roots updated"),
        *_lists(),
        call("echo", message=UNUSUAL),
        call("get-annotated-message", messageType="error", includeImage=True),
        call("get-env"),
        call("get-resource-links", count=3),
        call("get-resource-reference", resourceType="Blob", resourceId=2),
        call("get-structured-content", location="Chicago"),
        call("get-sum", a=1.5, b=12345678901234567),
        call("get-sum", a="one", b=2),
        call("get-tiny-image"),
        call("gzip-file-as-resource", name="x.gz", data=DATA),
        ask("resources/read", uri="demo://resource/session/x.gz"),
        call("gzip-file-as-resource", name="x.gz", data=DATA, outputType="resource"),
        call("get-roots-list"),
        Step("request", "tools/call", {**slow, "_meta": {"progressToken": "token-é"}}),
        Step("request", "tools/call", {**slow, "_meta": {"progressToken": 7}}),
        Step("begin", "tools/call", never),
        Step("notify", "notifications/cancelled", {"requestId": LATEST, "reason": "not wanted"}),
        call("trigger-sampling-request", prompt="Say something", maxTokens=10),
        call("trigger-sampling-request-async", prompt="Say something"),
        call("trigger-elicitation-request"),
        call("trigger-elicitation-request-async"),
        call("trigger-url-elicitation", url="https://a.example/", elicitationId="e-1"),
        call("trigger-url-elicitation", url="https://a.example/", elicitationId="e-2", errorPath=True),
        Step("request", "tools/call", research),
        ask("tasks/get", taskId=TASK),
        ask("tasks/result", taskId=TASK),
        ask("tasks/list"),
        *(ask("logging/setLevel", level=level) for level in ("emergency", "nonsense", "debug")),
        call("toggle-simulated-logging"),
        call("toggle-simulated-logging"),
        ask("resources/subscribe", uri=document),
        call("toggle-subscriber-updates"),
        call("toggle-subscriber-updates"),
        ask("resources/unsubscribe", uri=document),
        *(
            ask("resources/read", uri=uri)
            for uri in (text, text.replace("text", "blob"), document, "demo://nowhere")
        ),
        ask("prompts/get", name="simple-prompt"),
        ask("prompts/get", name="args-prompt", arguments={"city": UNUSUAL, "state": "Texas"}),
        ask("prompts/get", name="resource-prompt", arguments={"resourceType": "Text", "resourceId": "3"}),
        ask("prompts/get", name="args-prompt"),
        ask("completion/complete", ref=prompt, argument={"name": "department", "value": "S"}),
        ask(
            "completion/complete",
            ref=prompt,
            argument={"name": "name", "value": ""},
            context={"arguments": {"department": "Sales"}},
        ),
        ask("completion/complete", ref=template, argument={"name": "resourceId", "value": "4"}),
    ]


_SCRIPTS: dict[str, Callable[[Path], list[Step]]] = {
    "time": _time,
    "git": _git,
    "sqlite": _sqlite,
    "filesystem": _filesystem,
    "everything": _everything,
}
