"""The models of an organization, and whether they may be used."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from .records import Registry


class ComplianceStatus(StrEnum):
    """The result of the organization's review of a model."""

    APPROVED = "approved"
    PARTIALLY_APPROVED = "partially_approved"
    PENDING = "pending"
    DENIED = "denied"


COMPLIANT = (ComplianceStatus.APPROVED, ComplianceStatus.PARTIALLY_APPROVED)
"""SDK document, "Link a model": the states in which a model may be used."""


class Model(Struct, frozen=True):
    """A registered model.

    Args:
        model_name: display name.
        provider: its vendor.
        version: its version.
        description: free text.
        compliance_status: the result of the review.
        compliance_notes: the reason for it.
        metadata: any further data, redacted.
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


MODELS = Registry("model", Model, "model", key="model_id", by_number=True)
"""After a model is removed, actions of agents that are linked to it are refused until they are linked to another one."""
