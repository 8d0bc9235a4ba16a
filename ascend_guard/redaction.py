"""What is secret: by annotation, by name, and by shape in free text."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

__all__ = ["REDACTED", "Redact", "annotations_of", "is_redacted_hint", "is_secret_name", "scrub"]

REDACTED = "[REDACTED]"
"""What stands in place of a secret wherever people, policies or storage would see it."""


class Redact:
    """Marks a parameter or a field as secret: ``Annotated[str, Redact]`` or ``Annotated[str, Redact()]``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Redact()"


def annotations_of(owner: Any) -> dict[str, Any]:
    """The annotations a function or class itself has, without failing on forward references."""
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
        if type(owner) is types.FunctionType:
            return owner.__annotations__.copy()
        # From where they are stored: a metaclass may have its own mind about attributes.
        return dict(type.__dict__["__dict__"].__get__(owner).get("__annotations__", {}))
    except Exception:
        return {}


def is_redacted_hint(
    hint: Any, names: dict[str, Any] | None = None, local: Mapping[str, Any] | None = None
) -> bool:
    """Whether an annotation says ``Redact`` anywhere inside, through aliases, unions and containers.

    Args:
        hint: an annotation, evaluated or still text.
        names: the globals to evaluate text in. Text that does not evaluate counts as redacted when it
            mentions ``Redact``, and an alias always: a forward reference must not show a secret.
        local: names that go before those globals, as a closure's do.
    """
    pending, looked = [hint], 0
    # A type alias can refer to itself; no honest annotation has a thousand parts.
    while pending and looked < 1000:
        looked += 1
        hint = pending.pop()
        text = hint if isinstance(hint, str) else getattr(hint, "__forward_arg__", None)
        if isinstance(text, str):
            try:
                # The developer's own annotation, evaluated as typing.get_type_hints would.
                hint = eval(text, names if names is not None else {}, local)  # noqa: S307
            except Exception:
                if re.search(r"\bRedact\b", text):
                    return True
                continue
        # What is in a Literal is data, not annotations to evaluate.
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


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Patterns are compiled when first used: compiling them all takes longer than importing everything else.
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]"
_SECRET = _words(
    "password passwd pwd passphrase passcode secret credential cred authorization cookie bearer jwt otp totp "
    "cvv cvc ssn pin dsn"
)
_SECRET_PAIRS = _words(
    "api_key access_key private_key session_key signing_key encryption_key ssh_key master_key account_key "
    "storage_key shared_key auth_key auth_header connection_string conn_string conn_str database_url db_url "
    "security_code social_security recovery_code backup_code verification_code mfa_code"
)
_RUN_TOGETHER = (
    "password|passwd|passphrase|credential|apikey|accesskey|privatekey|secretkey|sessionkey|signingkey|"
    "clientsecret|authheader|connectionstring|(?:access|refresh|auth|bearer|session|id|api|csrf|xsrf)token"
)
_SIGN_IN = _words("db database user smtp imap ftp admin root mysql postgres redis proxy login my")
# Words beside "token" or "tokens" that make it a quantity or a kind of language-model token.
_COUNTED = _words(
    "count counter limit usage budget length len size type cost price rate estimate max min num number n "
    "total per"
)
_COUNTED_MANY = _COUNTED | _words(
    "used using input output prompt completion reasoning cached remaining left saved spent generated "
    "estimated sampled context ids"
)
_MEMO: dict[str, bool] = {}


def is_secret_name(name: str) -> bool:
    """Whether a parameter, field, key or header of this name holds a secret, as far as a name can tell.

    Whole words count, in any spelling (``db_password``, ``passwordHash``, ``X-API-Key``, ``apikeys``), so
    ``author``, ``secretary`` and ``max_tokens`` stay readable. In doubt it says yes.
    """
    known = _MEMO.get(name)
    if known is None:
        known = _looks_secret(name)
        # Keys may come from an agent's data: neither many nor long ones may fill the memory.
        if len(name) <= 128:
            if len(_MEMO) >= 4096:
                _MEMO.clear()
            _MEMO[name] = known
    return known


def _looks_secret(name: str) -> bool:
    spelled = [word.lower() for word in re.findall(_WORD, name)]
    words = [word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in spelled]
    for index, word in enumerate(words):
        if (
            word in _SECRET
            or "_".join(words[index : index + 2]) in _SECRET_PAIRS
            or re.search(_RUN_TOGETHER, word)
        ):
            return True
        if word == "token":
            counted = _COUNTED_MANY if spelled[index] == "tokens" else _COUNTED
            if counted.isdisjoint(spelled):
                return True
    if words and words[-1] == "pass":
        return not _SIGN_IN.isdisjoint(words[:-1])
    return bool(words) and words[-1] == "auth"


# Each is linear in the text: runs are possessive or bounded, and a match can only begin where a run begins.
_SHAPES = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?s:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|.*)",
    r"(?i)\bbearer\s++(?!(?:authentication|authorization|tokens?|scheme|realm|error)\b)([A-Za-z0-9._~+/=-]{4,}+)",
    # The end of base64 or a change of case, or "basic information" would count as a credential.
    r"(?i:\bbasic)\s++(?=[A-Za-z]{0,256}?(?:[0-9=+/]|[a-z][A-Z]))([A-Za-z0-9+/_-]{6,}+={0,2})",
    r"\bowkai_[A-Za-z0-9_-]{3,}+",
    # With a digit, or a function called ask_customer_name would count as a key.
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
    """Free text (an exception's message, a rendered template) without its secrets.

    Takes out every given secret, also in the forms other code is likely to have put it in (``repr``, JSON,
    percent-encoded, base64), and whatever has the shape of a credential. Secrets under four characters go
    only where they stand as whole words. Linear in the length of the text.

    Args:
        text: any text.
        secrets: values known to be secret, such as ``Arguments.secrets``.
    """
    parts: list[str] = []
    clean = 0
    for start, stop in sorted({*_known(text, secrets), *_shaped(text), *_paired(text)}):
        if start > clean or not parts:
            parts += (text[clean:start], REDACTED)
        clean = max(clean, stop)
    return "".join((*parts, text[clean:]))


def _known(text: str, secrets: Sequence[str]) -> Iterator[tuple[int, int]]:
    for form in {form for secret in secrets for form in _forms(secret)}:
        if len(form) < 4:
            for found in re.finditer(rf"(?<!\w){re.escape(form)}(?!\w)", text):
                yield found.span()
            continue
        at = text.find(form)
        while at >= 0:
            yield at, at + len(form)
            at = text.find(form, at + len(form))


def _forms(secret: str) -> Iterator[str]:
    if not secret:
        return
    # Needed on the way to an error message only, so not worth everybody's import time.
    import base64
    import json
    import urllib.parse

    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield repr(secret)[1:-1]
    yield repr("'\"" + secret)[4:-1]  # with apostrophes escaped, as inside a text that has both quotes
    yield repr(raw)[2:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield urllib.parse.quote(raw)
    yield urllib.parse.quote(raw, safe="")
    yield urllib.parse.quote_plus(raw)
    if len(secret) >= 4:
        yield base64.b64encode(raw).decode().rstrip("=")
        yield base64.urlsafe_b64encode(raw).decode().rstrip("=")


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
        # A header's value goes to the end of its line: "Authorization: Digest a, b", "Cookie: a=1; b=2".
        whole = "authorization" in name.lower() or "cookie" in name.lower()
        value = (line if whole else rest).match(text, at)
        if value is not None and value.lastindex is not None:
            start, at = value.span(value.lastindex)
            yield start, at
