"""Models and their compliance status."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from .endpoint import Access, Endpoint
from .fields import Done, Many, Object, PageQuery, Plain, Prose, Short, Text

Compliance = Literal["approved", "partially_approved", "pending", "denied"]


class ModelRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A model to register. ``model_id`` is the identifier that actions name it by."""

    model_id: Plain
    model_name: Short | None = None
    provider: Short | None = None
    version: Short | None = None
    description: Prose | None = None
    compliance_status: Compliance = "pending"
    compliance_notes: Prose | None = None
    metadata: Object = field(default_factory=dict)


class ModelChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Fields of a model to change."""

    compliance_status: Compliance | UnsetType = UNSET
    compliance_notes: Prose | UnsetType = UNSET
    model_name: Text | UnsetType = UNSET
    provider: Text | UnsetType = UNSET
    version: Text | UnsetType = UNSET
    description: Prose | UnsetType = UNSET
    metadata: Object | UnsetType = UNSET


class ModelBody(Struct, kw_only=True):
    """A registered model."""

    id: int
    model_id: str
    model_name: str
    provider: str | None
    version: str | None
    description: str | None
    compliance_status: str
    compliance_notes: str | None
    metadata: Object
    registered_by: str
    created_at: str
    updated_at: str


class ModelAnswer(Done, kw_only=True):
    """A model after a change."""

    model: ModelBody


class ModelPage(Many, kw_only=True):
    """Models, oldest first."""

    models: list[ModelBody]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "register_model", "POST", "/api/registry/models", ModelAnswer, ModelRegistration,
        access=Access.ADMIN, status=201, refuses=(409,), summary="Register a model.",
    ),
    Endpoint(
        "list_models", "GET", "/api/registry/models", ModelPage, query=PageQuery, refuses=(403,),
        summary="List models, oldest first. For people and admins.",
    ),
    Endpoint(
        "get_model", "GET", "/api/registry/models/{model_id}", ModelBody, refuses=(403, 404),
        summary="Get a model by identifier or number. For people and admins.",
    ),
    Endpoint(
        "update_model", "PUT", "/api/registry/models/{model_id}", ModelAnswer, ModelChange,
        access=Access.ADMIN, refuses=(404,), summary="Update a model, for example its compliance status.",
    ),
    Endpoint(
        "delete_model", "DELETE", "/api/registry/models/{model_id}", Done, access=Access.ADMIN,
        refuses=(404,), summary="Delete a model.",
    ),
)  # fmt: skip
