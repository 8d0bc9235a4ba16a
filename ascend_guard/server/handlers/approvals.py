"""People's decisions. An agent cannot approve itself: these endpoints accept only people who signed in."""

from __future__ import annotations

from ascend_guard.api.approvals import ApprovalBody, ApproveBody, ClearBody, DecidedAnswer, DenyBody
from ascend_guard.engine.approve import approve, deny
from ascend_guard.engine.approvers import Approver, people
from ascend_guard.engine.claim import known
from ascend_guard.engine.denials import clear
from ascend_guard.engine.intake import waits_to_be_told
from ascend_guard.errors import AscendError, AuthorizationDeniedError
from ascend_guard.model import ActionResult, iso
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Caller, Handler, Request
from ascend_guard.store.port import ActionRow, Transaction

from .actions import told, visible
from .decisions import approval_body

_MAY_DECIDE = ("approver", "admin")


async def approved(request: Request[ApproveBody, None]) -> DecidedAnswer:
    """Approve an action, as one person."""
    _require_approver(request.caller)
    body, caller = request.body, request.caller
    comment = _comment(body.comments, body.comment)

    def work(tx: Transaction) -> tuple[ActionResult | AscendError, ActionRow, int]:
        row = known(tx, request.organization, request.path["action_id"])
        result = approve(tx, row, _who(caller), comment, body.arguments, request.services.policy, None)
        return result, row, len(people(tx.approvals(row.organization, row.id)))

    result, row, so_far = await request.write(work)
    if isinstance(result, AscendError):
        raise result
    done = result.is_approved()
    return DecidedAnswer(
        str(row.id),
        result.status.value,
        approved_by=row.decided_by if done else caller.name,
        approved_at=iso(row.decided_at if done and row.decided_at else request.services.clock()),
        comments=comment,
        reason=result.reason,
        approvals=so_far,
        quorum=row.quorum or 1,
    )


async def denied(request: Request[DenyBody, None]) -> DecidedAnswer:
    """Deny an action, as one person. One denial decides."""
    _require_approver(request.caller)
    body, caller = request.body, request.caller
    comment = _comment(body.comments, body.comment, body.reason)

    def work(tx: Transaction) -> tuple[ActionResult | AscendError, ActionRow]:
        row = known(tx, request.organization, request.path["action_id"])
        return deny(tx, row, _who(caller), comment), row

    result, row = await request.write(work)
    if isinstance(result, AscendError):
        raise result
    return DecidedAnswer(
        str(row.id),
        result.status.value,
        denied_by=caller.name,
        denied_at=iso(row.decided_at or request.services.clock()),
        comments=comment,
        reason=result.reason,
        quorum=row.quorum or 1,
    )


async def denial_cleared(request: Request[ClearBody, None]) -> DecidedAnswer:
    """Clear a person's denial."""
    _require_approver(request.caller)
    body, caller = request.body, request.caller
    comment = _comment(body.comments, body.comment)

    def work(tx: Transaction) -> ActionRow:
        row = known(tx, request.organization, request.path["action_id"])
        clear(tx, row, caller.name, comment)
        return row

    row = await request.write(work)
    return DecidedAnswer(
        str(row.id),
        row.status,
        denied_by=row.decided_by,
        comments=comment,
        reason=f"{caller.name} cleared this denial. The same call now requests approval again.",
        quorum=row.quorum or 1,
    )


async def approval(request: Request[None, None]) -> ApprovalBody:
    """Return the state of an approval; it has its action's identifier."""
    row = await visible(request, "approval_id")
    if waits_to_be_told(row) and not request.caller.person:
        row = await told(request, row)
    return await request.read(lambda reader: approval_body(reader, row))


def _who(caller: Caller) -> Approver:
    return Approver(caller.name, caller.groups, caller.issuer, caller.subject)


def _require_approver(caller: Caller) -> None:
    if caller.role not in _MAY_DECIDE:
        raise AuthorizationDeniedError(
            f"Your role is {caller.role}; deciding needs approver or admin. Ask an administrator for the role."
        )


def _comment(*texts: str | None) -> str | None:
    """Join a person's comments from all field names, so that none is lost."""
    said = "\n".join(dict.fromkeys(text for text in texts if text))
    return scrub(said) if said else None


HANDLERS: dict[str, Handler] = {
    "approve_action": approved,
    "deny_action": denied,
    "clear_denial": denial_cleared,
    "get_approval": approval,
}
