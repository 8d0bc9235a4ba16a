"""The endpoints of models."""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.api.models import ModelAnswer, ModelBody, ModelPage
from ascend_guard.engine.registry.models import MODELS, Model
from ascend_guard.engine.registry.records import Entry
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.server.handling import Caller, Handler

from .registered import shown
from .resource import changing, deleting, getting, listing, registering


def _see(caller: Caller, name: str) -> None:
    # REST API document, "model_id": listing the registry takes a person's session.
    if not (caller.person or caller.admin):
        raise AuthorizationDeniedError("The model registry is for people and admins. Use an admin's key.")


def _body(entry: Entry[Model]) -> ModelBody:
    return ModelBody(**shown(entry, "model_id"))


def _answer(state: str) -> Callable[[Entry[Model]], ModelAnswer]:
    return lambda entry: ModelAnswer(message=f"The model is {state}.", model=_body(entry))


HANDLERS: dict[str, Handler] = {
    "register_model": registering(MODELS, "model_id", "model_name", _answer("registered")),
    "list_models": listing(MODELS, lambda models, about: ModelPage(models=models, **about), _body, _see),
    "get_model": getting(MODELS, "model_id", _body, _see),
    "update_model": changing(MODELS, "model_id", _answer("changed")),
    "delete_model": deleting(MODELS, "model_id"),
}
