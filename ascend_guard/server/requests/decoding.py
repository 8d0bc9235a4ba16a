"""Decode a request so that it means exactly what it says, or refuse it (promises 2, 4 and 6).

1. A body that an endpoint needs must be there. It may be left out only where the table of endpoints says so, and if the
   head announces none: a body that was lost on the way must not become an empty one.
2. A name occurs once. Two readers of ``{"amount": 1, "amount": 1000}`` need not agree, so a body with a duplicate name is
   refused, at any depth; and so is a query.
3. A body has the fields of its type and no others. An unknown field is refused with the nearest known name: a decision
   whose ``argument`` was ignored would approve other arguments than were meant.
4. If published clients send more than the documented fields (``Endpoint.tolerant``), unknown fields are accepted, except a
   name that is similar to a known one, or that another endpoint judges by: those affect what is judged.
5. Fields of the body are not read from the query, and not ignored there.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ascend_guard.api.actions import SubmitBody
from ascend_guard.api.endpoint import Endpoint
from ascend_guard.api.misspellings import LONGEST, letters, meant, nearest
from ascend_guard.errors import ValidationError
from ascend_guard.redaction import scrub

from .failures import RequestRefused

MOST_UNKNOWN = 50
"""The most unknown fields that are compared with the known ones; a body with more is refused."""

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `(\$[^`]*)`)?", re.DOTALL)
_NO_JSON = (
    ValueError,
    msgspec.DecodeError,
    RecursionError,
)  # such as bytes that are not UTF-8, and numbers of absurd length
_MISSING = "missing required field"
_IN_ACTION_TYPE = "`$.action_type`"

_VERDICTS = frozenset(
    map(letters, ("approved", "approve", "decision", "status", "denied", "deny", "rejected"))
)
"""Field names for a decision: the path already says which decision it is."""

_OURS = frozenset(SubmitBody.__struct_fields__[SubmitBody.__struct_fields__.index("digest") :])
"""Fields of ascend-guard's own client; so short that only another spelling counts as similar."""


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an endpoint without a body."""


class Decoder:
    """Decodes the requests of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._takes_body = endpoint.body is not None
        body = endpoint.body or _Nothing
        self._fields: tuple[str, ...] = body.__struct_encode_fields__
        self._nested = tuple(dict.fromkeys(_names_inside(msgspec.inspect.type_info(body))))
        self._exact = msgspec.json.Decoder(_exact(body) if endpoint.tolerant else body)
        self._any = msgspec.json.Decoder(body)
        foreign = _SUBMITTED.difference(self._fields) if endpoint.name in _SUBMISSIONS else ()
        # The published clients read a webhook by an update without fields.
        self._changes = endpoint.method == "PUT" and endpoint.name != "update_webhook"
        self._judged = (*self._fields, *sorted(foreign))
        self._empty = " Send a JSON object" + (", {} to name nothing." if _may_be_empty(self._any) else ".")

    def body(self, sent: bytes, headers: Mapping[str, str]) -> Any:
        """Return the body as the endpoint's type; None for an endpoint without a body.

        Raises:
            RequestRefused: it is missing, not JSON, or does not match the endpoint's type.
        """
        if not sent:
            if not self._takes_body:
                return None
            self._require_left_out(headers)
            sent = b"{}"
        try:
            decoded = self._typed(sent)
            _UNIQUE.decode(sent.decode())
            if self._changes and not msgspec.json.decode(sent, type=dict[str, msgspec.Raw]):
                raise self._refused("has no field to change. Send at least one field")
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from None
        except _NO_JSON as error:
            raise RequestRefused(
                f"The body is not JSON: {error}. Send JSON in UTF-8.", status=400, code="INVALID_JSON"
            ) from None
        return decoded if self._takes_body else None

    def query(self, query: bytes) -> Any:
        """Return the query as the endpoint's type; None for an endpoint without a query.

        Raises:
            ValidationError: it does not match the endpoint's type, or has a field of the body.
        """
        kind = self._endpoint.query
        if not query:
            return None if kind is None else kind()
        try:
            pairs = parse_qsl(
                query.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=50
            )
            given = dict(pairs)
            if len(given) != len(pairs):
                raise ValueError("a name occurs twice")
            self._check_query(given)
            return None if kind is None else msgspec.convert(given, kind, strict=False)
        except ValueError as error:  # msgspec's, not UTF-8, or too many fields
            raise ValidationError(f"The query is invalid: {error}. See /openapi.json.") from None

    def _typed(self, sent: bytes) -> Any:
        try:
            return self._exact.decode(sent)
        except msgspec.ValidationError as error:
            if not (self._endpoint.tolerant and _UNKNOWN.fullmatch(str(error))):
                raise
        # Before missing fields are reported: a misspelt name is the cause, and its message says how to fix it.
        self._check_unknown(msgspec.json.decode(sent, type=dict[str, msgspec.Raw]))
        return self._any.decode(sent)

    def _check_unknown(self, given: Iterable[str]) -> None:
        names = set(given)
        unknown = names.difference(self._fields)
        if len(unknown) > MOST_UNKNOWN:
            raise self._refused(f"has {len(unknown)} unknown fields, more than {MOST_UNKNOWN}")
        for name in unknown:
            field = self._resembled(name, names)
            if field is not None:
                raise self._unknown(name, field if field in self._fields else None)

    def _resembled(self, name: str, given: set[str]) -> str | None:
        """Return the known field that an unknown name is similar to, unless that field was also sent."""
        field = name if name in self._judged else meant(name, self._judged)
        if field is None or letters(field) == letters(name):
            return field
        return None if field in given or field in _OURS else field

    def _require_left_out(self, headers: Mapping[str, str]) -> None:
        announced = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        if not self._endpoint.body_optional or announced:
            raise RequestRefused(
                f"{self._endpoint.name} needs a body, but none arrived, so nothing was done.{self._empty}",
                status=400,
                code="MISSING_REQUIRED_FIELD",
            )

    def _check_query(self, given: Mapping[str, str]) -> None:
        endpoint = self._endpoint
        known = () if endpoint.query is None else endpoint.query.__struct_encode_fields__
        for name, value in given.items():
            if name in known:
                if not value:
                    raise ValueError(f"`{name}` has no value. Remove it to mean none")
                continue
            if endpoint.method != "GET" and (not endpoint.tolerant or self._belongs(name)):
                raise ValueError(f"{endpoint.name} has no query parameters, but the query has {_shown(name)}")
            field = meant(name, known)
            if field is not None:
                raise ValueError(f"it has {_shown(name)}. Did you mean `{field}`?")

    def _belongs(self, name: str) -> bool:
        return name in self._fields or meant(name, self._fields) is not None

    def _invalid(self, problem: str) -> RequestRefused:
        found = _UNKNOWN.fullmatch(problem)
        if found is not None:
            fields = self._fields if found[2] is None else self._nested
            return self._unknown(found[1], nearest(found[1], fields), found[2])
        missing = _MISSING in problem
        wrong = "INVALID_ACTION_TYPE" if problem.endswith(_IN_ACTION_TYPE) else "VALIDATION_ERROR"
        return RequestRefused(
            f"The body of {self._endpoint.name} is invalid: {problem}. See /openapi.json.",
            status=400 if missing else 422,
            code="MISSING_REQUIRED_FIELD" if missing else wrong,
        )

    def _unknown(self, name: str, field: str | None, place: str | None = None) -> RequestRefused:
        said = f"has no field {_shown(name)}{'' if place is None else f' at `{place}`'}."
        if field is not None:
            said += f" Did you mean `{field}`?"
        if place is None and self._fields:
            said += f" Its fields are {', '.join(f'`{known}`' for known in self._fields)}"
        if not self._takes_body:
            said = f"takes no body, but a body with the field {_shown(name)} was sent"
        if letters(name[:LONGEST]) in _VERDICTS:
            said = f"{said.rstrip('.')}. Only the path says which decision it is"
        return self._refused(said)

    def _refused(self, said: str) -> RequestRefused:
        return RequestRefused(
            f"{self._endpoint.name} {said.rstrip('.')}. Nothing was done.",
            status=422,
            code="VALIDATION_ERROR",
        )


_SUBMITTED = frozenset(SubmitBody.__struct_fields__)
_SUBMISSIONS = frozenset({"submit_action", "submit_mcp_action", "evaluate_policy"})
"""Endpoints that judge an action: none of them ignores a field that another one judges by."""


def _exact(body: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the same type without other fields: most requests match it and are decoded at no extra cost."""
    return types.new_class(body.__name__, (body,), {"forbid_unknown_fields": True})


def _names_inside(info: Any) -> Iterable[str]:
    """Yield the fields of the types inside a type."""
    if isinstance(info, msgspec.inspect.StructType):
        for field in info.fields:
            for inner in _structs(field.type):
                yield from (of.encode_name for of in inner.fields)


def _structs(info: Any) -> Iterable[msgspec.inspect.StructType]:
    if isinstance(info, msgspec.inspect.StructType):
        yield info
    elif isinstance(info, msgspec.inspect.UnionType):
        for option in info.types:
            yield from _structs(option)
    elif isinstance(info, msgspec.inspect.ListType):
        yield from _structs(info.item_type)
    elif isinstance(info, msgspec.inspect.Metadata):
        yield from _structs(info.type)


def _may_be_empty(decoder: msgspec.json.Decoder[Any]) -> bool:
    try:
        decoder.decode(b"{}")
    except msgspec.ValidationError:
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise msgspec.ValidationError(f"the name {_shown(name)} occurs twice")
            seen.add(name)


_UNIQUE = json.JSONDecoder(object_pairs_hook=_once)
"""Parses a body a second time, only to find duplicate names: 3 microseconds for a usual body."""


def _shown(name: str) -> str:
    """A client's name for a message: shortened, without secrets and without control characters."""
    safe = "".join(character if character.isprintable() else "\ufffd" for character in scrub(name[:1000]))
    return f"`{safe[:LONGEST]}`"
