"""Wire types of the output filter, alerts and resource classifications."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from .endpoint import Cursor, Limit, Offset, Text
from .oversight import Level
from .registry import Many, Names, Number, Plain

Object = dict[str, Any]


class FilterBody(Struct, kw_only=True):
    """How output is filtered: ``block_severity`` and worse hold it back whole, what is below is taken out of it."""

    enabled: bool = True
    categories: Annotated[list[Literal["secret", "pci", "pii"]], Meta(min_length=1, max_length=16)] = field(
        default_factory=lambda: ["secret", "pci", "pii"]
    )
    block_severity: Level = "critical"


class FilterConfig(FilterBody, kw_only=True, forbid_unknown_fields=True):
    """How output is to be filtered from now on."""


class ScanBody(Struct, omit_defaults=True):
    """An output to look through."""

    content: Annotated[str, Meta(max_length=262_144)]
    agent_id: Plain
    action_id: Number | None = None


class FindingBody(Struct, kw_only=True):
    """That something sensitive was there, never what. Positions are (start, stop) in characters of the output."""

    type: str
    category: str
    severity: str
    count: int
    position: int
    positions: list[tuple[int, int]]


class ScanAnswer(Struct, kw_only=True):
    """What came of a scan. ``filtered_content`` is what may go out: null when the output is blocked."""

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
    """A finding and the scan it is of."""

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


class AlertsQuery(Struct, kw_only=True):
    """Which alerts to list."""

    type: str | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    acknowledged: bool | None = None
    cursor: Cursor | None = None


class AlertBody(Struct, kw_only=True):
    """Something in the audit trail that somebody should look at; ``id`` is its record's number."""

    id: str
    alert_id: str
    type: str
    alert_type: str
    severity: str
    event: str
    message: str
    actor: str
    agent_id: str | None
    action_id: str | None
    timestamp: str
    created_at: str
    acknowledged: bool
    acknowledged_by: str | None


class Alerts(Struct, kw_only=True):
    """Alerts, newest first."""

    total: int
    alerts: list[AlertBody]
    has_more: bool = False
    next_cursor: str | None = None


class ClassificationRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """How sensitive a resource is."""

    resource_type: Plain
    resource_id: Plain
    sensitivity_level: Text
    compliance_tags: Names = field(default_factory=list)
    metadata: Object = field(default_factory=dict)


class ClassificationBody(Struct, kw_only=True):
    """How sensitive a resource is."""

    id: int
    resource_type: str
    resource_id: str
    sensitivity_level: str
    compliance_tags: list[str]
    metadata: Object
    updated_at: str


class ClassificationAnswer(Struct, kw_only=True):
    """A classification as it is after a change."""

    success: bool = True
    message: str = ""
    classification: ClassificationBody


class ClassificationsQuery(Struct, kw_only=True):
    """Of which kind of resource; all of them when left out."""

    resource_type: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    cursor: Cursor | None = None


class Classifications(Struct):
    """Classified resources, oldest first."""

    classifications: list[ClassificationBody]
    has_more: bool = False
    next_cursor: str | None = None
