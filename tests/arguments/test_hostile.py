"""Whatever is passed, a call is judged or refused; it never crashes, hangs, lies or grows without bound."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from argument_values import KEY, Thing
from hypothesis import given
from hypothesis import strategies as st

import ascend_guard.arguments
from ascend_guard.arguments import digest_of, normalise
from ascend_guard.errors import ValidationError


def refused(value: Any, match: str, **options: Any) -> None:
    with pytest.raises(ValidationError, match=match):
        normalise({"value": value}, key=KEY, **options)
    with pytest.raises(ValidationError, match=match):
        digest_of({"value": value}, key=KEY, **options)


def _bomb(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("code of a hostile class ran")


_HOOKS = """
__repr__ __str__ __format__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __bool__ __iter__ __next__
__len__ __contains__ __getitem__ __getattr__ __getattribute__ __index__ __int__ __float__ __complex__
__bytes__ __fspath__ __buffer__ __copy__ __deepcopy__ __reduce__ __reduce_ex__ __sizeof__ __length_hint__
__reversed__ __add__ __sub__ __rsub__ __instancecheck__ __subclasscheck__ __dir__ __call__ items keys values
copy get encode decode isoformat bit_length to_bytes isascii as_tuple is_finite hex join
"""


def _hostile(base: type, *args: Any) -> Any:
    """An instance of a subclass whose every method and attribute raises."""
    space: dict[str, Any] = {**dict.fromkeys(_HOOKS.split(), _bomb), "__class__": property(_bomb)}
    lies = dict.fromkeys(("__hash__", "__eq__", "__repr__", "__getattribute__"), _bomb)
    meta: Any = type("Meta", (type,), lies)
    made = type.__call__(meta, "Evil", (base,), space)
    return base.__new__(made, *args)


@pytest.mark.parametrize(
    ("base", "args"),
    [(object, ()), (str, ("a",)), (int, (7,)), (float, (1.5,)), (bytes, (b"a",)), (tuple, ((1, 2),))],
)
def test_no_code_of_a_hostile_class_runs(base: type, args: tuple[Any, ...]) -> None:
    """Everything is read with the base's own methods, so nothing raises and nothing lies."""
    value = _hostile(base, *args)
    arguments = normalise({"value": [value]}, key=KEY)
    expected = (
        {"$opaque": f"{__name__}.Evil"}
        if base is object
        else normalise({"value": args}, key=KEY).plain["value"][0]
    )
    assert arguments.plain == {"value": [expected]}
    assert arguments.digest == digest_of({"value": [value]}, key=KEY)


@pytest.mark.parametrize("base", [list, dict, set, bytearray])
def test_no_code_of_a_hostile_container_runs(base: Any) -> None:
    """A container that says it is empty, or raises, is read all the same."""
    value = _hostile(base)
    if base is list:
        list.append(value, 1)
    elif base is dict:
        dict.__setitem__(value, "a", 1)
    elif base is set:
        set.add(value, 1)
    else:
        bytearray.extend(value, b"a")
    shown = {list: [1], dict: {"a": 1}, set: [1], bytearray: {"$bytes": "YQ=="}}[base]
    assert normalise({"value": value}, key=KEY).plain == {"value": shown}


class Trap:
    """Equal to nothing and without a hash, from when it is set."""

    set = False

    def __hash__(self) -> int:
        return _bomb() if Trap.set else 1

    def __eq__(self, other: object) -> bool:
        return _bomb() if Trap.set else self is other


def test_keys_and_members_are_neither_hashed_nor_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would run code of their classes."""

    class Table(dict):
        pass

    keys = Trap(), Trap(), (Trap(),)
    values = [dict.fromkeys(keys, 1), Table(dict.fromkeys(keys, 1)), set(keys), frozenset(keys)]
    monkeypatch.setattr(Trap, "set", True)
    arguments = normalise({"value": values}, key=KEY)
    shown = {"$opaque": f"{__name__}.Trap"}
    assert arguments.plain["value"][2] in (
        [shown, shown, [shown]],
        [shown, [shown], shown],
        [[shown], shown, shown],
    )
    assert arguments.digest == digest_of({"value": values}, key=KEY)


def test_a_metaclass_cannot_pass_a_class_off_as_another() -> None:
    """Not by equality, not by hash."""

    class Meta(type):
        __hash__ = lambda cls: hash(str)
        __eq__ = lambda cls, other: True

    class Evil(metaclass=Meta):
        __len__ = __str__ = _bomb

    assert normalise({"value": Evil()}, key=KEY).opaque == ("value",)


def test_a_class_attribute_cannot_hide_fields() -> None:
    """A dataclass with lying properties is read from where its fields are stored."""

    @dataclasses.dataclass
    class Transfer:
        amount: int

        def __getattribute__(self, name: str) -> Any:
            return 1 if name == "amount" else _bomb()

    transfer = Transfer.__new__(Transfer)
    object.__setattr__(transfer, "amount", 1_000_000)
    assert normalise({"value": transfer}, key=KEY).plain == {"value": {"amount": 1_000_000}}


def test_a_computed_field_is_said_to_be_unseen() -> None:
    """A property is not run, so an approver is told that its value was not seen."""

    @dataclasses.dataclass
    class Transfer:
        amount: int

    Transfer.amount = property(lambda self: self._amount, lambda self, value: setattr(self, "_amount", value))
    transfer = Transfer(5)
    arguments = normalise({"value": transfer}, key=KEY)
    assert arguments.plain["value"]["_amount"] == 5
    assert "value.amount" in arguments.opaque
    assert arguments.digest == digest_of({"value": transfer}, key=KEY)


def test_a_cycle_is_refused() -> None:
    """Through every kind of container."""
    items: list[Any] = []
    items.append(items)
    table: dict[str, Any] = {}
    table["x"] = (table,)
    thing = Thing(None)
    thing.y = [thing]
    odd: dict[Any, Any] = {}
    odd[1] = odd
    for value in (items, table, thing, odd):
        refused(value, "containers, or in itself")


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {1: v}, lambda v: Thing(v)]
)
def test_depth_is_bounded(wrap: Callable[[Any], Any]) -> None:
    """What is a hundred thousand deep is refused like what is sixty-five deep."""
    value: Any = 1
    for _ in range(100_000):
        value = wrap(value)
    refused(value, "is nested in more than 64")
    while value != 1:  # or freeing it would need a deep stack
        value = (
            value.x
            if isinstance(value, Thing)
            else next(iter(value.values() if isinstance(value, dict) else value))
        )


def test_a_doubling_structure_is_refused_early() -> None:
    """Sixty lists, each twice in the next, would be an exabyte written out."""
    value: Any = []
    for _ in range(60):
        value = [value, value]
    refused(value, "larger than")


@pytest.mark.parametrize(
    "value",
    [
        "x" * (1 << 24),
        b"x" * (1 << 24),
        bytearray(1 << 24),
        memoryview(bytes(1 << 24)),
        [None] * (1 << 24),
        ["x" * 500_000] * 3,
        1 << (1 << 26),
        {"x" * (1 << 24): 1},
        {str(i): None for i in range(300_000)},
        Thing("x" * (1 << 24)),
        type("T", (str,), {})("x" * (1 << 24)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_size_is_bounded_before_anything_is_copied(value: Any) -> None:
    """What is too large is refused, and refusing it takes little memory."""
    tracemalloc.start()
    try:
        refused(value, "larger than 1,048,576 bytes")
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@given(st.integers(0, 400), st.sampled_from(["a", "é", "\U0001f600"]))
def test_the_limit_counts_bytes_exactly(length: int, letter: str) -> None:
    """The same arguments pass with the limit at their encoding's size and are refused one byte below."""
    value = letter * length
    size = len(f"{{1:1:as{length}:{value}".encode())
    normalise({"a": value}, key=KEY, limit=size)
    with pytest.raises(ValidationError, match="larger than"):
        normalise({"a": value}, key=KEY, limit=size - 1)


def test_a_deep_stack_refuses_instead_of_crashing() -> None:
    """A call made with the stack almost used up is refused."""

    def dive() -> None:
        try:
            dive()
        except RecursionError:
            value: Any = 1
            for _ in range(60):
                value = [value]
            try:
                normalise({"value": value}, key=KEY)
            except (ValidationError, RecursionError) as error:
                outcomes.append(error)
            raise

    outcomes: list[BaseException] = []
    with pytest.raises(RecursionError):
        dive()
    assert any(isinstance(error, ValidationError) and "nested too deep" in str(error) for error in outcomes)


def test_a_released_memoryview_is_refused_by_name() -> None:
    """What cannot be read is refused, with its path and without what it had to say."""
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(
        ValidationError, match=r"argument value\[0\] could not be read \(ValueError\)"
    ) as caught:
        normalise({"value": [view]}, key=KEY)
    assert caught.value.__cause__ is None


def test_a_raising_time_zone_is_refused() -> None:
    """The one piece of code of an argument that runs: a time zone written in Python."""

    class Zone(dt.tzinfo):
        utcoffset = _bomb

    with pytest.raises(ValidationError, match="argument value could not be read"):
        normalise({"value": dt.datetime(2026, 1, 1, tzinfo=Zone())}, key=KEY)


def test_a_container_changed_in_the_middle_is_refused() -> None:
    """By a time zone here, by another thread elsewhere."""

    class Zone(dt.tzinfo):
        def utcoffset(self, _: Any) -> None:
            items.append(1)
            table[str(len(table))] = 1

    items: list[Any] = []
    table: dict[str, Any] = {}
    now = dt.datetime(2026, 1, 1, tzinfo=Zone())
    items.append(now)
    refused(items, "argument value changed while it was read")
    table["a"] = now
    refused(table, "argument value changed while it was read")


def test_fields_of_a_compiled_subclass_are_said_to_be_unseen() -> None:
    """It has room for more than its base, and nothing to read it with."""
    import xxsubtype as compiled

    value = compiled.spamlist([1])
    arguments = normalise({"value": value}, key=KEY)
    assert arguments.plain == {"value": [1]}
    assert arguments.opaque == ("value",)
    assert arguments.digest != digest_of({"value": compiled.spamlist([1])}, key=KEY)


def test_memory_errors_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not the argument's fault."""

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(ascend_guard.arguments, "read_fields", full)
    with pytest.raises(MemoryError):
        normalise({}, key=KEY)


def test_values_changed_by_another_thread_give_one_state_or_a_refusal() -> None:
    """View and digest always belong to the same state, and nothing else is ever raised."""
    shared: dict[str, Any] = {"items": [1] * 50, "table": dict.fromkeys("abcdefgh", 1)}
    stop = threading.Event()
    refusals: set[str] = set()

    def churn() -> None:
        toggle = 0
        while not stop.is_set():
            toggle += 1
            shared["items"].append(toggle)
            shared["table"][str(toggle % 7)] = toggle
            shared["table"].pop(str(toggle % 5), None)
            del shared["items"][: toggle % 3]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(2000):
            try:
                arguments = normalise(shared, key=KEY)
            except ValidationError as error:
                refusals.add(str(error))
            else:
                assert digest_of(arguments.plain, key=KEY) == arguments.digest
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert all("changed while it was read" in refusal for refusal in refusals)


def test_names_in_errors_are_short_and_printable() -> None:
    """A key may be a megabyte of anything."""
    with pytest.raises(ValidationError) as caught:
        normalise({"value": {"\x1b[2J" + "x" * 100_000: [object] * 2_000_000}}, key=KEY)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("named", [None, 5, "ab", [("a",)], object()])
def test_what_is_no_mapping_is_refused(named: Any) -> None:
    """Instead of raising whatever comes."""
    with pytest.raises(ValidationError):
        normalise(named, key=KEY)
