"""Read the state of an object from where it is stored, without running any code of its class.

A property, a ``__getattr__``, a metaclass or a ``__class__`` can return false values while a call is judged, or raise
in the middle of it. The interpreter's own descriptors cannot.
"""

from __future__ import annotations

import builtins
import itertools
import os
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from ascend_guard.processes import call_in_children
from ascend_guard.redaction import annotations_of, is_redacted_hint

__all__ = ["Plan", "identity", "name_of", "plan_of", "state_of", "stored_in_class"]

_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_space: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
_qualname: Callable[[type], Any] = type.__dict__["__qualname__"].__get__
_size: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__

_BUILTIN = (str, int, float, complex, bytes, bytearray, list, tuple, dict, set, frozenset)
_STANDARD = {
    "array": ("array",),
    "collections": ("OrderedDict", "defaultdict", "deque"),
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "functools": ("partial",),
    "io": ("BytesIO", "StringIO"),
    "numpy": ("generic", "ndarray"),
    "pathlib": ("PosixPath", "WindowsPath", "Path", "PurePosixPath", "PureWindowsPath", "PurePath"),
    "re": ("Pattern",),
    "types": ("MappingProxyType",),
    "uuid": ("UUID",),
    "zoneinfo": ("ZoneInfo",),
}
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_WRAPPERS = {"UserDict": "data", "UserList": "data", "UserString": "data", "ChainMap": "maps"}
_INERT = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.GenericAlias),
    *(types.UnionType, types.MethodWrapperType, types.WrapperDescriptorType, types.MethodDescriptorType),
    *(types.ClassMethodDescriptorType, TypeVar, object, type(...), type(NotImplemented)),
)
_MACHINERY = frozenset(
    (
        *(
            "_io",
            "_weakrefset",
            "asyncio",
            "concurrent",
            "contextlib",
            "io",
            "logging",
            "multiprocessing",
            "os",
        ),
        *("queue", "sched", "selectors", "socket", "socketserver", "ssl", "subprocess", "tempfile"),
        *("threading", "unittest", "weakref"),
    )
)
"""Packages of the standard library whose classes change by themselves, or count accesses, as mocks do."""

_MANAGED_WEAKREF, _MANAGED_DICT = 1 << 3, 1 << 4
_SECRET_BOXES = frozenset(("SecretStr", "SecretBytes", "SecretField", "_SecretBase", "Secret"))


class Plan(Struct, frozen=True):
    """How to read the instances of one class.

    Args:
        name: the class, as ``module.qualname``; for the standard library, the name under which it is imported.
        kind: ``base`` (a builtin or standard type, or derived from one), ``enum``, ``record`` (dataclass,
            attrs, msgspec, pydantic, ``SimpleNamespace``), ``box`` (pydantic's secrets), ``wrapper`` (``UserDict`` and
            its like), ``exception``, ``instance`` (of a Python class that adds nothing but attributes) or ``opaque``.
        base: for ``base``, the type that it is or derives from: ``str``, ``decimal.Decimal``; for ``wrapper``, the
            attribute with the content.
        inert: opaque, but part of the program, as a function or a class is: it does not change by itself.
        exact: it is that type itself.
        fields: the field names that a record or a named tuple declares.
        redact: the fields annotated ``Redact``.
        extensible: instances can have further attributes.
        hidden: instances hold more than can be read.
        readers: descriptors that read an instance's ``__dict__`` and slots, by name.
        own: the classes from which it derives, without the base and the base's own bases.
    """

    name: str
    kind: str
    base: str = ""
    exact: bool = False
    inert: bool = False
    fields: tuple[str, ...] = ()
    redact: frozenset[str] = frozenset()
    extensible: bool = False
    hidden: bool = False
    readers: tuple[tuple[str, Callable[[Any], Any]], ...] = ()
    own: tuple[type, ...] = ()


_plans: dict[int, tuple[weakref.ref[type], Plan]] = {}


def plan_of(kind: type) -> Plan:
    """Return the plan of a class, made once. By address, because a metaclass can misreport equality and hash."""
    known = _plans.get(id(kind))
    if known is None or known[0]() is not kind:
        address = id(kind)
        known = (weakref.ref(kind, lambda _: _plans.pop(address, None)), _plan(kind))
        _plans[address] = known
    return known[1]


def state_of(plan: Plan, value: Any) -> dict[str, Any]:
    """Return everything that is stored in an instance beyond its base's content: its ``__dict__`` and its slots."""
    found: dict[str, Any] = {}
    for name, get in plan.readers:
        try:
            content = get(value)
        except AttributeError:  # an empty slot
            continue
        if name == "__dict__":
            for key, item in [*dict.items(content)]:
                if type(key) is not str:
                    raise TypeError("an attribute whose name is not text")
                # typing records here that the class was called as Box[int]: this is not the instance's own state.
                if key != "__orig_class__":
                    found[key] = item
            continue
        while name in found:  # a slot that a subclass's slot of the same name hides
            name += "'"
        found[name] = content
    return found


def stored_in_class(plan: Plan, name: str) -> Any:
    """Return the plain value of a class attribute, for a field whose default was never copied to the instance.

    Raises:
        LookupError: there is no such attribute.
        TypeError: it is a descriptor, such as a property, whose code would have to run.
    """
    for owner in plan.own:
        if name in _space(owner):
            content = _space(owner)[name]
            if type(content) is types.MemberDescriptorType:
                break
            if any("__get__" in _space(part) for part in _mro(type(content))):
                raise TypeError(name)
            return content
    raise LookupError(name)


_living: dict[int, tuple[weakref.ref[Any], str]] = {}
_numbers = itertools.count()
_process = os.urandom(8).hex()


def _renew() -> None:
    global _process
    _process = os.urandom(8).hex()


call_in_children(_renew)


def identity(value: Any) -> str:
    """Return text that identifies this object in this process, and no other object, as long as it lives.

    An address alone is given to another object as soon as this one is collected; it is the only identity of objects
    without weak references.
    """
    address = id(value)
    known = _living.get(address)
    if known is None or known[0]() is not value:
        try:
            known = (weakref.ref(value, lambda gone: _forget(address, gone)), f"#{next(_numbers)}")
        except TypeError:
            return f"{_process}@{address}"
        _living[address] = known
    return _process + known[1]


def _forget(address: int, gone: weakref.ref[Any]) -> None:
    known = _living.get(address)
    if known is not None and known[0] is gone:
        del _living[address]


def name_of(kind: type) -> str:
    """Return a class as ``module.qualname``, always valid text."""
    parts = (_module(kind), _qualname(kind))
    return ".".join(
        str.encode(part, "utf-8", "backslashreplace").decode() if issubclass(type(part), str) else "?"
        for part in parts
    )


def _plan(kind: type) -> Plan:
    mro = _mro(kind)
    bases = _bases()
    base, root = next((bases[id(part)] for part in mro if id(part) in bases), ("", object))
    if base == "numpy.generic":
        root = next(part for part in mro if name_of(part).startswith("numpy."))
    elif kind is root and base and base != "exception":
        return Plan(base, "base", base, exact=True)
    inherited = _mro(root)
    own = tuple(part for part in mro if not any(part is known for known in inherited))
    added = {id(part) for part in own}
    readers: list[tuple[str, Callable[[Any], Any]]] = []
    room = 0
    for part in mro[:-1] if base == "exception" else own:
        space, flags = _space(part), _flags(part)
        for name, content in space.items():
            if type(content) is types.MemberDescriptorType and content.__objclass__ is part:
                readers.append((name, content.__get__))
                # Only slots have a known size; a member of a compiled class may be smaller, beside hidden content.
                room += 8 * (id(part) in added and ("__slots__" in space or name == "__dict__"))
            elif type(content) is types.GetSetDescriptorType and name in ("__dict__", "__weakref__"):
                managed = flags & (_MANAGED_DICT if name == "__dict__" else _MANAGED_WEAKREF)
                room += 0 if managed or id(part) not in added else 8
                if name == "__dict__":
                    readers.insert(0, (name, content.__get__))
    # An instance that is larger than its slots has fields of a compiled class, which are unreadable here.
    hidden = _size(kind) - _size(root) > room
    what = _kind(own, base, hidden)
    return Plan(
        name_of(kind),
        what,
        _content_of(own) if what == "wrapper" else base,
        inert=name_of(kind).startswith("typing.")
        or any(part is type for part in mro)
        or any(kind is each for each in _INERT),
        fields=_declared(own),
        redact=_redacted(own),
        extensible=bool(readers),
        hidden=hidden,
        readers=tuple(readers),
        own=own,
    )


def _bases() -> dict[int, tuple[str, type]]:
    known: dict[int, tuple[str, type]] = {
        id(base): (base.__name__, base) for base in (*_BUILTIN, *_VIEWS, range, slice)
    }
    for module, names in _STANDARD.items():
        # A module that was never imported has no instances, so no import is needed to recognise them.
        loaded = sys.modules.get(module)
        for name in names:
            base = getattr(loaded, name, None)
            if base is not None:
                known[id(base)] = (f"{module}.{name}", base)
    for base in vars(builtins).values():
        if isinstance(base, type) and issubclass(base, BaseException):
            known[id(base)] = ("exception", base)
    return known


def _kind(own: tuple[type, ...], base: str, hidden: bool) -> str:
    for part in own:
        if part is getattr(sys.modules.get("enum"), "Enum", None):
            return "enum"
    if base:
        return "exception" if base == "exception" else "base"
    for part in own:
        module, _, name = name_of(part).rpartition(".")
        if part is Struct or "__dataclass_fields__" in _space(part) or "__attrs_attrs__" in _space(part):
            return "record"
        if part is types.SimpleNamespace:
            return "record"
        if module.partition(".")[0] == "pydantic":
            if name in _SECRET_BOXES:
                return "box"
            if name == "BaseModel":
                return "record"
    if (
        hidden
        or not own
        or name_of(own[0]).startswith("typing.")
        or any(name_of(part).partition(".")[0] in _MACHINERY for part in own)
    ):
        return "opaque"
    return "wrapper" if _content_of(own) else "instance"


def _content_of(own: tuple[type, ...]) -> str:
    loaded = sys.modules.get("collections")
    for name, content in _WRAPPERS.items():
        wrapper = getattr(loaded, name, None)
        if any(part is wrapper for part in own):
            return content
    return ""


def _declared(own: tuple[type, ...]) -> tuple[str, ...]:
    for part in own:
        space = _space(part)
        if "__dataclass_fields__" in space:
            # Without ClassVar and InitVar, which dataclasses stores in the same dict with another kind.
            fields = space["__dataclass_fields__"].values()
            return tuple(each.name for each in fields if each._field_type.name == "_FIELD")
        if "__attrs_attrs__" in space:
            return tuple(each.name for each in space["__attrs_attrs__"])
        names = space.get("_fields")
        if type(names) is tuple and all(type(name) is str for name in names):
            return names
    return ()


def _redacted(own: tuple[type, ...]) -> frozenset[str]:
    found = set()
    for part in own:
        module = _module(part)
        scope = getattr(sys.modules.get(module if type(module) is str else ""), "__dict__", {})
        made = _space(part).get("__init__")
        owners = (part, made) if type(made) is types.FunctionType else (part,)
        for owner in owners:
            for name, hint in annotations_of(owner).items():
                if is_redacted_hint(hint, scope):
                    found.add(name)
    return frozenset(found)
