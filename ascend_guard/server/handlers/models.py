"""Models: registered, reviewed, forgotten."""

from __future__ import annotations

import msgspec

from ascend_guard.api.fields import Done, PageQuery
from ascend_guard.api.models import ModelAnswer, ModelBody, ModelChange, ModelPage, ModelRegistration
from ascend_guard.engine.registry import models
from ascend_guard.engine.registry.models import MODELS, ComplianceStatus, Model
from ascend_guard.engine.registry.records import Entry, cleaned
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.server.handling import Caller, Handler, Request
from ascend_guard.store.port import Reader

from .registered import changes, one_page, when


async def register(request: Request[ModelRegistration, None]) -> ModelAnswer:
    """Register a model."""
    body, by = request.body, request.caller.name
    model = Model(
        model_name=body.model_name or body.model_id,
        provider=body.provider,
        version=body.version,
        description=body.description,
        compliance_status=ComplianceStatus(body.compliance_status),
        compliance_notes=body.compliance_notes,
        metadata=cleaned(body.metadata),
    )
    entry = await request.write(
        lambda tx: models.register(tx, request.organization, body.model_id, model, by)
    )
    return ModelAnswer(message="The model is registered.", model=_body(entry))


async def listed(request: Request[None, PageQuery]) -> ModelPage:
    """The organization's models."""
    _require_sight(request.caller)

    def look(reader: Reader) -> ModelPage:
        entries, about = one_page(MODELS, reader, request)
        return ModelPage(models=[_body(entry) for entry in entries], **about)

    return await request.read(look)


async def get(request: Request[None, None]) -> ModelBody:
    """One model."""
    _require_sight(request.caller)
    model_id = request.path["model_id"]
    return _body(await request.read(lambda reader: MODELS.pick(reader, request.organization, model_id)))


async def update(request: Request[ModelChange, None]) -> ModelAnswer:
    """Change a model."""
    model_id, by, given = request.path["model_id"], request.caller.name, changes(request.body)
    entry = await request.write(lambda tx: models.update(tx, request.organization, model_id, given, by))
    return ModelAnswer(message="The model is changed.", model=_body(entry))


async def delete(request: Request[None, None]) -> Done:
    """Forget a model."""
    model_id, by = request.path["model_id"], request.caller.name
    await request.write(lambda tx: models.remove(tx, request.organization, model_id, by))
    return Done(message=f"The model {model_id!r} is no longer registered.")


def _require_sight(caller: Caller) -> None:
    # REST API document, "model_id": listing the registry takes a person's session.
    if not (caller.person or caller.admin):
        raise AuthorizationDeniedError("The model registry is for people and admins. Use an admin's key.")


def _body(entry: Entry[Model]) -> ModelBody:
    return ModelBody(
        id=entry.number, model_id=entry.name, **msgspec.structs.asdict(entry.value), **when(entry)
    )


HANDLERS: dict[str, Handler] = {
    "register_model": register,
    "list_models": listed,
    "get_model": get,
    "update_model": update,
    "delete_model": delete,
}
