"""The endpoints of the output filter: its configuration, scans and findings."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal

from ascend_guard.api.output_filter import (
    FilterBody,
    FilterConfig,
    FindingBody,
    FindingsPage,
    FindingsQuery,
    KeptFinding,
    ScanAnswer,
    ScanBody,
)
from ascend_guard.engine.registry import output_filter
from ascend_guard.engine.registry.output_filter import Filter, Finding, Scan, Scanned
from ascend_guard.engine.registry.records import Entry
from ascend_guard.engine.registry.sensitive import Category
from ascend_guard.errors import NotFoundError
from ascend_guard.model import RiskLevel, iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import Gathered, behind_both, gather, page
from ascend_guard.store.port import Reader

from .registered import number, require_own

_log = logging.getLogger("ascend_guard")


async def config(request: Request[None, None]) -> FilterBody:
    """Get the configuration."""
    return _config(await request.read(lambda reader: output_filter.configured(reader, request.organization)))


async def configure(request: Request[FilterConfig, None]) -> FilterBody:
    """Set the configuration."""
    body, by = request.body, request.caller.name
    categories = list(dict.fromkeys(Category(category) for category in body.categories))
    chosen = Filter(body.enabled, categories, RiskLevel(body.block_severity))
    return _config(
        await request.write(lambda tx: output_filter.configure(tx, request.organization, chosen, by))
    )


async def scan(request: Request[ScanBody, None]) -> ScanAnswer:
    """Scan an output. Any failure blocks it (published SDK: "fail-secure")."""
    body, caller, organization = request.body, request.caller, request.organization
    require_own(caller, body.agent_id)
    scan_id = str(uuid.uuid4())
    try:
        chosen = await request.read(lambda reader: output_filter.configured(reader, organization))
        found = await asyncio.to_thread(output_filter.scan, body.content, chosen)
        await request.write(
            lambda tx: output_filter.keep(
                tx,
                organization,
                scan_id,
                found,
                caller.name,
                agent_id=body.agent_id,
                action_id=body.action_id,
                own=caller.agent_id,
            )
        )
    except NotFoundError:  # of the action that the body names
        raise
    except Exception as error:
        # Without its message, which may quote the output.
        _log.error("A scan of output failed (%s); the output is blocked", type(error).__name__)
        return _answer(body, scan_id, Scan([], True, None), failed=True)
    return _answer(body, scan_id, found)


async def findings(request: Request[None, FindingsQuery]) -> FindingsPage:
    """List findings. A key made for an agent sees its own."""
    return await _findings(request, lambda _: True)


async def findings_of_action(request: Request[None, FindingsQuery]) -> FindingsPage:
    """List the findings in one action's output."""
    action_id, own = number(request.path["action_id"], "action"), request.caller.agent_id
    await request.read(
        lambda reader: output_filter.require_action(reader, request.organization, action_id, own)
    )
    return await _findings(request, lambda scanned: scanned.action_id == action_id)


async def _findings(request: Request[None, FindingsQuery], of: Callable[[Scanned], bool]) -> FindingsPage:
    query, own = request.query, request.caller.agent_id

    def fits(scanned: Scanned, finding: Finding) -> bool:
        return (
            own in (None, scanned.agent_id)
            and query.category in (None, finding.category)
            and query.severity in (None, finding.severity)
            and of(scanned)
        )

    first = behind_both(query.cursor)

    def look(reader: Reader) -> Gathered[_Row, KeptFinding]:
        return gather(
            _numbered(output_filter.kept(reader, request.organization, fits)),
            lambda row: _kept(row[2], row[3]),
            query.limit,
            offset=query.offset,
            after=lambda row: first is None or (row[0], first[1]) < (first[0], row[1]),
        )

    found = await request.read(look)
    last = None if found.last is None else f"{found.last[0]}.{found.last[1]}"
    about = page(found.total, len(found.shown), query.limit, query.offset, last)
    return FindingsPage(findings=found.shown, **about)


_Row = tuple[int, int, Entry[Scanned], Finding]
"""The scan's number, in falling order; the finding's place among those of the scan that match; the scan; the finding."""


def _numbered(found: list[tuple[Entry[Scanned], Finding]]) -> Iterator[_Row]:
    place, last = 0, 0
    for entry, finding in found:
        place = place + 1 if entry.number == last else 0
        last = entry.number
        yield entry.number, place, entry, finding


def _config(chosen: Filter) -> FilterBody:
    return FilterBody(
        enabled=chosen.enabled,
        categories=[category.value for category in chosen.categories],
        block_severity=chosen.block_severity.value,
    )


def _answer(body: ScanBody, scan_id: str, found: Scan, *, failed: bool = False) -> ScanAnswer:
    reason = None
    if failed:
        reason = "The scan failed, so the output is blocked. Try again."
    elif found.blocked:
        reason = "The output contains data that must not be sent."
    return ScanAnswer(
        success=not failed,
        scan_id=scan_id,
        status=_status(found),
        blocked=found.blocked,
        reason=reason,
        agent_id=body.agent_id,
        action_id=body.action_id,
        findings_count=sum(finding.count for finding in found.findings),
        findings=[FindingBody(**_fields(finding)) for finding in found.findings],
        filtered_content=found.content,
    )


def _status(found: Scan) -> Literal["clean", "redacted", "blocked", "disabled"]:
    if found.blocked:
        return "blocked"
    if not found.looked:
        return "disabled"
    return "redacted" if found.findings else "clean"


def _kept(entry: Entry[Scanned], finding: Finding) -> KeptFinding:
    return KeptFinding(
        id=f"{entry.name}:{finding.kind}",
        scan_id=entry.name,
        agent_id=entry.value.agent_id,
        action_id=entry.value.action_id,
        blocked=entry.value.blocked,
        created_at=iso(entry.created_at),
        **_fields(finding),
    )


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "type": finding.kind.value,
        "category": finding.category.value,
        "severity": finding.severity.value,
        "count": finding.count,
        "position": finding.positions[0][0],
        "positions": finding.positions,
    }


HANDLERS: dict[str, Handler] = {
    "get_output_filter_config": config,
    "set_output_filter_config": configure,
    "scan_output": scan,
    "list_findings": findings,
    "list_action_findings": findings_of_action,
}
