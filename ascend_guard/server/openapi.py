"""The OpenAPI document, generated from the table and the types that also check requests and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ascend_guard._version import __version__
from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.api.system import ErrorBody

_REFERENCE = "#/components/schemas/{name}"

_COMMON = {
    400: "The request is malformed.",
    401: "No valid API key or token; approving endpoints accept people only.",
    402: "The kill switch is on.",
    403: "Not allowed.",
    404: "It does not exist.",
    409: "It already exists, or was already decided, claimed or settled.",
    413: "The body is too large.",
    415: "The body is compressed.",
    422: "A value is invalid.",
    429: "Too many requests; see Retry-After.",
    503: "The database is unavailable, so nothing is decided.",
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these endpoints."""
    types = {
        kind for endpoint in endpoints for kind in (endpoint.body, endpoint.answer, endpoint.query) if kind
    }
    ordered = sorted(types | {ErrorBody}, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        for number, path in enumerate((endpoint.path, *endpoint.aliases)):
            paths.setdefault(path, {})[endpoint.method.lower()] = _operation(
                endpoint, path, number, schema_of, components
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ascend-guard",
            "version": __version__,
            "description": "Nothing an AI agent does takes effect before a decision allows it.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or a person's token.",
                },
            },
        },
    }


def _operation(
    endpoint: Endpoint,
    path: str,
    number: int,
    schema_of: dict[Any, dict[str, Any]],
    components: dict[str, Any],
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name if number == 0 else f"{endpoint.name}_{number}",
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(path), *_query_parameters(endpoint, schema_of, components)],
        "responses": _responses(endpoint, schema_of),
        "security": _security(endpoint.access),
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": {"application/json": {"schema": schema_of[endpoint.body]}},
        }
    return operation


def _security(access: Access) -> list[dict[str, list[str]]]:
    if access is Access.PUBLIC:
        return []
    if access in (Access.PERSON, Access.PERSON_ADMIN):
        return [{"bearer": []}]
    return [{"apiKey": []}, {"bearer": []}]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(
    endpoint: Endpoint, schema_of: dict[Any, dict[str, Any]], components: dict[str, Any]
) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = schema_of[endpoint.query]
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(of)}
        for name, of in schema["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove null: a query parameter is left out where a body would have null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if not options:
        return schema
    return options[0] if len(options) == 1 else {"anyOf": options}


def _responses(endpoint: Endpoint, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    # 422 everywhere: an endpoint without a body or a query refuses a request that sends one (``decoding``).
    statuses = {*endpoint.refuses, 400, 413, 415, 422, 503}
    if endpoint.access is not Access.PUBLIC:
        statuses |= {401, 429}
    if endpoint.access in (Access.ADMIN, Access.PERSON_ADMIN, Access.PERSON):
        statuses.add(403)
    success = {"application/json": {"schema": schema_of[endpoint.answer]}}
    failure = {"application/json": {"schema": schema_of[ErrorBody]}}
    responses = {str(endpoint.status): {"description": "Done.", "content": success}}
    for status in sorted(statuses):
        responses[str(status)] = {"description": _COMMON[status], "content": failure}
    return responses
