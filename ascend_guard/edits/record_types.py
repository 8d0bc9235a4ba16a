"""Records of every usual kind: the types of their fields, and how to build one from values."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import msgspec

from ascend_guard.callables.type_hints import UNDECLARED, declared_types

__all__ = ["NONE", "fields_of", "rebuilt"]

NONE: Any = object()
"""Marks a missing value."""


def fields_of(kind: type) -> dict[str, Any] | None:
    """Return the declared types of a record's fields by name; None if it is not a record."""
    pydantic = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    names: list[str]
    if pydantic is not None and issubclass(kind, pydantic):
        names = list(kind.model_fields)  # type: ignore[attr-defined]  # checked by the line above
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = list(kind.__struct_fields__)
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names = list(getattr(kind, "_fields"))  # noqa: B009 - not every tuple has it
    else:
        return None
    hints = declared_types(kind)
    return {name: hints.get(name, UNDECLARED) for name in names}


def rebuilt(kind: Any, made: dict[str, Any], changed: dict[str, Any], own: Any) -> Any:
    """Build a record.

    Args:
        kind: its class.
        made: every field's value.
        changed: the values that differ from the caller's own.
        own: the caller's own record; ``NONE`` if there was none of this class.
    """
    if hasattr(kind, "model_validate"):
        record = kind.model_validate(
            {_alias(kind.model_fields[name], name): made[name] for name in made}, strict=True
        )
        if own is not NONE:
            # Which fields were set determines what a partial update writes.
            record.model_fields_set.intersection_update(own.model_fields_set | changed.keys())
        return record
    if own is not NONE and dataclasses.is_dataclass(kind):
        return dataclasses.replace(own, **changed)
    if own is not NONE and issubclass(kind, msgspec.Struct):
        return msgspec.structs.replace(own, **changed)
    attributes = {field.name: field for field in getattr(kind, "__attrs_attrs__", ())}
    return kind(**{getattr(attributes.get(name), "alias", None) or name: made[name] for name in made})


def _alias(field: Any, name: str) -> str:
    for alias in (field.validation_alias, field.alias):
        if isinstance(alias, str):
            return alias
    return name
