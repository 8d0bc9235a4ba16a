"""Secrets stay home: not in the database, the logs, the errors or anything's repr, however they were passed or raised."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import logging
import pickle
import pprint
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
import rich.pretty
from face_kinds import KINDS, Body, Kind
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SCHEDULES
from world import asked, rows, settled

from ascend_guard import (
    AscendError,
    AuthorizationDeniedError,
    EmbeddedControlPlane,
    Redact,
    governed,
    guard,
    scope,
)
from ascend_guard.store.sqlite.store import SQLiteStore

Token = Annotated[str, Redact]


@dataclasses.dataclass
class Login:
    """A record with a secret in it."""

    user: str
    phrase: Annotated[str, Redact]


@attrs.define
class AttrsLogin:
    """The same with attrs."""

    user: str
    password: str


class StructLogin(msgspec.Struct):
    """The same with msgspec."""

    user: str
    phrase: Annotated[str, Redact()]


class ModelLogin(pydantic.BaseModel):
    """The same with pydantic, and its own secret box."""

    user: str
    boxed: pydantic.SecretStr
    phrase: Annotated[str, Redact]


class TypedLogin(TypedDict):
    """The same as a dictionary."""

    user: str
    api_key: str


# --- where a secret can be ---------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[str], Any]] = {
    "password": lambda secret: {"password": secret},
    "declared": lambda secret: {"quiet": secret},
    "annotated": lambda secret: {"phrase": secret},
    "alias": lambda secret: {"alias": secret},
    "list": lambda secret: {"quiet": ["a", [secret]]},
    "tuple": lambda secret: {"quiet": ("a", {"b": secret})},
    "set": lambda secret: {"quiet": {secret, "a"}},
    "bytes": lambda secret: {"quiet": secret.encode()},
    "bytearray": lambda secret: {"quiet": bytearray(secret.encode())},
    "key": lambda secret: {"quiet": {secret: 1}},
    "nested name": lambda secret: {"config": {"db": [{"db_password": secret}]}},
    "header": lambda secret: {"config": {"headers": {"Authorization": f"Bearer {secret}"}}},
    "declared deep": lambda secret: {"config": {"quiet": {"deep": [secret]}}},
    "dataclass": lambda secret: {"config": Login("ann", secret)},
    "attrs": lambda secret: {"config": [AttrsLogin("ann", secret)]},
    "struct": lambda secret: {"config": {"login": StructLogin("ann", secret)}},
    "pydantic": lambda secret: {
        "config": ModelLogin(user="ann", boxed=pydantic.SecretStr(secret), phrase=secret)
    },
    "typed dict": lambda secret: {"config": TypedLogin(user="ann", api_key=secret)},
    "extra": lambda secret: {"client_secret": secret},
    "extra declared": lambda secret: {"silent": secret},
}

RAISED: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: f"login failed for {secret}, sorry",
    "repr": lambda secret: f"login failed for {secret!r}",
    "dict": lambda secret: f"request was { ({'user': 'ann', 'password': secret}) }",
    "json": lambda secret: f"request was {json.dumps({'p': [secret]})}",
    "url": lambda secret: f"GET https://ann:{urllib.parse.quote(secret, safe='')}@example.com/ failed",
    "query": lambda secret: f"GET https://example.com/?{urllib.parse.urlencode({'q': secret})} failed",
    "base64": lambda secret: f"Basic {base64.b64encode(secret.encode()).decode()} refused",
    "bytes": lambda secret: f"sent {secret.encode()!r}",
    "lines": lambda secret: f"first line\n\n  {secret}\nlast line",
    "twice": lambda secret: f"{secret}{secret}",
    "at the end of much": lambda secret: "x" * 495 + secret,
    "upper": lambda secret: f"login failed for {secret.upper()}",
    "swapped case": lambda secret: f"login failed for {secret.swapcase()}",
    "hex": lambda secret: f"sent {secret.encode().hex()}",
    "html": lambda secret: f"<p>{html.escape(secret)}</p>",
    "inside base64": lambda secret: f"sent {base64.b64encode(b'ann:' + secret.encode() + b':1').decode()}",
    "base64 in lines": lambda secret: base64.encodebytes(b"x" * 50 + secret.encode() + b"y" * 50).decode(),
    "percent twice": lambda secret: urllib.parse.quote(urllib.parse.quote(f"{secret} ä")),
    "json in json": lambda secret: json.dumps({"body": json.dumps({"p": secret})}),
    "code points": lambda secret: "".join(f"\\u{{{ord(sign):x}}}" for sign in secret),
    "cut off": lambda secret: f"login failed for {secret[:-3]}...",
    "without its beginning": lambda secret: f"login failed for ...{secret[4:]}",
}

alphabet = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))
# With another uuid in every example, so that no example finds what an earlier one left in the database.
secrets = st.builds(
    lambda left, right: f"{left}{uuid.uuid4().hex}{right}",
    st.text(alphabet, max_size=6),
    st.text(alphabet, max_size=6),
)


def forms(secret: str) -> set[bytes]:
    """What would give the secret away."""
    core = next(secret[i : i + 32] for i in range(len(secret)) if _is_uuid(secret[i : i + 32]))
    plain = {secret, json.dumps(secret)[1:-1], core, core[:12], core.upper(), core[:12].upper(), core[12:24]}
    raw = core.encode()
    # Without the ends, which depend on what stands around it.
    encoded = {raw[:12].hex(), *(base64.b64encode(b"x" * skip + raw)[4:28].decode() for skip in range(3))}
    return {text.encode() for text in plain | encoded}


def _is_uuid(text: str) -> bool:
    try:
        return uuid.UUID(text).hex == text
    except ValueError:
        return False


def leaks(plane: EmbeddedControlPlane, secret: str, *texts: str) -> list[str]:
    """Where any form of the secret can be read: files beside the database, or texts."""
    assert isinstance(plane.store, SQLiteStore)
    folder = plane.store.path.parent
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert any(contents.values())
    contents |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    return [
        f"{form!r} in {where}" for where, what in contents.items() for form in forms(secret) if form in what
    ]


def login(
    user: str = "ann",
    password: str | None = None,
    quiet: Any = None,
    phrase: Annotated[str | None, Redact] = None,
    alias: Token | None = None,
    config: Any = None,
    **more: Any,
) -> None:
    """A tool with secrets of every sort; what it says when it fails is up to the test."""
    if more.get("fails"):
        raise RuntimeError(more["fails"][0])


@settings(max_examples=SCHEDULES // 15)
@given(secret=secrets, ends=st.sampled_from(["ok", "denied", "pending"]))
@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_secret_passed_anywhere_is_found_nowhere(
    plane: EmbeddedControlPlane, caplog: pytest.LogCaptureFixture, secret: str, place: str, ends: str
) -> None:
    """Whatever the decision: neither files, logs, errors nor reprs hold any part of it."""
    caplog.set_level(logging.DEBUG)
    action = {"ok": "login_read", "denied": "login_delete", "pending": "refund"}[ends]
    tool = governed(
        action,
        "login",
        resource="users/{user}/{password}",
        resource_id=lambda named: f"{named['user']}-{named['password']}-{named.get('phrase')}",
        redact=("quiet", "silent"),
        on_pending="raise",
    )(login)
    texts = []
    try:
        tool("ann", **PLACES[place](secret))
    except AscendError as error:
        assert ends != "ok"
        texts += [str(error), repr(error), repr(error.__dict__)]
    settled(plane)
    action_ = asked(plane, rows(plane)[-1].id)
    texts += [repr(tool), repr(action_), caplog.text]
    assert leaks(plane, secret, *texts) == []
    assert "ann" in action_.action_details["user"]


@settings(max_examples=SCHEDULES // 15)
@given(secret=secrets, how=st.sampled_from(sorted(RAISED)))
@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_secret_raised_by_the_tool_is_found_nowhere(
    plane: EmbeddedControlPlane, caplog: pytest.LogCaptureFixture, secret: str, place: str, how: str
) -> None:
    """The tool's own exception reaches the caller as it is; the recorded message is without the secret."""
    caplog.set_level(logging.DEBUG)
    given_ = PLACES[place](secret)
    message = RAISED[how](f"Bearer {secret}" if place == "header" else secret)

    def failing(**arguments: Any) -> None:
        raise RuntimeError(message)

    tool = governed("login_read", "login", redact=("quiet", "silent", "phrase", "alias"))(failing)
    with pytest.raises(RuntimeError) as caught:
        tool(**given_)
    assert str(caught.value) == message
    settled(plane)
    error = rows(plane)[-1].error
    assert error is not None
    assert error.startswith("RuntimeError: ")
    assert leaks(plane, secret, error, caplog.text) == []


@given(secret=secrets, kind=st.sampled_from(KINDS))
def test_every_kind_of_tool_keeps_secrets(plane: EmbeddedControlPlane, secret: str, kind: Kind) -> None:
    """Redaction by name works through methods, partials, streams and the rest, and in what they raise."""

    class Failing(Body):
        def act(self, *arguments: Any) -> Any:
            raise RuntimeError(f"no: {arguments!r}")

        def chunks(self, *arguments: Any) -> Any:
            yield 1
            raise RuntimeError(f"no: {arguments!r}")

        async def achunks(self, *arguments: Any) -> Any:
            yield 1
            raise RuntimeError(f"no: {arguments!r}")

    tool = kind.make(governed("order_read", redact=("amount",)), Failing())
    with pytest.raises(RuntimeError, match="no: "):
        kind.run(tool, "o-1", secret)
    settled(plane)
    assert leaks(plane, secret, repr(tool)) == []
    assert asked(plane, rows(plane)[-1].id).action_details["amount"] == "[REDACTED]"
    assert "no: " in str(rows(plane)[-1].error)


@given(secret=secrets)
def test_guard_scope_and_declarations_keep_secrets(
    plane: EmbeddedControlPlane, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    """Parameters of blocks, context of scopes and declared context are redacted alike; the permit does not show them."""
    caplog.set_level(logging.DEBUG)
    block = guard(
        "login_read",
        parameters={"password": secret, "config": {"token": secret}, "quiet": secret},
        redact=("quiet",),
        context={"api_key": secret},
        risk_indicators={"credential": secret},
        resource=lambda named: f"users/{named['quiet']}",
    )
    texts = [repr(block)]

    def failing() -> None:
        with scope(context={"headers": {"Cookie": secret}}), block as permit:
            assert permit.parameters["password"] == secret
            texts.extend((repr(permit), str(permit)))
            raise RuntimeError(f"failed with {permit.parameters}")

    with pytest.raises(RuntimeError):
        failing()
    settled(plane)
    assert len(texts) == 3
    assert leaks(plane, secret, *texts, caplog.text) == []


@settings(max_examples=SCHEDULES // 15)
@given(secret=secrets, where=st.sampled_from(["new name", "inside", "declared"]))
def test_an_approvers_edits_keep_secrets(plane: EmbeddedControlPlane, secret: str, where: str) -> None:
    """A secret that comes in with an approver's edited arguments is one too: it is stored nowhere."""
    tool = governed("refund", redact=("*.quiet",), on_pending="raise")(lambda amount, config: None)
    with pytest.raises(AscendError) as caught:
        tool(900.0, {"user": uuid.uuid4().hex})
    edited = {
        "new name": {"user": "ann", "password": secret},
        "inside": {"user": {"name": "ann", "api_key": [secret]}},
        "declared": {"quiet": secret},
    }[where]
    texts = []
    try:
        plane.approve(str(caught.value.action_id), approver="ann", arguments={"config": edited})
    except AscendError as error:
        texts.append(str(error))
    settled(plane)
    assert leaks(plane, secret, *texts) == []


@given(secret=secrets)
def test_a_call_that_does_not_fit_keeps_secrets(
    plane: EmbeddedControlPlane, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    """Errors before anything is submitted do not quote values either: wrong names, too deep, unreadable, cyclic."""
    caplog.set_level(logging.DEBUG)
    cyclic: list[Any] = [secret]
    cyclic.append(cyclic)
    tool = governed("login_read", redact=("quiet",))(lambda user, password, quiet=None: None)
    texts = []
    for call in (
        lambda: tool("ann", secret, typo=secret),
        lambda: tool("ann", secret, secret, secret),
        lambda: tool("ann", cyclic),
        lambda: tool("ann", secret, quiet={"a": cyclic}),
        lambda: tool("ann", secret * 100_000),
        lambda: tool("ann", {secret: cyclic}),
        lambda: tool("ann", secret, quiet=_Hostile(secret)),
    ):
        try:
            call()
        except (AscendError, TypeError) as error:
            texts += [str(error), repr(error)]
    settled(plane)
    assert leaks(plane, secret, *texts, caplog.text) == []


class _Hostile(dict[Any, Any]):
    """Says its secret whenever it is looked at."""

    def __init__(self, secret: str) -> None:
        super().__init__(a=1)
        self._secret = secret

    def items(self) -> Any:
        raise RuntimeError(self._secret)

    def __iter__(self) -> Any:
        raise RuntimeError(self._secret)

    def __repr__(self) -> str:
        return self._secret


def test_a_resource_that_cannot_be_described_keeps_secrets(plane: EmbeddedControlPlane) -> None:
    """A callable that fails on the arguments blocks the call with an error of ours, which quotes no argument."""
    ran: list[int] = []
    tool = governed("login_read", resource=lambda named: named[named["password"]])(
        lambda password: ran.append(1)
    )
    with pytest.raises(AscendError) as caught:
        tool("hunter2-hunter2")
    assert "hunter2" not in str(caught.value)
    assert "resource" in str(caught.value)
    assert ran == []


def test_names_say_what_is_secret_and_what_is_not(plane: EmbeddedControlPlane) -> None:
    """The names people use for secrets are redacted; names that only look like them are not."""

    @governed("login_read")
    def tool(
        api_key: str, db_password: str, access_token: str, author: str, max_tokens: int, secretary: str
    ) -> None: ...

    tool("a", "b", "c", "d", 5, "f")
    details = asked(plane, rows(plane)[0].id).action_details
    assert [name for name, value in details.items() if value == "[REDACTED]"] == [
        "api_key",
        "db_password",
        "access_token",
    ]


def test_what_is_redacted_still_binds_the_permit(plane: EmbeddedControlPlane) -> None:
    """Another password is another call, though nobody can see the difference."""
    tool = governed("refund", on_pending="raise")(lambda amount, password: None)
    with pytest.raises(AuthorizationDeniedError):
        tool(900.0, "one")
    with pytest.raises(AuthorizationDeniedError):
        tool(900.0, "two")
    first, second = rows(plane)
    assert asked(plane, first.id).action_details == asked(plane, second.id).action_details
    assert first.digest != second.digest


class _Noisy(str):
    """Text with ideas of its own."""

    def encode(self, *arguments: Any, **more: Any) -> bytes:
        raise RuntimeError(str.__str__(self))

    def __getitem__(self, index: Any) -> str:
        raise RuntimeError(str.__str__(self))


class _Failure(Exception):
    """An exception whose message is not plain text."""

    def __str__(self) -> str:
        return _Noisy(self.args[0])


@given(secret=secrets)
def test_only_the_message_of_an_error_is_recorded(plane: EmbeddedControlPlane, secret: str) -> None:
    """Neither notes, causes, members of a group nor attributes; names of classes without secrets."""

    def failing(password: str, how: str) -> None:
        if how == "notes":
            error = ValueError("no")
            error.add_note(password)
            raise error
        if how == "cause":
            raise ValueError("no") from KeyError(password)
        if how == "group":
            raise ExceptionGroup("no", [ValueError(password), ExceptionGroup(password, [KeyError(password)])])
        if how == "class":
            raise type(f"Error{password}", (ValueError,), {})("no")
        if how == "noisy":
            raise _Failure(f"no {password}")
        raise FileNotFoundError(2, "no", password)

    tool = governed("login_read")(failing)
    for how in ("notes", "cause", "group", "class", "noisy", "file"):
        with pytest.raises(Exception):  # noqa: B017  # each is of another class
            tool(secret, how)
        settled(plane)
        error = str(rows(plane)[-1].error)
        assert "no" in error
        assert leaks(plane, secret, error) == []


def test_a_huge_message_is_read_in_part(plane: EmbeddedControlPlane) -> None:
    """What cannot become part of the recorded message is not searched either."""

    def failing(password: str) -> None:
        raise RuntimeError(f"no {password} " + "x" * 5_000_000 + password)

    with pytest.raises(RuntimeError):
        governed("login_read")(failing)("hunter2-hunter2")
    settled(plane)
    error = str(rows(plane)[-1].error)
    assert error.startswith("RuntimeError: no [REDACTED] xxx")
    assert len(error) < 600


def test_a_permit_shows_no_argument(plane: EmbeddedControlPlane) -> None:
    """Printed with rich, compared, formatted or encoded: only ``permit.parameters`` has them."""
    with guard("login_read", parameters={"password": "hunter2-hunter2"}) as permit:
        shown = [
            repr(permit),
            f"{permit} {permit!r}",
            rich.pretty.pretty_repr(permit),
            pprint.pformat([permit]),
        ]
        for encode in (msgspec.json.encode, json.dumps, pickle.dumps, vars):
            with pytest.raises(TypeError):
                encode(permit)
        assert permit.parameters == {"password": "hunter2-hunter2"}
    assert [text for text in shown if "hunter2" in text] == []


def test_digests_do_not_help_to_guess(plane: EmbeddedControlPlane, tmp_path: Path) -> None:
    """The same call has unrelated digests on two databases: nobody without the key can try values out."""
    governed("login_read")(lambda pin: None)("1234")
    (mine,) = rows(plane)
    other = EmbeddedControlPlane(SQLiteStore(tmp_path / "other.db", durability="process"), plane.policy)
    governed("login_read", control_plane=other)(lambda pin: None)("1234")
    (theirs,) = rows(other)
    assert mine.digest != theirs.digest
    other.close()
