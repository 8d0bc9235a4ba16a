"""Arguments that cannot be judged block the call; wrong ones fail as Python words it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from recorded import every_action

from ascend_guard import ActionPendingError, EmbeddedControlPlane, ValidationError, governed

ran: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    """Nothing has run yet."""
    ran.clear()


@governed("note_read")
def note(value: Any, *, mark: str = "") -> None:
    ran.append(value)


def bare(value: Any, *, mark: str = "") -> None: ...


bare.__name__ = bare.__qualname__ = "note"


def recorded(plane: EmbeddedControlPlane) -> int:
    return len(plane.read(lambda reader: every_action(reader)))


def cyclic() -> list[Any]:
    knot: list[Any] = []
    knot.append(knot)
    return knot


def deep(levels: int = 100_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        cyclic,
        deep,
        lambda: "x" * (2 << 20),
        lambda: bytes(2 << 20),
        lambda: [[0] * 1000] * 1000,
        lambda: {"a": cyclic()},
    ],
    ids=["cyclic", "deep", "huge text", "huge bytes", "huge list", "cyclic inside"],
)
def test_an_argument_that_cannot_be_judged(make: Callable[[], Any], plane: EmbeddedControlPlane) -> None:
    """One error names the argument; nothing runs and nothing is left behind."""
    with pytest.raises(ValidationError, match=r"value|arguments"):
        note(make())
    assert ran == []
    assert plane.verify_audit().ok


def test_an_opaque_argument_cannot_be_detached(plane: EmbeddedControlPlane) -> None:
    """A call that cannot be recognised later says so, and says what to pass instead."""

    @governed("refund", on_pending="raise")
    def refund(amount: float, connection: object) -> None:
        ran.append(amount)

    with pytest.raises(ActionPendingError, match="pass plain data"):
        refund(900.0, (n for n in ()))
    assert ran == []


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, 2), {}),
        ((1,), {"value": 2}),
        ((1,), {"colour": "red"}),
        ((), {"valeu": 1}),
        ((), {"mark": "x"}),
        ((1, 2), {"mark": "x"}),
    ],
)
def test_wrong_argument_names(
    args: tuple[Any, ...], kwargs: dict[str, Any], plane: EmbeddedControlPlane
) -> None:
    """A TypeError in Python's own words; the tool does not run and nothing is recorded."""
    with pytest.raises(TypeError) as bare_error:
        bare(*args, **kwargs)
    with pytest.raises(TypeError) as error:
        note(*args, **kwargs)
    assert str(error.value) == str(bare_error.value)
    assert (ran, recorded(plane)) == ([], 0)


def test_a_closed_control_plane(plane: EmbeddedControlPlane) -> None:
    """It says that it was closed, and closing twice is no error."""
    note(1)
    plane.close()
    with pytest.raises(Exception, match=r"was closed\. Configure a new one"):
        note(2)
    assert ran == [1]
    plane.close()
