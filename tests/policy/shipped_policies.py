"""Every policy that the package, its examples and its documents show, and the calls that each is meant to allow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from attacks import Allowed

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^```ya?ml\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FOLDERS = ("ascend_guard", "integrations", "examples", "docs", "benchmarks")


def shipped() -> dict[str, str]:
    """The text of each, by its file and its number in there. A fragment is made a whole policy."""
    found: dict[str, str] = {}
    for path in sorted(_files()):
        for number, text in enumerate(_policies(path), 1):
            found[f"{path.relative_to(ROOT).as_posix()}#{number}"] = text
    return found


def _files() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in _FOLDERS:
        for ending in ("md", "py", "yaml", "yml"):
            yield from (ROOT / folder).rglob(f"*.{ending}")


def _policies(path: Path) -> Iterator[str]:
    text = path.read_text("utf-8")
    if "effect:" not in text:
        return
    if path.suffix == ".md":
        blocks = [block for block in _FENCED.findall(text) if "effect:" in block]
        yield from (
            block if "version:" in block else f"version: 1\nrules:\n{indent(block, '  ')}" for block in blocks
        )
    elif path.suffix == ".py":
        constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        yield from (value for value in constants if isinstance(value, str) and value.startswith("version: 1"))
    else:
        yield text


_ORDER = {"order_id": "A-17", "amount": 40}
_NUMBERED = {"order_id": "7731", "amount": 12.5}
_UP_TO_500, _UP_TO_100 = {"amount": 500}, {"amount": 100}
_MAIL = {"to": "ann@example.com", "subject": "Your refund", "body": "It is on its way."}

ALLOWED: dict[str, tuple[Allowed, ...]] = {
    "ascend_guard/engine/starter_policy.yaml#1": (
        Allowed("order-lookups", "database_read", "orders", {"order_id": "A-17"}),
        Allowed("small-refunds", "refund", "billing", _ORDER, most=_UP_TO_500),
        Allowed("mail-to-colleagues", "email_send", "mailer", _MAIL, free=("body",), optional=("subject",)),
    ),
    "ascend_guard/cli/demo/demo_tools.py#1": (
        Allowed("customers", "database_read", "shop-database", {"customer_id": "C-0104"}),
        Allowed("inbox", "file_read", "filesystem", {"name": "lund.txt"}),
        Allowed(
            "tickets",
            "ticket_resolve",
            "helpdesk",
            {"ticket": "T-21", "customer_id": "C-0321", **_NUMBERED},
            most=_UP_TO_500,
        ),
        Allowed("exports", "file_write", "filesystem", {"name": "customers.csv"}),
        Allowed("small-refunds", "refund", "payments", _NUMBERED, most=_UP_TO_500),
    ),
    "docs/policies.md#1": (Allowed("small-refunds", "refund", "billing", _ORDER, most=_UP_TO_500),),
    "docs/policies.md#2": (),
    "examples/agents_and_interrupts.py#1": (
        Allowed(
            "hand-over",
            "langchain.ask_payments",
            "ask_payments",
            {"task": "Pay invoice R-12."},
            free=("task",),
        ),
    ),
    "examples/langchain_agent.py#1": (
        Allowed("look-ups", "langchain.find_order", "find_order", {"order_id": "7731"}),
        Allowed("small-refunds", "refund", "refund", _NUMBERED, most=_UP_TO_100),
    ),
    "examples/mcp_proxy.py#1": (
        Allowed("looking", "git.git_status", "git_status", {"repo_path": "/srv/notes"}),
        Allowed("staging", "git.git_add", "git_add", {"repo_path": "/srv/notes", "files": ["notes.txt"]}),
    ),
    "examples/mcp_server.py#1": (Allowed("reading", "orders.find", "find", {"order_id": "7731"}),),
    "examples/over_http.py#1": (Allowed("small-refunds", "refund", "billing", _ORDER, most=_UP_TO_100),),
    "examples/quickstart.py#1": (Allowed("small-refunds", "refund", "refund", _NUMBERED, most=_UP_TO_100),),
    "examples/streaming_and_async.py#1": (
        Allowed(
            "reports", "file_read", "read_pages", {"name": "report.pdf", "pages": 3}, most={"pages": 1000}
        ),
        Allowed(
            "drafts",
            "file_write",
            "drafts",
            {"text": "Dear Mira"},
            free=("text",),
            resource="drafts/reply.txt",
        ),
    ),
    "examples/telemetry.py#1": (
        Allowed("cancellations", "order_cancel", "orders", _NUMBERED, most={"amount": 1000}),
        Allowed("small-refunds", "refund", "payments", _NUMBERED, most=_UP_TO_100),
    ),
}
"""The calls that each policy is meant to allow: at least one for each of its rules that allow."""
