"""What holds secrets does not show them to whatever prints, logs, encodes or compares it."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import io
import json
import logging
import pickle
import pkgutil
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import rich.console
import rich.pretty
import rich.traceback
from hypothesis import given
from hypothesis import strategies as st

import ascend_guard
from ascend_guard import ActionResult, Decision, Permit
from ascend_guard.arguments import Arguments, normalise
from ascend_guard.arguments.walk import Walk
from ascend_guard.redaction.hidden import MASK, HiddenKey, Secrets, masks
from ascend_guard.redaction.secret_names import is_secret_name

SECRET = "Zq7-TOPSECRET"


def _permit() -> Permit:
    return Permit("7", "ab" * 32, ActionResult("7", Decision.APPROVED), {"password": SECRET, "n": [SECRET]})


def _walk() -> Walk:
    walk = Walk(lambda *_: None, frozenset(), 1, 1, 1)
    walk.out.append(SECRET)
    walk.secrets.append(SECRET)
    return walk


HOLDERS: dict[str, Callable[[], Any]] = {
    "permit": _permit,
    "arguments": lambda: normalise({"password": SECRET}, key=SECRET.encode()),
    "secrets": lambda: Secrets((SECRET,)),
    "key": lambda: HiddenKey(SECRET.encode()),
    "walk": _walk,
}


def _logged(value: Any, form: str) -> str:
    stream = io.StringIO()
    logger = logging.Logger("hidden")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error(form, value)
    return stream.getvalue()


def _raised(value: Any) -> Exception:
    def failing(held: Any) -> None:
        several = [held, {"held": held}]
        raise RuntimeError(len(several))

    try:
        failing(value)
    except RuntimeError as error:
        return error
    raise AssertionError


def _rich_traceback(value: Any) -> str:
    error = _raised(value)
    console = rich.console.Console(file=io.StringIO(), width=200)
    shown = rich.traceback.Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _printed(value: Any) -> str:
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(value, [value])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _compared(value: Any) -> str:
    """As pytest explains a comparison."""
    try:
        assert [value] == [object()]
    except AssertionError as error:
        return str(error)
    raise RuntimeError("these are not equal")


VIEWERS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!r} {value!s} {value!a}",
    "percent": lambda value: "%r %s %a" % (value, value, value),  # noqa: UP031  # the way of logging
    "in containers": lambda value: repr([{"a": (value, {1: value})}]),
    "pprint": lambda value: pprint.pformat([value], width=20),
    "logging": lambda value: _logged(value, "got %r and all") + _logged(value, "got %s"),
    "rich": _printed,
    "rich pretty": lambda value: rich.pretty.pretty_repr([value], max_width=20),
    "rich traceback": _rich_traceback,
    "traceback": lambda value: "".join(
        traceback.TracebackException.from_exception(_raised(value), capture_locals=True).format()
    ),
    "pytest": _compared,
    "json with repr": lambda value: json.dumps([value], default=repr),
}


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_no_printer_shows_what_is_hidden(holder: str, viewer: str) -> None:
    """Whatever people print with shows the value's name, and nothing of what is in it."""
    value = HOLDERS[holder]()
    shown = VIEWERS[viewer](value)
    assert shown
    assert "TOPSECRET" not in shown


ENCODERS: dict[str, Callable[[Any], Any]] = {
    "msgspec json": msgspec.json.encode,
    "msgspec msgpack": msgspec.msgpack.encode,
    "msgspec builtins": msgspec.to_builtins,
    "msgspec structure": lambda value: repr(msgspec.structs.asdict(value)),
    "dataclass": lambda value: repr(dataclasses.asdict(value)),
    "json": json.dumps,
    "vars": lambda value: repr(vars(value)),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("holder", ["permit", "arguments", "secrets"])
def test_no_encoder_reads_the_fields(holder: str, encoder: str) -> None:
    """It refuses, or shows no secret: what it reads field by field has none in its fields."""
    try:
        encoded = ENCODERS[encoder](HOLDERS[holder]())
    except (TypeError, AttributeError):
        return
    assert "TOPSECRET" not in str(encoded)
    assert "TOPSECRET" not in repr(encoded)


def test_a_permit_is_not_pickled() -> None:
    """It is good for one run in its own process; copies are the permit itself."""
    permit = _permit()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="action_id"):
            pickle.dumps(permit, protocol)
    assert copy.copy(permit) is permit
    assert copy.deepcopy([permit])[0] is permit


def test_a_permit_does_not_change() -> None:
    """Nobody puts other arguments under a decision."""
    permit = _permit()
    for name in ("action_id", "digest", "result", "parameters", "_parameters", "edited", "new"):
        with pytest.raises(AttributeError, match="is immutable"):
            setattr(permit, name, "x")
        with pytest.raises(AttributeError, match="is immutable"):
            delattr(permit, name)
    assert permit.parameters == {"password": SECRET, "n": [SECRET]}
    assert Permit("7", "ab", permit.result).parameters == {}


def test_keys_work_as_bytes() -> None:
    """Only how they are shown differs."""
    key = HiddenKey(b"0123")
    assert key == b"0123"
    assert hash(key) == hash(b"0123")
    assert key.hex() == "30313233"
    first = normalise({"a": 1}, key=key)
    assert first.digest == normalise({"a": 1}, key=b"0123").digest


@given(st.lists(st.text(min_size=1), max_size=5))
def test_hidden_texts_work_as_a_sequence(texts: list[str]) -> None:
    """Only how they are shown differs."""
    hidden = Secrets(texts)
    assert list(hidden) == texts
    assert hidden == tuple(texts)
    assert hidden == Secrets(texts)
    assert len(hidden) == len(texts)
    assert bool(hidden) is bool(texts)
    assert list(hidden[1:]) == texts[1:]
    assert [hidden[index] for index in range(len(texts))] == texts
    assert hash(hidden) == hash(Secrets(texts))


def test_masks_names_fields_that_exist() -> None:
    """A misspelled field would stay visible."""
    with pytest.raises(TypeError, match="no field 'passwort'"):

        @masks("passwort")
        class Login(msgspec.Struct):
            password: str


READABLE = {
    ("ascend_guard.engine.audit", "Checkpoint", "signature"): "it is public: it proves where the trail ended",
    ("ascend_guard.engine.webhooks", "Webhook", "secret"): "it is encrypted",
    ("ascend_guard.store.rows", "LogRow", "salt"): "it is random, and opens nothing",
    ("ascend_guard.arguments", "Arguments", "secrets"): "its type hides it",
}


def test_every_structure_with_a_secret_field_masks_it() -> None:
    """Fields with the name of a secret, in every structure of the package."""
    shown, masked = set(), set()
    for module in pkgutil.walk_packages(ascend_guard.__path__, "ascend_guard."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if not (isinstance(kind, type) and kind.__module__ == module.name):
                continue
            for name in getattr(kind, "__struct_fields__", ()):
                if is_secret_name(name):
                    own = "__repr__" in vars(kind) and "__rich_repr__" in vars(kind)
                    (masked if own else shown).add((module.name, kind.__name__, name))
    assert shown - set(READABLE) == set()
    assert len(masked) >= 3


def test_masked_fields_show_whether_there_is_a_value() -> None:
    """None is no secret, and the others are shown as they are."""
    from ascend_guard.api.actions import SubmitBody

    body = SubmitBody("agent", "Agent", "refund", parameters={"note": SECRET})
    for shown in (repr(body), rich.pretty.pretty_repr(body)):
        assert SECRET not in shown
        assert f"parameters={MASK}" in shown
        assert "context=None" in shown
        assert "'refund'" in shown
    assert SECRET.encode() in msgspec.json.encode(body)


def test_arguments_are_still_compared_by_value() -> None:
    """Hiding them changes no digest and no secret."""
    first, second = (normalise({"password": SECRET}, key=b"k") for _ in range(2))
    assert isinstance(first, Arguments)
    assert first.digest == second.digest
    assert first.secrets == second.secrets == (SECRET,)
