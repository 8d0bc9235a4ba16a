"""The documents keep to plain words: each of these was replaced once, and has an ordinary one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

INSTEAD = {
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\bwhoever\b": "everyone who, the person who",
    r"\bshall\b": "must, will",
    r"\bturnstile": "fair lock",
    r"\bbur(y|ies|ied)\b": "reap",
    r"\bparked\b(?!`)": "detached",
    r"\bfaces\b": "entry points",
    r"\ba (yes|no)\b": "an approval, a denial",
    r"\b(take|takes|taken|taking) (it |an action |the action )?up\b": "resume",
    r"\bwhat (became|becomes|came) of\b": "the outcome",
    r"\bthat is all\b": "only this",
    r"\btold anew\b": "repeated",
    r"\bfor it is\b": "because it is",
    r"\bbelieve nothing\b": "do not trust",
    r"\btidying\b": "housekeeping",
    r"\bdesks?\b": "endpoint",
}
"""The word, and what to write."""

GENERATED = re.compile(r"<!-- ([^:>]+): written by .*?<!-- end of \1 -->", re.S)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_in_plain_words(page: Path) -> None:
    """In the text that people wrote: code and generated tables have their own homes."""
    text = CODE.sub("`code`", GENERATED.sub("", page.read_text()))
    found = {
        match[0]: instead
        for word, instead in INSTEAD.items()
        for match in re.finditer(word, text, re.IGNORECASE)
    }
    assert found == {}
