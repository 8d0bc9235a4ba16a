"""Decide pending actions: approve, deny, or expire at the deadline.

The rules:

1. Only a pending action can be decided, and a decision is final. An action whose deadline has passed is denied
   (promise 1).
2. A decision is valid for what the person saw. If the action changed since (arguments, resource, rule, quorum), the
   decision is refused (promise 2).
3. Approvals are counted by person, and each rule that asked must have its own approvers (``approvers``, promise 6).
4. Edited arguments keep the shape of the original, introduce no field, touch nothing redacted or excluded, are judged
   by the policy, and cancel the approvals of the unedited arguments (promises 2 and 8).
5. One person's denial decides at once, and stays in force for a time (``denials``).
6. Every decision is recorded with who made it, in the same transaction (promise 10).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ascend_guard.arguments import normalise
from ascend_guard.errors import (
    AscendError,
    AuthorizationDeniedError,
    ConflictError,
    ValidationError,
    remedies,
)
from ascend_guard.model import ActionResult, AgentAction
from ascend_guard.redaction import REDACTED
from ascend_guard.store.port import ActionRow, Approval, Reader, Transaction
from ascend_guard.store.projections import Given

from . import denials
from .approvers import Approver, asked, names, satisfied
from .liveness import API
from .policy import Policy, RuleEffect
from .results import encoded, pending_approvers, requirements_of, result_of
from .risk import assess

_BYTES = "$bytes"
_NUMBERS = frozenset(("$decimal", "$float", "$integer"))
"""Written forms of values that JSON cannot express, which an approver can use as well: ``{"$decimal": "1.10"}``."""


class AsItRuns(msgspec.Struct):
    """The part of an audit record that describes an edited call as the agent's process described it."""

    resource: str | None = None
    resource_id: str | None = None
    arguments: dict[str, Any] | None = None
    risk: dict[str, Any] | None = None


def as_it_runs(trail: Iterable[bytes]) -> AsItRuns | None:
    """Return the newest description of an edited call in an action's audit records; None if it runs as submitted."""
    found = None
    for body in trail:
        read = msgspec.json.decode(body, type=_Event)
        if read.event in ("started", "reopened") and read.arguments is not None:
            found = msgspec.json.decode(body, type=AsItRuns)
    return found


class _Event(msgspec.Struct):
    event: str
    arguments: dict[str, Any] | None = None


class Submitted(msgspec.Struct):
    """The part of a ``submitted`` audit record that contains the submitted call."""

    action: AgentAction
    approvers: list[str] = []
    errors: list[str] = []


def submitted(reader: Reader, row: ActionRow) -> Submitted:
    """Return the submitted call, from the audit trail."""
    for record in reader.trail(row.organization, row.id):
        if record.event == "submitted":
            return msgspec.json.decode(record.body, type=Submitted)
    raise ConflictError(f"The audit trail has no record of action {row.id}.", remedy=remedies.verify())


def approve(
    tx: Transaction,
    row: ActionRow,
    who: Approver,
    comment: str | None,
    edits: dict[str, Any] | None,
    policy: Policy | None,
    seen: ActionRow | None,
) -> ActionResult | AscendError:
    """Approve an action, as one person. It is approved when every rule that asked has as many approvals as it requires.

    Edited arguments are judged by the approver's policy here, and by the agent's, with the resource described again, when
    the call runs (``edited``). They cancel the approvals of the unedited arguments. A returned error belongs to a change
    that must be committed. ``approvers`` says who counts as one person.

    Raises:
        ConflictError: the action is already decided.
        AuthorizationDeniedError: no rule asks for a member of the person's groups.
        ValidationError: the edits name an unknown argument, or one that cannot be edited.
        AuthorizationDeniedError: the policy denies the edited arguments.
    """
    late = _require_pending(tx, row)
    if late is not None:
        return late
    _require_as_seen(row, seen)
    changed: dict[str, Any] = {}
    if edits:
        edits = _plain(row, edits)
        changed = _edit(tx, row, edits, policy)
    requirements = requirements_of(row)
    if not asked(who, requirements):
        raise AuthorizationDeniedError(
            f"Action {row.id} needs an approver from {', '.join(pending_approvers(row))}. Ask one of them.",
            action_id=str(row.id),
        )
    groups = None if who.groups is None else msgspec.json.encode(sorted(who.groups)).decode()
    approval = Approval(who.name, comment, tx.now, groups, who.identity)
    given = [approval] if edits else _with(tx.approvals(row.organization, row.id), approval)
    approvers = names(given)
    quorum = row.quorum or 1
    if len(approvers) < quorum or not satisfied(requirements, given):
        event = "approval"
    else:
        event = "approved"
        row.status, row.decided_at, row.decided_by = "approved", tx.now, ", ".join(approvers)
        row.expires_at = None if row.timeout is None else tx.now + row.timeout
        changed |= {
            "status": row.status,
            "decided_at": tx.now,
            "decided_by": row.decided_by,
            "expires_at": row.expires_at,
        }
    tx.record(
        event,
        organization=row.organization,
        actor=who.name,
        action_id=row.id,
        digest=row.digest,
        approvals=len(approvers),
        quorum=quorum,
        **who.recorded(),
        **({"comment": comment} if comment else {}),
        **({"edits": edits, "cleared": True} if edits else {}),
        given=Given(who.name, comment, groups, who.identity),
        **({"set": changed} if changed else {}),
    )
    return result_of(row)


def _with(given: list[Approval], approval: Approval) -> list[Approval]:
    """The approvals so far and this one, in place of an earlier one of the same name and identity."""
    same = approval.approver, approval.identity
    others = [other for other in given if (other.approver, other.identity) != same]
    return sorted([*others, approval], key=lambda one: (one.at, one.approver))


def _asked(row: ActionRow) -> tuple[object, ...]:
    """The fields that a person approves."""
    return row.id, row.digest, row.edits, row.resource, row.rule, row.quorum, row.requirements


def _require_as_seen(row: ActionRow, seen: ActionRow | None) -> None:
    if seen is not None and _asked(seen) != _asked(row):
        raise ConflictError(
            f"Action {row.id} was changed since you looked at it. Look again, then decide.",
            action_id=str(row.id),
        )


def deny(
    tx: Transaction, row: ActionRow, who: Approver, comment: str | None, seen: ActionRow | None = None
) -> ActionResult | AscendError:
    """Deny an action. One person's denial decides, and stays in force for a time (``denials``).

    Raises:
        ConflictError: it is already decided, or was changed since it was seen.
    """
    late = _require_pending(tx, row)
    if late is not None:
        return late
    _require_as_seen(row, seen)
    row.status, row.decided_at, row.decided_by = "denied", tx.now, who.name
    row.reason = f"{who.name} denied it: {comment}" if comment else f"{who.name} denied it."
    kept = denials.kept(tx, row)
    tx.record(
        "denied",
        organization=row.organization,
        actor=who.name,
        action_id=row.id,
        reason=row.reason,
        **who.recorded(),
        **({"comment": comment} if comment else {}),
        **({"put": kept} if kept else {}),
        set={
            "status": "denied",
            "decided_at": tx.now,
            "decided_by": who.name,
            "reason": row.reason,
            "expires_at": None,
        },
    )
    return result_of(row)


def expire(tx: Transaction, row: ActionRow) -> None:
    """Deny an action whose deadline has passed without a decision, or without the use of its approval. This is not a
    person's denial. In the first case the same call gets this answer once and then a new decision; in the second, a new
    decision."""
    lapsed = {} if row.status == "pending" else {"fingerprint": None}
    row.reason = (
        "No decision was made before the deadline."
        if row.status == "pending"
        else "The approval was not used in time."
    )
    row.status, row.expires_at = "denied", None
    row.decided_at = tx.now
    tx.record(
        "expired",
        organization=row.organization,
        actor="system",
        action_id=row.id,
        reason=row.reason,
        set={"status": "denied", "decided_at": tx.now, "reason": row.reason, "expires_at": None, **lapsed},
    )


def _require_pending(tx: Transaction, row: ActionRow) -> ConflictError | None:
    if row.status == "pending" and row.expires_at is not None and row.expires_at <= tx.now:
        expire(tx, row)
        return ConflictError(f"Action {row.id} is denied: {row.reason}", action_id=str(row.id))
    if row.status != "pending":
        by = f" by {row.decided_by}" if row.decided_by else ""
        raise ConflictError(
            f"Action {row.id} was {row.status}{by} already: {row.reason}",
            action_id=str(row.id),
            reason=row.reason,
        )
    return None


def _plain(row: ActionRow, edits: dict[str, Any]) -> dict[str, Any]:
    """Return an approver's values as plain JSON data, limited in size before any other code reads them."""
    try:
        seen = normalise(edits, key=b"")
    except (ValidationError, TypeError) as error:
        raise ValidationError(f"Action {row.id} cannot be edited like this: {error}") from None
    if seen.opaque or seen.secrets:
        raise ValidationError(
            f"Action {row.id} cannot be edited like this: {', '.join(seen.opaque) or 'a value'} is secret or not plain JSON "
            f"data."
        )
    plain: dict[str, Any] = _tags_kept(seen.plain)
    return plain


def _tags_kept(view: Any) -> Any:
    """Keep forms such as ``{"$bytes": "<base64>"}``, which approvers see and write. Reading turns them into other keys."""
    if isinstance(view, list):
        return [_tags_kept(item) for item in view]
    if not isinstance(view, dict):
        return view
    pairs = view.get("$map")
    if isinstance(pairs, list) and len(pairs) == 1:
        [(name, content)] = pairs
        if isinstance(name, str) and name in _NUMBERS | {_BYTES}:  # a key that is not text may be unhashable
            return {name: content}
    return {name: _tags_kept(item) for name, item in view.items()}


def _edit(tx: Transaction, row: ActionRow, edits: dict[str, Any], policy: Policy | None) -> dict[str, Any]:
    """Give an action the approver's values. Returns its new columns."""
    if row.waiter == API:
        raise ValidationError(
            f"Action {row.id} was submitted by a client that does not support edited arguments and would run the "
            f"original ones. Deny it and say what to change."
        )
    asked = submitted(tx, row).action
    for name, value in edits.items():
        if name in asked.excluded:
            raise ValidationError(
                f"Argument {name!r} of action {row.id} is excluded from the decision, so it cannot be edited. "
                f"Deny the action and say what to change."
            )
        if name not in asked.action_details:
            raise ValidationError(
                f"Action {row.id} has no argument {name!r}; it has {', '.join(asked.action_details) or 'none'}."
            )
        original = asked.action_details[name]
        keys, tags = _keys(original), _tags(original)
        if not _editable(original, keys, tags):
            raise ValidationError(
                f"Argument {name!r} of action {row.id} cannot be edited: its content is redacted, opaque or not plain "
                f"JSON, so an edited value would not be of its type. Deny the action and say why."
            )
        if not _editable(value, keys, tags):
            raise ValidationError(
                f"The edited {name!r} of action {row.id} is not plain JSON data with the same fields as the original. "
                f"Change values, not the shape."
            )
    if policy is None:
        raise ValidationError(
            "Edited arguments must be judged by the policy, and none is configured here. Set ASCEND_POLICY or pass --policy."
        )
    edits = (msgspec.json.decode(row.edits) if row.edits else {}) | edits
    edited = msgspec.structs.replace(asked, action_details=asked.action_details | edits)
    verdict = policy.decide(edited, assess(edited))
    if verdict.effect is RuleEffect.DENY:
        raise AuthorizationDeniedError(
            f"The policy denies action {row.id} with these arguments: {verdict.reason}",
            action_id=str(row.id),
            rule=verdict.rule,
            reason=verdict.reason,
        )
    if verdict.effect is RuleEffect.REQUIRE_APPROVAL:
        row.rule, row.quorum = verdict.rule, verdict.quorum
        row.requirements = encoded(verdict.requirements)
    row.edits = msgspec.json.encode(edits).decode()
    return {name: getattr(row, name) for name in ("edits", "rule", "quorum", "requirements")}


def _keys(value: Any) -> frozenset[str]:
    """Every field name in a value. An edit adds none: the call's declared redaction could not be applied to it."""
    if isinstance(value, dict):
        return frozenset(value).union(*map(_keys, value.values()))
    if isinstance(value, list):
        return frozenset().union(*map(_keys, value))
    return frozenset()


def _tags(value: Any) -> frozenset[str]:
    """The written forms that an edit may use: those in the original, and every form of a number if it has one."""
    if isinstance(value, dict):
        tag = _tag(value)
        return frozenset().union(*map(_tags, value.values())) if tag is None else frozenset((tag,))
    if isinstance(value, list):
        return frozenset().union(*map(_tags, value))
    return _NUMBERS if type(value) in (int, float) else frozenset()


def _tag(value: dict[str, Any]) -> str | None:
    name, content = next(iter(value.items())) if len(value) == 1 else (None, None)
    return name if name in _NUMBERS | {_BYTES} and isinstance(content, str) else None


def _editable(value: Any, keys: frozenset[str], tags: frozenset[str]) -> bool:
    """Return whether a value is plain JSON at all levels, or has a written form: nothing redacted, nothing unread."""
    if isinstance(value, dict):
        tag = _tag(value)
        if tag is not None:
            return tag in tags
        return all(
            key in keys and not key.startswith("$") and _editable(item, keys, tags)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return all(_editable(item, keys, tags) for item in value)
    return bool(value != REDACTED)
