"""What the documentation and the example say is so, and everything there is, is said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from listening import Heard, Script

from ascend_guard import AscendError, governed
from ascend_guard.telemetry import attribute_names, content

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text()


def test_every_attribute_is_documented() -> None:
    """By its full name."""
    attributes = [value for name, value in vars(attribute_names).items() if name.isupper() and "." in value]
    assert len(attributes) > 15
    assert [name for name in attributes if f"`{name}" not in PAGE] == []
    assert content.CAPTURE_CONTENT in PAGE


def test_every_span_and_metric_is_documented(heard: Heard) -> None:
    """Those that calls of all kinds make, and none besides."""
    for script in ("held-approved", "killed", "denied"):
        try:
            governed("act", "{tool}", control_plane=Script({"{tool}": script}))(lambda: None)()
        except AscendError:
            pass
    made = {span.name for span in heard.spans()} | {metric.name for metric in heard.all_metrics()}
    spans, metrics = (
        PAGE.partition(f"## {title}")[2].partition("\n## ")[0] for title in ("Spans", "Metrics")
    )
    documented = set(
        re.findall(r"^\| `([^`]+)` \| [^|]", spans.partition("| attribute")[0] + metrics, re.MULTILINE)
    )
    assert documented == made


def test_the_code_on_the_page_runs() -> None:
    """Every Python block, in a process of its own."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], check=True, capture_output=True, timeout=60)


def test_the_example_runs_and_shows_what_it_promises() -> None:
    """One line for each span, children first, and no argument on any."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "telemetry.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "execute_tool" in line and " in " in line]
    assert [re.sub(r".* (payments|orders) .*decision=(\w+).*", r"\1 \2", line) for line in lines] == [
        "payments approved",
        "orders approved",
        "payments denied",
        "orders approved",
    ]
    assert "ascend.decisions" in done.stdout
    for argument in ("7731", "7764", "940"):
        assert not any(argument in line for line in lines)
