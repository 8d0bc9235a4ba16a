"""The error for an answer that is not a success: what was refused, why, how to fix it, and the correlation id."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.errors import (
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConflictError,
    KillSwitchError,
    NotFoundError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from ascend_guard.redaction import scrub

from .transport import Answer

MOST_WORDS = 400
"""Characters of the server's own text that a message may contain."""

_MOST_BYTES = 1 << 16
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

_REFUSALS: dict[int, tuple[type[AscendError], str, str]] = {
    400: (ValidationError, "did not accept the request", "Correct what it names and call again."),
    401: (
        AuthenticationError,
        "does not accept the API key",
        "Check ASCEND_API_KEY: it may be mistyped, expired or revoked.",
    ),
    402: (
        KillSwitchError,
        "says that the kill switch or a spend limit is on",
        "Nothing may run until it is released.",
    ),
    403: (
        AuthorizationDeniedError,
        "does not allow this",
        "Use a key whose role and agent may do it, or register what it names.",
    ),
    404: (NotFoundError, "knows no such thing", "Check the identifier, and that it is this organization's."),
    409: (ConflictError, "says that this was done already, or otherwise", "Look at its present state first."),
    429: (RateLimitError, "has had too many requests", "Call again later, or have the rate limit raised."),
}
_ADDRESS = "Check that ASCEND_API_URL is an Ascend server's address, without a path, and any identifier that was sent."
_PEOPLE_ONLY = "This needs a person's token, never an API key: pass token= with one that has not expired."


def failure_of(
    endpoint: Endpoint, answer: Answer, sent: Mapping[str, str], action_id: str | None = None
) -> AscendError:
    """The error for an answer that is not a success (REST API document, "Error Responses").

    Args:
        endpoint: that was called.
        answer: of the server.
        sent: the request's headers, for its correlation id and for the secrets that no message may repeat.
        action_id: the action it was about.
    """
    secrets = [value.removeprefix("Bearer ") for name, value in sent.items() if name.lower() in _CREDENTIALS]
    body = _object(answer.body)
    words = readable(_words(body), secrets)
    kind, what, remedy = _meaning(endpoint, answer)
    said = f" {words}{'' if words.endswith(('.', '!', '?')) else '.'}" if words else ""
    named = _correlation(body, answer, sent)
    mark = f" [correlation id {readable(named, secrets)}]" if named else ""
    message = f"{endpoint.name}: the control plane {what} (HTTP {answer.status}).{said} {remedy}{mark}"
    if kind is RateLimitError:
        return RateLimitError(message, retry_after=retry_after(answer))
    return kind(message, action_id=action_id, reason=words or None)


def retry_after(answer: Answer) -> float | None:
    """Seconds the server asks to wait, given as seconds or as an HTTP date; None if it does not say, or not in a valid form.

    A date is compared with the answer's own ``Date`` if it has one: the two clocks may differ.
    """
    value = answer.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until, since = _moment(value), _moment(answer.headers.get("date", ""))
    if until is None:
        return None
    return max(0.0, (until - (since or datetime.now(UTC))).total_seconds())


def readable(text: str, secrets: list[str]) -> str:
    """A server's text for a message: one line, bounded, without control characters and secrets."""
    plain = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    clean = " ".join(scrub(plain, secrets).split())
    return clean if len(clean) <= MOST_WORDS else f"{clean[: MOST_WORDS - 1]}…"


_CREDENTIALS = frozenset({"authorization", "x-api-key"})


def _meaning(endpoint: Endpoint, answer: Answer) -> tuple[type[AscendError], str, str]:
    status = 400 if answer.status == 422 else answer.status
    if status == 401 and endpoint.access in (Access.PERSON, Access.PERSON_ADMIN):
        return AuthenticationError, "does not accept who asks", _PEOPLE_ONLY
    if status == 404 and "{" not in endpoint.path:  # nothing in the path is an identifier
        return NotFoundError, "knows no such thing", _ADDRESS
    if status in _REFUSALS:
        return _REFUSALS[status]
    if 300 <= status < 400:
        remedy = "No redirect is followed, for it would carry the key away: set ASCEND_API_URL to the server's own address."
        return ServerError, "redirected", remedy
    if status >= 500:
        return ServerError, "failed", "Nothing was decided. Call again later; its log has the details."
    return (
        ServerError,
        "gave an answer that was not expected",
        "Check that ASCEND_API_URL is an Ascend server.",
    )


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > _MOST_BYTES:
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def _words(body: dict[str, Any]) -> str:
    detail = body.get("detail") or body.get("message") or body.get("error")
    if isinstance(detail, dict):
        parts = [detail.get("error"), detail.get("detail"), detail.get("message")]
        return ": ".join(dict.fromkeys(part for part in parts if isinstance(part, str) and part))
    if isinstance(detail, list):  # as FastAPI says what is wrong with a body
        return "; ".join(_place(item) for item in detail[:8] if isinstance(item, dict))
    return detail if isinstance(detail, str) else ""


def _place(item: dict[str, Any]) -> str:
    where = item.get("loc")
    path = ".".join(str(part) for part in where[:8]) if isinstance(where, list) else ""
    said = item.get("msg")
    return f"{path}: {said if isinstance(said, str) else 'not valid'}"


def _correlation(body: dict[str, Any], answer: Answer, sent: Mapping[str, str]) -> str:
    detail = body.get("detail")
    mine = next((value for name, value in sent.items() if name.lower() == "x-correlation-id"), "")
    for named in (
        detail.get("correlation_id") if isinstance(detail, dict) else None,
        body.get("correlation_id"),
        answer.headers.get("x-correlation-id"),
    ):
        if isinstance(named, str) and named:
            return named
    return mine


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
