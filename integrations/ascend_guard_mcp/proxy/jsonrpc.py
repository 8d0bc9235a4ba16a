"""Read a client's messages so strictly that the server cannot read them differently.

Every accepted message is encoded again: raw line separators, byte order marks, duplicate keys and escapes about which two
parsers might disagree never reach the server. Only so the judged message is the message that runs.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
FAILED = -32000
"""The code for errors that the protocol does not define; the first one that is left to implementations."""

MOST_BYTES = 16 * 1024 * 1024
DEEPEST = 128
"""The deepest nesting of a message. Arguments of a governed call may have less."""

GATED = "tools/call"
LISTING = "tools/list"
CANCELLED = "notifications/cancelled"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
"""The field in which a request states its protocol version, since 2026-07-28."""

_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_CALL = frozenset({"name", "arguments"})
_GATED_FOLDED = "toolscall"
_PROTOTYPE = "__proto__"
_LONGEST_NAME = 60

Key = tuple[bool, Any]
"""A request's id for comparison: 1 and "1" differ, 1 and 1.0 are equal."""


class Refused(Exception):
    """A message that is not forwarded.

    Args:
        code: the code of the JSON-RPC error.
        why: what is wrong with it, for its sender.
        ids: the ids of the requests in it, which all get that error.
        batch: whether it was a batch.
    """

    def __init__(self, code: int, why: str, ids: tuple[Any, ...] = (), *, batch: bool = False) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.ids = ids
        self.batch = batch

    def answer(self) -> bytes | None:
        """Return the errors to send back; None if there is no request to answer."""
        errors = [error_value(identity, self.code, self.why) for identity in self.ids]
        if not errors:
            return None
        return encode(errors if self.batch else errors[0])


class Message:
    """One message of a client, or one batch of them.

    Attributes:
        value: its content.
        wire: its encoding, on one line without its end; this is forwarded.
    """

    __slots__ = ("value", "wire")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.wire = encode(value)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The messages in it."""
        parts: list[dict[str, Any]] = self.value if isinstance(self.value, list) else [self.value]
        return parts

    @property
    def method(self) -> str | None:
        """Its method; None for a response and for a batch."""
        return self.value.get("method") if isinstance(self.value, dict) else None

    @property
    def params(self) -> dict[str, Any]:
        """Its named parameters; empty if there are none."""
        params = self.value.get("params") if isinstance(self.value, dict) else None
        return params if isinstance(params, dict) else {}

    @property
    def id(self) -> object:
        """The id of a single message."""
        return self.value.get("id") if isinstance(self.value, dict) else None

    @property
    def requests(self) -> Iterator[tuple[Key, str]]:
        """Yield key and method of each request in it."""
        for part in self.parts:
            if "method" in part and "id" in part and (key := key_of(part["id"])) is not None:
                yield key, part["method"]

    @property
    def version(self) -> str | None:
        """The protocol version that a request states, since 2026-07-28."""
        meta = self.params.get("_meta")
        version = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
        return version if isinstance(version, str) else None

    def with_arguments(self, arguments: dict[str, Any]) -> Message:
        """Return the same call with other arguments."""
        if not arguments and "arguments" not in self.params:
            return self
        return Message({**self.value, "params": {**self.params, "arguments": arguments}})


def read(raw: bytes) -> Message:
    """Return the message in these bytes, one JSON value.

    Raises:
        Refused: a server might read it differently, or it is not a message.
    """
    if len(raw) > MOST_BYTES:
        raise Refused(INVALID_REQUEST, f"a message may have at most {MOST_BYTES} bytes")
    try:
        value = parse(raw)
    except ValueError as error:
        raise Refused(PARSE_ERROR, str(error), _ids_in(raw)) from None
    if isinstance(value, list):
        return _batch(value)
    _check(value)
    return Message(value)


def parse(raw: bytes) -> Any:
    """Parse JSON that every parser reads in the same way.

    Raises:
        ValueError: it is not JSON, or parsers disagree: duplicate keys, NaN, numbers out of range, lone surrogates.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("a message must be UTF-8") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    if _deeper_than(value, DEEPEST):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("text with a lone surrogate") from None
    return value


def encode(value: object) -> bytes:
    """Return the only encoding of a value: ASCII, on one line."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def error_value(identity: object, code: int, why: str) -> dict[str, object]:
    """Return a JSON-RPC error response."""
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": why}}


def not_run(call: Message, text: str) -> bytes:
    """Return the answer to a tool call that does not run, for the client's model.

    It is a result, which every version shows to the model, except for a call that was to become a task (2025-11-25): its
    client expects the task, or an error.
    """
    if "task" in call.params:
        return encode(error_value(call.id, FAILED, text))
    result: dict[str, object] = {"content": [{"type": "text", "text": text}], "isError": True}
    if call.version is not None:
        result["resultType"] = "complete"  # required since the version that each request states itself
    return encode({"jsonrpc": "2.0", "id": call.id, "result": result})


def noted(raw: bytes, notes: Mapping[Key | None, str | None]) -> bytes:
    """Return a line of the server with a note for the model after the content of these answers; the original bytes if there
    is none."""
    if not any(notes.values()):
        return raw
    try:
        value = json.loads(raw)
    except ValueError:  # a number that is too long
        return raw
    found = False
    for part in value if isinstance(value, list) else [value]:
        note = notes.get(key_of(part.get("id"))) if isinstance(part, dict) and "method" not in part else None
        result = part.get("result") if note is not None else None
        if isinstance(result, dict) and isinstance(result.get("content"), list):
            result["content"].append({"type": "text", "text": note})
            found = True
    if not found:
        return raw
    return json.dumps(value, separators=(",", ":")).encode()  # the server's NaN is passed on to its client


def key_of(identity: object) -> Key | None:
    """Return an id for comparison; None if it is not a valid id."""
    if isinstance(identity, str):
        return (True, identity)
    if isinstance(identity, int | float) and not isinstance(identity, bool):
        return (False, identity)
    return None


def responses(raw: bytes) -> list[dict[str, object]]:
    """Return the responses in a line of the server; empty if it cannot be parsed, which its client must handle."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    parts = value if isinstance(value, list) else [value]
    return [part for part in parts if isinstance(part, dict) and "id" in part and "method" not in part]


# --- what a message must look like --------------------------------------------------------------------------


def _batch(parts: list[Any]) -> Message:
    ids = tuple(part["id"] for part in parts if isinstance(part, dict) and _is_request(part))
    try:
        if not parts:
            raise Refused(INVALID_REQUEST, "an empty batch")
        for part in parts:
            _check(part)
            if part.get("method") == GATED:
                raise Refused(INVALID_REQUEST, f"{GATED} is not allowed in a batch: send it alone")
    except Refused as refused:
        raise Refused(refused.code, refused.why, ids, batch=True) from None
    return Message(parts)


def _check(value: object) -> None:
    if not isinstance(value, dict):
        raise Refused(INVALID_REQUEST, "a message must be a JSON object")
    ids = (value["id"],) if _is_request(value) else ()

    def refuse(code: int, why: str) -> NoReturn:
        raise Refused(code, why, ids)

    if alike := _look_alike(value, _ENVELOPE):
        refuse(INVALID_REQUEST, f"the key {alike} may be confused with another")
    if value.get("jsonrpc") != "2.0":
        refuse(INVALID_REQUEST, 'jsonrpc must be "2.0"')
    if "method" not in value:
        if ("result" in value) == ("error" in value):
            refuse(INVALID_REQUEST, "a message needs a method, a result or an error")
        if "id" not in value or (value["id"] is not None and not _is_id(value["id"])):
            refuse(INVALID_REQUEST, "a response needs the id of a request")
        return
    method = value["method"]
    if not isinstance(method, str) or "result" in value or "error" in value:
        refuse(INVALID_REQUEST, "a message needs a method, which is text, or a result, or an error")
    if "id" in value and not _is_id(value["id"]):
        refuse(INVALID_REQUEST, "an id must be text or an integer")
    if method == GATED:
        _check_call(value, refuse)
    elif _fold(method) == _GATED_FOLDED:
        refuse(INVALID_REQUEST, f"the method {_named(method)} may be confused with {GATED}")


def _check_call(value: dict[str, object], refuse: Callable[[int, str], NoReturn]) -> None:
    if "id" not in value:
        refuse(INVALID_REQUEST, f"{GATED} needs an id, because a call is answered")
    params = value.get("params")
    if not isinstance(params, dict):
        refuse(INVALID_PARAMS, f"the params of {GATED} must be an object")
    if alike := _look_alike(params, _CALL):
        refuse(INVALID_PARAMS, f"the parameter {alike} may be confused with another")
    if not isinstance(params.get("name"), str):
        refuse(INVALID_PARAMS, "name must be the name of a tool")
    if not isinstance(params.get("arguments", {}), dict):
        refuse(INVALID_PARAMS, "arguments must be an object")


def _is_id(identity: object) -> bool:
    return isinstance(identity, str | int) and not isinstance(identity, bool)


def _is_request(part: dict[str, object]) -> bool:
    return _is_id(part.get("id")) and "result" not in part and "error" not in part


def _look_alike(value: dict[str, object], known: frozenset[str]) -> str | None:
    return next((_named(key) for key in value if key not in known and _fold(key) in known), None)


def _fold(text: str) -> str:
    # Differences that decoders are known to ignore: case, width and compatibility forms, blanks, separators, text after
    # NUL.
    text = unicodedata.normalize("NFKC", text.partition("\0")[0]).upper().casefold()
    return "".join(char for char in unicodedata.normalize("NFKC", text) if char.isalnum())


def _named(text: str) -> str:
    return json.dumps(text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…")


def _ids_in(raw: bytes) -> tuple[object, ...]:
    """Return the ids that a refusal of the whole message must answer."""
    try:
        value = json.loads(raw.decode("utf-8", "replace"))
        if isinstance(value, dict) and _is_request(value):
            encode(value["id"]).decode()
            str(value["id"]).encode()
            return (value["id"],)
    except (ValueError, RecursionError):
        pass
    return ()


# --- JSON, strictly -----------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {_named(twice)} occurs twice in one object")
    if _PROTOTYPE in value:
        raise ValueError(f"the key {_PROTOTYPE}, which sets the prototype in JavaScript")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("an integer with too many digits") from None


def _float(text: str) -> float:
    number = float(text)
    digits = text.lower().partition("e")[0]
    if not math.isfinite(number) or (number == 0 and digits.strip("-0.")):
        raise ValueError("a number out of range")
    return number


def _deeper_than(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [
            inside
            for outside in level
            if isinstance(outside, dict | list)
            for inside in (outside.values() if isinstance(outside, dict) else outside)
        ]
        if not level:
            return False
    return True
