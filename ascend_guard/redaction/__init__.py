"""Find and remove secrets: by annotation, by name, and by shape in free text."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from .secret_names import is_secret_name

__all__ = [
    "REDACTED",
    "Redact",
    "annotations_of",
    "describe_error",
    "is_redacted_hint",
    "is_secret_name",
    "scrub",
]

_LONGEST_ERROR = 500
_LONGEST_NAME = 200
_MOST_READ = 20_000

REDACTED = "[REDACTED]"
"""The text in place of a secret wherever people, policies or storage would see it."""


class Redact:
    """Marks a parameter or a field as secret: ``Annotated[str, Redact]`` or ``Annotated[str, Redact()]``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Redact()"


def annotations_of(owner: Any) -> dict[str, Any]:
    """Return the own annotations of a function or class, without failing on forward references."""
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
        if type(owner) is types.FunctionType:
            return owner.__annotations__.copy()
        # Read from storage: a metaclass may have its own attribute access.
        return dict(type.__dict__["__dict__"].__get__(owner).get("__annotations__", {}))
    except Exception:
        return {}


def is_redacted_hint(
    hint: Any, names: dict[str, Any] | None = None, local: Mapping[str, Any] | None = None
) -> bool:
    """Return whether an annotation contains ``Redact``, through aliases, unions and containers.

    Args:
        hint: an annotation, evaluated or still text.
        names: the globals in which text is evaluated. Text that does not evaluate counts as redacted if it
            mentions ``Redact``, and an alias always: a forward reference must not show a secret.
        local: names that come before those globals, such as a closure's.
    """
    pending, looked = [hint], 0
    # A type alias can refer to itself; no real annotation has a thousand parts.
    while pending and looked < 1000:
        looked += 1
        hint = pending.pop()
        text = hint if isinstance(hint, str) else getattr(hint, "__forward_arg__", None)
        if isinstance(text, str):
            try:
                # The developer's own annotation, evaluated as by typing.get_type_hints.
                hint = eval(text, names if names is not None else {}, local)  # noqa: S307
            except Exception:
                if re.search(r"\bRedact\b", text):
                    return True
                continue
        # The content of a Literal is data, not annotations to evaluate.
        if isinstance(hint, type) or getattr(hint, "__origin__", None) is Literal:
            continue
        marks = getattr(hint, "__metadata__", ())
        if isinstance(marks, tuple) and any(mark is Redact or isinstance(mark, Redact) for mark in marks):
            return True
        for part in ("__origin__", "__supertype__", "__value__"):
            try:
                inner = getattr(hint, part, None)
            except Exception:
                return True
            if inner is not None:
                pending.append(inner)
        inner = getattr(hint, "__args__", ())
        pending.extend(inner if isinstance(inner, tuple) else ())
    return bool(pending)


# Each takes linear time: runs are possessive or bounded, and a match can only begin where a run begins.
_SHAPES = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?s:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|.*)",
    r"(?i)\bbearer\s++(?!(?:authentication|authorization|tokens?|scheme|realm|error)\b)([A-Za-z0-9._~+/=-]{4,}+)",
    # Requires the end of base64 or a change of case, or "basic information" would count as a credential.
    r"(?i:\bbasic)\s++(?=[A-Za-z]{0,256}?(?:[0-9=+/]|[a-z][A-Z]))([A-Za-z0-9+/_-]{6,}+={0,2})",
    r"\bowkai_[A-Za-z0-9_-]{3,}+",
    # Requires a digit, or a function called ask_customer_name would count as a key.
    r"\bask_(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{8,}+",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\b(?:sk-|[prs]k_(?:live|test)_)[A-Za-z0-9_-]{16,}+",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|npm_|hf_)[A-Za-z0-9_-]{10,}+",
    r"\bAIza[A-Za-z0-9_-]{30,}+",
    r"(?<![\w-])eyJ[\w-]{4,}+\.[\w-]{4,}+\.[\w-]*+",
    r"://([^/\s:@\"'<>`]*+:[^/\s\"'<>`]*)@",
)
_PAIR = r"""(?<![\w.-])([\w.-]++)\\?["']?\s{0,3}[=:]>?\s{0,3}"""
_VALUE = (
    r"""\\?"([^"\n]*+)|\\?'([^'\n]*+)|(\[[^\]\n]*+\]?|\{[^}\n]*+\}?|\([^)\n]*+\)?|[^\s,;&"'{}()\[\]]++)"""
)
_LINE = r"""\\?["']?([^\r\n"']++)"""


def scrub(text: str, secrets: Sequence[str] = ()) -> str:
    """Return free text (an exception's message, a rendered template) without its secrets.

    Removes every given secret in any case and in the usual encodings, parts of it, and everything that has the shape of a
    credential; the rules are in ``secret_values``. Linear in the length of the text.

    Args:
        text: any text.
        secrets: values that are known to be secret, such as ``Arguments.secrets``.
    """
    parts: list[str] = []
    clean = 0
    for start, stop in sorted({*_known(text, secrets), *_shaped(text), *_paired(text)}):
        if start > clean or not parts:
            parts += (text[clean:start], REDACTED)
        clean = max(clean, stop)
    return "".join((*parts, text[clean:]))


def _known(text: str, secrets: Sequence[str]) -> Iterator[tuple[int, int]]:
    if secrets and text:
        # Needed for an error message only, so it is not imported at the top.
        from .secret_values import find_secrets

        yield from find_secrets(text, secrets)


def _shaped(text: str) -> Iterator[tuple[int, int]]:
    for shape in _SHAPES:
        for found in re.finditer(shape, text):
            yield found.span(found.lastindex or 0)


def _paired(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    pattern, line, rest = re.compile(_PAIR), re.compile(_LINE), re.compile(_VALUE)
    while (pair := pattern.search(text, at)) is not None:
        at = pair.end()
        name = pair[1]
        if not is_secret_name(name):
            continue
        # A header's value extends to the end of its line: "Authorization: Digest a, b", "Cookie: a=1; b=2".
        whole = "authorization" in name.lower() or "cookie" in name.lower()
        value = (line if whole else rest).match(text, at)
        if value is not None and value.lastindex is not None:
            start, at = value.span(value.lastindex)
            yield start, at


def describe_error(error: BaseException, secrets: Sequence[str]) -> str:
    """Return type and message of an exception, without the call's secrets, on one line and of limited length.

    Its notes, the members of a group and its cause are not included.
    """
    name = scrub(type(error).__name__[:_LONGEST_NAME], secrets)
    try:
        message = str(error)
    except Exception:
        return name
    # By the base class: a message may be of the tool's own class. The rest of a huge message is not read at all.
    text = (
        scrub(str.__getitem__(message, slice(_MOST_READ)), secrets)
        .encode("utf-8", "backslashreplace")
        .decode()
    )
    text = " ".join(text.split())
    return f"{name}: {text[:_LONGEST_ERROR]}" if text else name
