"""An SDK that listens, for the tests of spans and metrics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from listening import Heard, listening

from ascend_guard.telemetry.content import CAPTURE_CONTENT


@pytest.fixture(autouse=True)
def _no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CAPTURE_CONTENT, raising=False)


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Spans and metrics of the test."""
    with listening() as heard:
        yield heard
