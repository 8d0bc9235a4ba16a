"""Values that no log, traceback or debug print may show, and classes that contain them (promise 8).

1. A key is a ``HiddenKey``: bytes that do not show their content.
2. A class whose fields contain secrets or raw arguments is decorated with ``masks``: ``repr`` and ``rich`` show "***"
   there.
3. An object that other libraries would print or encode field by field (``Permit``) is a plain object, not a structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

__all__ = ["MASK", "HiddenKey", "Secrets", "masks"]

MASK = "***"
"""What is shown in place of a hidden value."""

T = TypeVar("T")


class HiddenKey(bytes):
    """Secret bytes, such as the key of the digests."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"HiddenKey({MASK})"

    __str__ = __repr__

    def __rich_repr__(self) -> list[str]:
        return [MASK]


class Secrets(Sequence[str]):
    """The texts of what was redacted. Not a tuple, whose members libraries would print and encode."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple(texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Secrets: ...
    def __getitem__(self, index: int | slice) -> str | Secrets:
        return Secrets(self._texts[index]) if isinstance(index, slice) else self._texts[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __eq__(self, other: object) -> bool:
        return self._texts == (other._texts if isinstance(other, Secrets) else other)

    def __hash__(self) -> int:
        return hash(self._texts)

    def __repr__(self) -> str:
        return f"Secrets({len(self._texts)} x {MASK})"

    def __rich_repr__(self) -> list[str]:
        return [f"{len(self._texts)} x {MASK}"]


def masks(*hidden: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator for msgspec structures: their representations show ``***`` for these fields, unless they are
    None."""

    def decorate(kind: type[T]) -> type[T]:
        fields: tuple[str, ...] = getattr(kind, "__struct_fields__", ())
        unknown = set(hidden) - set(fields)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field {min(unknown)!r}")

        def shown(self: Any) -> list[tuple[str, Any]]:
            values = ((name, getattr(self, name)) for name in fields)
            return [
                (name, _Mask() if name in hidden and value is not None else value) for name, value in values
            ]

        def represent(self: Any) -> str:
            return f"{kind.__name__}({', '.join(f'{name}={value!r}' for name, value in shown(self))})"

        kind.__repr__ = represent  # type: ignore[method-assign]  # a class has the methods that are set on it
        kind.__rich_repr__ = shown  # type: ignore[attr-defined]  # rich looks for it by name
        return kind

    return decorate


class _Mask:
    __slots__ = ()

    def __repr__(self) -> str:
        return MASK
