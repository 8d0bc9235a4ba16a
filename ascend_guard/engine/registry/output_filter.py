"""The output filter: it scans an agent's output, and redacts sensitive data in it or blocks the output."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from ascend_guard.errors import NotFoundError
from ascend_guard.model import RiskLevel
from ascend_guard.store.port import Reader, Transaction

from .records import Entry, Logged, Unlogged
from .sensitive import KINDS, Category, Kind, Span, spans

SHOWN = 100
"""The most positions that a finding has."""

_SEVERITIES = list(RiskLevel)


class Filter(Struct, frozen=True):
    """How an organization's output is filtered.

    Args:
        enabled: whether output is scanned.
        categories: what is searched for.
        block_severity: a finding of this severity or above blocks the output; one below is redacted in it.
    """

    enabled: bool = True
    categories: list[Category] = field(default_factory=lambda: list(Category))
    block_severity: RiskLevel = RiskLevel.CRITICAL


class Finding(Struct, frozen=True):
    """Sensitive data of one kind was found. The data itself is never kept.

    Args:
        kind: the kind of data.
        category: the category of the kind.
        severity: the severity of the kind.
        count: how often it was found.
        positions: (start, stop) of the first ones, in characters of the output.
    """

    kind: Kind
    category: Category
    severity: RiskLevel
    count: int
    positions: list[tuple[int, int]]


class Scan(Struct, frozen=True):
    """The result of a scan.

    Args:
        findings: the most severe first.
        blocked: whether the output must not be sent.
        content: what may be sent; None when the output is blocked.
        looked: whether the output was scanned at all.
    """

    findings: list[Finding]
    blocked: bool
    content: str | None
    looked: bool = True


class Scanned(Struct, frozen=True):
    """A scan as it is stored: without the output."""

    agent_id: str
    action_id: int | None
    blocked: bool
    findings: list[Finding]


_FILTERS = Logged("output_filter", Filter, "output filter")
SCANS = Unlogged("output_scan", Scanned, "scan")
_NAME = "config"


def configured(reader: Reader, organization: str) -> Filter:
    """The organization's configuration. Without one, every category is searched for."""
    found = _FILTERS.find(reader, organization, _NAME)
    return Filter() if found is None else found.value


def configure(tx: Transaction, organization: str, chosen: Filter, by: str) -> Filter:
    """Store a configuration."""
    about = {"filter": chosen}
    return _FILTERS.write(tx, organization, _NAME, chosen, "OUTPUT_FILTER_CONFIGURED", by, about).value


def scan(content: str, chosen: Filter) -> Scan:
    """Scan a text."""
    if not chosen.enabled:
        return Scan([], False, content, looked=False)
    found = [span for span in spans(content) if KINDS[span.kind][0] in chosen.categories]
    findings = [_finding(kind, [span for span in found if span.kind is kind]) for kind in KINDS]
    findings = [finding for finding in findings if finding.count]
    findings.sort(key=lambda finding: -_SEVERITIES.index(finding.severity))
    limit = _SEVERITIES.index(chosen.block_severity)
    if any(_SEVERITIES.index(finding.severity) >= limit for finding in findings):
        return Scan(findings, True, None)
    return Scan(findings, False, _without(content, found))


def _finding(kind: Kind, found: list[Span]) -> Finding:
    category, severity = KINDS[kind]
    return Finding(kind, category, severity, len(found), [(span.start, span.stop) for span in found[:SHOWN]])


def _without(content: str, found: list[Span]) -> str:
    parts: list[str] = []
    clean = 0
    for span in found:
        if span.start >= clean:
            parts += (content[clean : span.start], f"[{span.kind.upper()} REDACTED]")
        clean = max(clean, span.stop)
    return "".join((*parts, content[clean:]))


def keep(
    tx: Transaction,
    organization: str,
    scan_id: str,
    found: Scan,
    by: str,
    *,
    agent_id: str,
    action_id: int | None,
    own: str | None,
) -> None:
    """Record a scan and store its findings. Above ``MOST`` scans the oldest is deleted.

    Args:
        agent_id: the agent with this output.
        action_id: the action with this output.
        own: the only agent whose actions the caller may name; None for all.

    Raises:
        NotFoundError: there is no such action.
    """
    if action_id is not None:
        require_action(tx, organization, action_id, own)
    if found.findings:
        SCANS.make_room(tx, organization)
        SCANS.put(tx, organization, scan_id, Scanned(agent_id, action_id, found.blocked, found.findings))
    event = "OUTPUT_SCANNED" if found.looked else "OUTPUT_NOT_SCANNED"
    tx.record(
        "OUTPUT_BLOCKED" if found.blocked else event,
        organization=organization,
        actor=by,
        action_id=action_id,
        agent_id=agent_id,
        findings={finding.kind: finding.count for finding in found.findings},
    )


def require_action(reader: Reader, organization: str, action_id: int, own: str | None) -> None:
    """Raises ``NotFoundError`` when there is no such action, or it is another agent's."""
    row = reader.action(organization, action_id)
    if row is None or own not in (None, row.agent_id):
        raise NotFoundError(f"There is no action {action_id}.")


def kept(
    reader: Reader, organization: str, fits: Callable[[Scanned, Finding], bool]
) -> list[tuple[Entry[Scanned], Finding]]:
    """Findings that match, newest first."""
    return [
        (entry, finding)
        for entry in reversed(list(SCANS.all(reader, organization)))
        for finding in entry.value.findings
        if fits(entry.value, finding)
    ]
