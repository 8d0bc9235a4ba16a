"""Classifications of resources: how sensitive each one is."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from .endpoint import Access, Endpoint
from .fields import Cursor, Done, Names, Object, Plain, Text


class ClassificationRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The sensitivity of a resource."""

    resource_type: Plain
    resource_id: Plain
    sensitivity_level: Text
    compliance_tags: Names = field(default_factory=list)
    metadata: Object = field(default_factory=dict)


class ClassificationBody(Struct, kw_only=True):
    """The sensitivity of a resource."""

    id: int
    resource_type: str
    resource_id: str
    sensitivity_level: str
    compliance_tags: list[str]
    metadata: Object
    updated_at: str


class ClassificationAnswer(Done, kw_only=True):
    """A classification after a change."""

    classification: ClassificationBody


class ClassificationsQuery(Struct, kw_only=True):
    """Which classifications to get: of one type of resource, or all."""

    resource_type: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    cursor: Cursor | None = None


class Classifications(Struct):
    """Classified resources, oldest first."""

    classifications: list[ClassificationBody]
    has_more: bool = False
    next_cursor: str | None = None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "list_classifications", "GET", "/api/v1/resource-classifications", Classifications,
        query=ClassificationsQuery, summary="List resource classifications.",
    ),
    Endpoint(
        "classify_resource", "POST", "/api/v1/resource-classifications", ClassificationAnswer,
        ClassificationRegistration, access=Access.ADMIN, refuses=(409,),
        summary="Classify a resource.",
    ),
    Endpoint(
        "delete_classification", "DELETE", "/api/v1/resource-classifications/{classification_id}", Done,
        access=Access.ADMIN, refuses=(404,), summary="Delete a resource classification.",
    ),
)  # fmt: skip
