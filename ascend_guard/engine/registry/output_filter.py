"""The output filter: what an agent is about to say is looked through, and sensitive data taken out of it or held back."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from ascend_guard.errors import NotFoundError
from ascend_guard.model import RiskLevel
from ascend_guard.store.port import Reader, Transaction

from .records import Entry, Records
from .sensitive import KINDS, Category, Kind, Span, spans

SHOWN = 100
"""Positions of one kind that a finding names."""

_SEVERITIES = list(RiskLevel)


class Filter(Struct, frozen=True):
    """How an organization's output is filtered.

    Args:
        enabled: whether anything is looked for.
        categories: what is looked for.
        block_severity: from here on a finding holds the whole output back; what is below is taken out of it.
    """

    enabled: bool = True
    categories: list[Category] = field(default_factory=lambda: list(Category))
    block_severity: RiskLevel = RiskLevel.CRITICAL


class Finding(Struct, frozen=True):
    """That something sensitive was there; never what it was.

    Args:
        kind: what exactly.
        category: what kind of data.
        severity: how bad it is that it was there.
        count: how many there were.
        positions: (start, stop) of the first of them, in characters of the output.
    """

    kind: Kind
    category: Category
    severity: RiskLevel
    count: int
    positions: list[tuple[int, int]]


class Scan(Struct, frozen=True):
    """What came of looking through an output.

    Args:
        findings: the worst first.
        blocked: nothing of it may go out.
        content: what may go out; None when it is blocked.
        looked: whether it was looked through at all.
    """

    findings: list[Finding]
    blocked: bool
    content: str | None
    looked: bool = True


class Scanned(Struct, frozen=True):
    """A scan as it is kept: without any of the text."""

    agent_id: str
    action_id: int | None
    blocked: bool
    findings: list[Finding]


_FILTERS = Records("output_filter", Filter, "output filter")
SCANS = Records("output_scan", Scanned, "scan")
_NAME = "config"


def configured(reader: Reader, organization: str) -> Filter:
    """How the organization's output is filtered; everything is looked for when nobody said."""
    found = _FILTERS.find(reader, organization, _NAME)
    return Filter() if found is None else found.value


def configure(tx: Transaction, organization: str, chosen: Filter, by: str) -> Filter:
    """Say how output is filtered."""
    _FILTERS.put(tx, organization, _NAME, chosen)
    tx.record("OUTPUT_FILTER_CONFIGURED", organization=organization, actor=by, filter=chosen)
    return chosen


def scan(content: str, chosen: Filter) -> Scan:
    """Look through a text."""
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
    """Keep that an output was looked through and what was in it; the oldest of ten thousand gives way.

    Args:
        agent_id: whose output it was.
        action_id: the action it came of.
        own: the only agent whose actions the caller may name.

    Raises:
        NotFoundError: there is no such action.
    """
    if action_id is not None:
        require_action(tx, organization, action_id, own)
    if found.findings:
        SCANS.make_room(tx, organization)
        SCANS.keep(tx, organization, scan_id, Scanned(agent_id, action_id, found.blocked, found.findings))
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
    """Raises ``NotFoundError`` when there is no such action, or it is not this agent's."""
    row = reader.action(organization, action_id)
    if row is None or own not in (None, row.agent_id):
        raise NotFoundError(f"There is no action {action_id}.")


def kept(
    reader: Reader, organization: str, fits: Callable[[Scanned, Finding], bool]
) -> list[tuple[Entry[Scanned], Finding]]:
    """Findings that fit, newest first."""
    return [
        (entry, finding)
        for entry in reversed(list(SCANS.all(reader, organization)))
        for finding in entry.value.findings
        if fits(entry.value, finding)
    ]
