"""The models of an organization, and which of them may be used."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from ascend_guard.store.port import Transaction

from .records import Entry, Shelf


class ComplianceStatus(StrEnum):
    """What the organization's review of a model came to."""

    APPROVED = "approved"
    PARTIALLY_APPROVED = "partially_approved"
    PENDING = "pending"
    DENIED = "denied"


COMPLIANT = (ComplianceStatus.APPROVED, ComplianceStatus.PARTIALLY_APPROVED)
"""SDK document, "Link a model": the states in which a model may be used."""


class Model(Struct, frozen=True):
    """A registered model.

    Args:
        model_name: for people.
        provider: who makes it.
        version: which one.
        description: for people.
        compliance_status: what the review came to.
        compliance_notes: why.
        metadata: whatever else was said, redacted.
        registered_by: who registered it.
    """

    model_name: str
    provider: str | None = None
    version: str | None = None
    description: str | None = None
    compliance_status: ComplianceStatus = ComplianceStatus.PENDING
    compliance_notes: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    registered_by: str = ""


MODELS = Shelf("model", Model, "model")


def register(tx: Transaction, organization: str, model_id: str, model: Model, by: str) -> Entry[Model]:
    """Register a model.

    Raises:
        ConflictError: it is registered already, or there are too many.
    """
    entry = MODELS.add(tx, organization, model_id, msgspec.structs.replace(model, registered_by=by))
    tx.record("MODEL_REGISTERED", organization=organization, actor=by, model_id=model_id, model=entry.value)
    return entry


def update(
    tx: Transaction, organization: str, model_id: str, changes: dict[str, Any], by: str
) -> Entry[Model]:
    """Change what is said of a model, its compliance above all.

    Raises:
        NotFoundError: there is no such model.
    """
    model = MODELS.pick(tx, organization, model_id)
    entry = MODELS.put(tx, organization, model.name, msgspec.structs.replace(model.value, **changes))
    tx.record("MODEL_UPDATED", organization=organization, actor=by, model_id=model.name, changes=changes)
    return entry


def remove(tx: Transaction, organization: str, model_id: str, by: str) -> None:
    """Forget a model. Agents that are linked to it are refused until they are linked to another one.

    Raises:
        NotFoundError: there is no such model.
    """
    model = MODELS.pick(tx, organization, model_id)
    MODELS.remove(tx, organization, model.name)
    tx.record("MODEL_REMOVED", organization=organization, actor=by, model_id=model.name)
