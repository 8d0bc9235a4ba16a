"""How sensitive an organization's resources are, as its admins classified them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

from ascend_guard.store.port import Reader, Transaction

from .records import Entry, Logged


class Classification(Struct, frozen=True):
    """A classified resource.

    Args:
        resource_type: such as ``database``.
        resource_id: its identifier.
        sensitivity_level: such as public, internal, confidential, restricted.
        compliance_tags: such as PCI-DSS.
        metadata: any further data, redacted.
    """

    resource_type: str
    resource_id: str
    sensitivity_level: str
    compliance_tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


CLASSIFICATIONS = Logged("classification", Classification, "resource classification")


def classify(
    tx: Transaction, organization: str, classification: Classification, by: str
) -> Entry[Classification]:
    """Classify a resource. A new classification replaces the previous one.

    Raises:
        ConflictError: too many resources are classified.
    """
    # As JSON, so that two different pairs never make the same name.
    name = msgspec.json.encode([classification.resource_type, classification.resource_id]).decode()
    about = {"classification": classification}
    return CLASSIFICATIONS.write(tx, organization, name, classification, "RESOURCE_CLASSIFIED", by, about)


def remove(tx: Transaction, organization: str, number: int, by: str) -> None:
    """Delete a classification.

    Raises:
        NotFoundError: there is no such classification.
    """
    entry = CLASSIFICATIONS.get(tx, organization, number)
    about = {"classification": entry.value}
    CLASSIFICATIONS.erase(tx, organization, entry.name, "RESOURCE_DECLASSIFIED", by, about)


def listed(reader: Reader, organization: str, resource_type: str | None) -> Iterator[Entry[Classification]]:
    """The classifications of one type of resource, or all, oldest first."""
    for entry in CLASSIFICATIONS.all(reader, organization):
        if resource_type in (None, entry.value.resource_type):
            yield entry
