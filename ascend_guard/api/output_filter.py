"""The output filter: its configuration, scans and findings."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from .endpoint import Access, Endpoint
from .fields import Cursor, Level, Limit, Many, Number, Offset, Plain


class FilterBody(Struct, kw_only=True):
    """How output is filtered. Findings of ``block_severity`` and above block the output; others are redacted in it."""

    enabled: bool = True
    categories: Annotated[list[Literal["secret", "pci", "pii"]], Meta(min_length=1, max_length=16)] = field(
        default_factory=lambda: ["secret", "pci", "pii"]
    )
    block_severity: Level = "critical"


class FilterConfig(FilterBody, kw_only=True, forbid_unknown_fields=True):
    """A new configuration of the output filter."""


class ScanBody(Struct, omit_defaults=True):
    """An output to scan."""

    content: Annotated[str, Meta(max_length=262_144)]
    agent_id: Plain
    action_id: Number | None = None


class FindingBody(Struct, kw_only=True):
    """Sensitive data was found; its content is never shown. Positions are (start, stop) in characters of the output."""

    type: str
    category: str
    severity: str
    count: int
    position: int
    positions: list[tuple[int, int]]


class ScanAnswer(Struct, kw_only=True):
    """The result of a scan. ``filtered_content`` is what may be sent: null when the output is blocked."""

    success: bool
    scan_id: str
    status: Literal["clean", "redacted", "blocked", "disabled"]
    blocked: bool
    reason: str | None
    agent_id: str
    action_id: int | None
    findings_count: int
    findings: list[FindingBody]
    filtered_content: str | None


class KeptFinding(FindingBody, kw_only=True):
    """A finding with its scan."""

    id: str
    scan_id: str
    agent_id: str
    action_id: int | None
    blocked: bool
    created_at: str


class FindingsQuery(Struct, kw_only=True):
    """Which findings to list."""

    limit: Limit = 50
    offset: Offset = 0
    cursor: Cursor | None = None
    category: str | None = None
    severity: str | None = None


class FindingsPage(Many, kw_only=True):
    """Findings, newest first."""

    findings: list[KeptFinding]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "get_output_filter_config", "GET", "/api/v1/output-filter/config", FilterBody,
        summary="Get the output filter's configuration.",
    ),
    Endpoint(
        "set_output_filter_config", "PUT", "/api/v1/output-filter/config", FilterBody,
        FilterConfig, access=Access.ADMIN, summary="Set the output filter's configuration.",
    ),
    Endpoint(
        "scan_output", "POST", "/api/v1/output-filter/scan", ScanAnswer, ScanBody,
        refuses=(403, 404), tolerant=True, summary="Scan an output. A scan that fails blocks it.",
    ),
    Endpoint(
        "list_findings", "GET", "/api/v1/output-filter/findings", FindingsPage,
        query=FindingsQuery, summary="List findings, newest first, without the data that was found.",
    ),
    Endpoint(
        "list_action_findings", "GET", "/api/v1/output-filter/findings/{action_id}", FindingsPage,
        query=FindingsQuery, refuses=(404,), summary="List the findings in an action's output.",
    ),
)  # fmt: skip
