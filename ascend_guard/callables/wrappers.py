"""Find the function that a wrapper really calls, and whether the wrapper passes its arguments through unchanged.

Rules (promises 2 and 7):

1. What a wrapper claims (``__wrapped__``, ``__signature__``, a name) is no evidence of what it does. Neither is its type: a
   ``wrapt.decorator`` may inject arguments as well.
2. A wrapper is followed only when the code that runs is known to pass its arguments through unchanged: its code object is
   that of a function in ``KNOWN``, or it is inside a decorator for which the user vouches.
3. It is followed to what it calls: the content of the closure cell that its code calls, not what an attribute claims.
4. What was read is compared again before each call and at the last check before it (``Step.intact``).
5. Any other wrapper is refused at decoration. The message shows the order that works.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

import wrapt
from msgspec import Struct

from .vouching import Vouching, call_of, codes_inside, refused, unseen

__all__ = ["KNOWN", "OWN", "Known", "Step", "dispatcher_of", "step_of"]


class Known(Struct, frozen=True):
    """A wrapper whose code passes its arguments through unchanged.

    Args:
        place: the inner function as ``module:qualname``; searched only when the module is loaded.
        cell: the variable of its closure that it calls.
        methods: methods of the object in its ``self`` cell that its code calls: each must be one of the functions at these
            places.
    """

    place: str
    cell: str
    methods: dict[str, tuple[str, ...]] = {}


_TENACITY = {
    "__call__": ("tenacity:Retrying.__call__", "tenacity.asyncio:AsyncRetrying.__call__"),
    "copy": ("tenacity:BaseRetrying.copy",),
}
_STAMINA = "stamina._core:retry.<locals>.retry_decorator.<locals>"

KNOWN: tuple[Known, ...] = (
    # with self._recreate_cm(): return func(*args, **kwds)
    Known("contextlib:ContextDecorator.__call__.<locals>.inner", "func"),
    Known("contextlib:AsyncContextDecorator.__call__.<locals>.inner", "func"),
    # return _GeneratorContextManager(func, args, kwds), which calls func(*args, **kwds)
    Known("contextlib:contextmanager.<locals>.helper", "func"),
    Known("contextlib:asynccontextmanager.<locals>.helper", "func"),
    # warn(...); return arg(*args, **kwargs)
    Known("warnings:deprecated.__call__.<locals>.wrapper", "arg"),
    Known("typing_extensions:deprecated.__call__.<locals>.wrapper", "arg"),
    # with self._recreate_cm(): return await func(*args, **kwargs)
    Known("opentelemetry.util._decorator:_AgnosticContextManager.__call__.<locals>.async_wrapper", "func"),
    # return self.copy()(f, *args, **kw), which calls f(*args, **kw) until it is done
    Known("tenacity:BaseRetrying.wraps.<locals>.wrapped_f", "f", _TENACITY),
    Known("tenacity.asyncio:AsyncRetrying.wraps.<locals>.async_wrapped", "fn", _TENACITY),
    # for attempt in ...: with attempt: return wrapped(*args, **kw)
    Known(f"{_STAMINA}.sync_inner", "wrapped"),
    Known(f"{_STAMINA}.async_inner", "wrapped"),
    Known(f"{_STAMINA}.sync_gen_inner", "wrapped"),
    Known(f"{_STAMINA}.async_gen_inner", "wrapped"),
)
"""Wrappers that are followed, one a line. Add one only after reading its code in every supported version: between its
parameters and the call nothing may be added, dropped, reordered or changed."""

OWN: dict[type, Callable[[Any], object]] = {}
"""ascend-guard's own wrappers by their type, with a function that finds what they call; they register themselves."""


class Step(Struct, frozen=True):
    """One wrapper on the way to the function that is really called.

    Args:
        inner: what the wrapper calls with its arguments.
        intact: returns whether that is unchanged.
        explicit: defaults may be passed to it as arguments. Not to a cache: they may not be hashable, and the key of a
            result is the call as written.
        vouched: the decorator for which the user vouches, if it is followed because of that.
    """

    inner: Any
    intact: Callable[[], bool]
    explicit: bool = True
    vouched: str | None = None


def step_of(target: Any, vouching: Vouching) -> Step | None:
    """Return the step through a wrapper; None when this is not a wrapper and does not claim to be one.

    Raises:
        ConfigurationError: it wraps something, or claims to, and what it does with its arguments is unknown.
    """
    kind = type(target)
    found: Step | None
    if kind in OWN:
        return Step(OWN[kind](target), _always)
    if kind is functools._lru_cache_wrapper:
        return _cached(target)
    if kind is FunctionType:
        found = _known_function(target) or _vouched_function(target, vouching)
        if found is None and _claims(target):
            raise refused(target)
        return found
    if kind in (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper):
        found = _vouched_wrapt(target, vouching)
    else:
        found = _vouched_object(target, vouching)
    if found is None and inspect.getattr_static(target, "__wrapped__", None) is not None:
        raise refused(target)
    return found


def dispatcher_of(target: Any) -> Callable[[tuple[object, ...]], Any] | None:
    """For ``functools.singledispatch`` and ``singledispatchmethod``: return a function that finds what a call with these
    positional arguments ends in. None for everything else."""
    if type(target) is not FunctionType:
        return None
    cells = _cells(target)
    if _is_code_of(target, "functools:singledispatch.<locals>.wrapper"):
        dispatch = cells["dispatch"].cell_contents
        return lambda args: dispatch(args[0].__class__)
    if _is_code_of(target, "functools:singledispatchmethod.__get__.<locals>._method"):
        holder, owner = cells["obj"].cell_contents, cells["cls"].cell_contents
        if "dispatch" in cells:
            dispatch = cells["dispatch"].cell_contents
        else:
            dispatch = cells["self"].cell_contents.dispatcher.dispatch
        return lambda args: dispatch(args[0].__class__).__get__(holder, owner)
    return None


# --- functions ---------------------------------------------------------------------------------------------------------


def _claims(function: FunctionType) -> bool:
    """Return whether a function claims to be another one. A claimed signature matters only if its own is unspecific."""
    open_ended = function.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return "__wrapped__" in function.__dict__ or ("__signature__" in function.__dict__ and bool(open_ended))


def _known_function(function: FunctionType) -> Step | None:
    for known in KNOWN:
        if not _is_code_of(function, known.place):
            continue
        cells = _cells(function)
        if known.methods and not _has_methods(cells["self"].cell_contents, known.methods):
            return None
        return _through_cells(function, [cells[known.cell]], cells.get("self"))
    return None


def _vouched_function(function: FunctionType, vouching: Vouching) -> Step | None:
    vouched = vouching.of_code(function.__code__)
    if vouched is None:
        return None
    claimed = function.__dict__.get("__wrapped__")
    called = [cell for cell in _cells(function).values() if callable(_content(cell))]
    if claimed is not None:
        called = [cell for cell in called if cell.cell_contents is claimed]
    if not called or (claimed is None and len(called) > 1):
        raise unseen(function, vouched)
    return _through_cells(function, called, None, vouched)


def _through_cells(
    function: FunctionType, called: list[CellType], holder: CellType | None, vouched: str | None = None
) -> Step:
    code, inner = function.__code__, called[0].cell_contents
    held = None if holder is None else holder.cell_contents

    def intact() -> bool:
        return (
            function.__code__ is code
            and all(cell.cell_contents is inner for cell in called)
            and (holder is None or holder.cell_contents is held)
        )

    return Step(inner, intact, vouched=vouched)


def _has_methods(holder: object, methods: dict[str, tuple[str, ...]]) -> bool:
    for name, allowed in methods.items():
        method = getattr(type(holder), name, None)
        if name in getattr(holder, "__dict__", ()) or not any(method is _named(place) for place in allowed):
            return False
    return True


def _named(place: str) -> Any:
    module, _, qualname = place.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if found is not None else refused  # refused is no method of any class


def _cells(function: FunctionType) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return None


def _is_code_of(function: FunctionType, place: str) -> bool:
    """Return whether this runs the code of a nested function, such as ``contextlib:contextmanager.<locals>.helper``."""
    module, _, qualname = place.partition(":")
    outer, *inner = qualname.split(".<locals>.")
    if function.__code__.co_name != inner[-1]:
        return False
    found: object = sys.modules.get(module)
    for part in outer.split("."):
        found = inspect.getattr_static(found, part, None)
    codes = [found.__code__] if type(found) is FunctionType else []
    for name in inner:
        codes = [each for code in codes for each in codes_inside(code) if each.co_name == name]
    return any(code is function.__code__ for code in codes)  # equal code of another module has other globals


# --- everything else ---------------------------------------------------------------------------------------------------


def _always() -> bool:
    return True


def _cached(target: object) -> Step:
    """``functools.lru_cache`` calls its function, which only the garbage collector can return."""
    inner = target.__dict__.get("__wrapped__")
    if not any(inner is held for held in gc.get_referents(target)) or inner is type(target):
        raise refused(target)
    return Step(inner, _always, explicit=False)


def _vouched_wrapt(target: Any, vouching: Vouching) -> Step | None:
    """``wrapt.decorator`` calls a function of the decorator, which calls the wrapped function."""
    wrapper = target._self_wrapper
    wrapper = getattr(wrapper, "__func__", wrapper)
    vouched = vouching.of_code(wrapper.__code__) if type(wrapper) is FunctionType else None
    if vouched is None:
        return None
    inner = target.__wrapped__
    return Step(inner, lambda: target.__wrapped__ is inner, vouched=vouched)


def _vouched_object(target: object, vouching: Vouching) -> Step | None:
    """An object of a class that the user vouches for calls what it stores in an attribute."""
    vouched = vouching.of_class(type(target))
    if vouched is None:
        return None
    held = {name: value for name, value in getattr(target, "__dict__", {}).items() if callable(value)}
    claimed = held.pop("__wrapped__", None)
    if claimed is not None:
        names = [name for name, value in held.items() if value is claimed] or (
            [] if held else ["__wrapped__"]
        )
    else:
        names = list(held) if len(held) == 1 else []
    if not names:
        raise unseen(target, vouched)
    inner = target.__dict__[names[0]]
    kind, call = type(target), call_of(type(target))

    def intact() -> bool:
        return (
            type(target) is kind
            and call_of(kind) is call
            and all(target.__dict__.get(name) is inner for name in names)
        )

    return Step(inner, intact, vouched=vouched)
