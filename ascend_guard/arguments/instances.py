"""Read values that are not builtin types: their subclasses, the standard library's values, enums, records, instances.

The rules, which keep promises 2 (what was approved is what runs) and 8 (secrets stay home):

1. A value with its own class has the class's name in its encoding, so no value looks like another kind.
2. No code of the class runs; content is read from where it is stored (``objects``) or by the type's own C function
   (``standard_library``).
3. A value that cannot be read, or not in full, is marked opaque. There is no third kind of value.
4. A plain instance is read when everything in it can be read. An instance that reaches something unreadable, such as a
   lock, a socket or a file, or that refers to itself or is very large, is a part of the program that changes by itself,
   as a client does: it is opaque as a whole, and only its identity counts. Functions, classes and modules in it are
   opaque alone, because they do not change by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ascend_guard.errors import ValidationError

from .canonical import BUILTIN, hide, read_fields, visit
from .objects import Plan, identity, plan_of, state_of, stored_in_class
from .standard_library import LENGTHS, STANDARD, unseen
from .walk import HIDDEN, Path, Walk, enter, refuse_size, tagged, wrap

__all__ = ["read_instance"]

_MOST_INSTANCES = 1000
"""The most plain instances that an instance may reach by attributes alone and still be read."""


def read_instance(walk: Walk, value: Any, path: Path, depth: int) -> Any:
    """Write the encoding of an instance of any class and return its plain view."""
    plan = plan_of(type(value))
    enter(walk, path, 0, len(plan.name))
    return _KINDS[plan.kind](walk, plan, value, path, depth)


def _opaque(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    if walk.inside and plan.kind == "opaque" and not plan.inert:
        raise _UnreadableError
    walk.out.append(tagged("o", plan.name))
    unseen(walk, value, path)
    return wrap(walk, path, depth, "$opaque", plan.name)


class _UnreadableError(Exception):
    """Ends the reading of the outermost plain instance, because something in it cannot be read."""


def _box(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    walk.out.append(tagged("x", plan.name))
    return hide(walk, state_of(plan, value), path, depth)


def _enum(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    # A member is an object with attributes like any other, although few programs change them.
    walk.mutable = True
    state = state_of(plan, value)
    name = state.get("_name_")
    walk.out.append(tagged("E", plan.name, name if type(name) is str else ""))
    content = state["_value_"]
    more = {name: item for name, item in state.items() if name not in _KEPT_BY_ENUM}
    if more:
        walk.out.append("+")
        read_fields(walk, more, (path, HIDDEN), depth, walk.redact | plan.redact)
    return visit(walk, content, path, depth)


_KEPT_BY_ENUM = frozenset(("_name_", "_value_", "__objclass__", "_sort_order_", "_inverted_"))
"""What ``enum`` itself stores in a member. It adds some of it at the first access."""


def _record(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    state = state_of(plan, value)
    enter(walk, path, depth, len(state))
    walk.out.append(tagged("O", plan.name))
    if plan.hidden:
        unseen(walk, value, path)
    # pydantic stores these beside the fields; which fields were set determines what a partial update writes.
    for name in ("__pydantic_extra__", "__pydantic_private__"):
        part = state.get(name, _COMPUTED)
        if part is None:
            walk.out.append("-")
            del state[name]
        elif type(part) is dict and not any(type(each) is not str or each in state for each in part):
            walk.out.append(tagged(f"+{len(part)}:", *sorted(part)))
            state |= part
            del state[name]
    for name in ("__pydantic_fields_set__", "__fields_set__"):
        if name in state:
            visit(walk, state.pop(name), (path, HIDDEN), depth)
    for name in plan.fields:
        if name not in state:
            try:
                state[name] = stored_in_class(plan, name)
            except LookupError:
                pass
            except TypeError:
                state[name] = _COMPUTED
                unseen(walk, value, path)
    return read_fields(walk, state, path, depth, (walk.redact | plan.redact if plan.redact else walk.redact))


class _Computed:
    """Stands for a field whose value only code of its own class could compute."""


_COMPUTED = _Computed()


def _base(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    length = LENGTHS.get(plan.base)
    if length is not None and length(value) > walk.left:
        refuse_size(walk, path)
    walk.out.append(tagged("k", plan.name))
    if not plan.exact:
        walk.mutable |= plan.extensible
        if plan.hidden:
            unseen(walk, value, path)
        _beside(walk, state_of(plan, value), path, depth)
    reduce, handler = STANDARD[plan.base]
    content = reduce(value)
    if plan.base == "tuple" and len(plan.fields) == len(content) == len({*plan.fields}) > 0:
        enter(walk, path, depth, len(content))
        walk.out.append(tagged("N", *plan.fields))
        fields = dict(zip(plan.fields, content, strict=True))
        return read_fields(
            walk, fields, path, depth, (walk.redact | plan.redact if plan.redact else walk.redact)
        )
    return handler(walk, content, path, depth)


def _beside(walk: Walk, state: dict[str, Any], path: Path, depth: int) -> None:
    """Encode what an instance holds beside its shown content. That part is not shown, so the value is opaque."""
    if state:
        walk.opaque.append(path)
        walk.out.append("+")
        read_fields(walk, state, (path, HIDDEN), depth, walk.redact)


def _wrapper(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, 1)
    walk.out.append(tagged("w", plan.name))
    state = state_of(plan, value)
    content = state.pop(plan.base, None)
    _beside(walk, state, path, depth)
    view = visit(walk, content, path, depth + 1)
    if plan.base == "maps" and type(view) is list and all(type(each) is dict for each in view):
        # A ChainMap returns the value of the first of its maps that has the key.
        merged: dict[str, Any] = {}
        for each in reversed(view):
            if not each.keys().isdisjoint(("$map", "$opaque")):
                return view
            merged |= each
        return merged
    return view


def _exception(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    walk.mutable = True
    state = state_of(plan, value)
    enter(walk, path, depth, len(state))
    walk.out.append(tagged("!", plan.name, str(state.pop("__suppress_context__", ""))))
    if plan.hidden:
        unseen(walk, value, path)
    traceback = _of_exception["__traceback__"].__get__(value)
    if traceback is not None:
        walk.opaque.append((path, "__traceback__"))
        walk.out.append(tagged("#", identity(traceback)))
    fields = {"args": _of_exception["args"].__get__(value), **state}
    for name in ("__cause__", "__context__"):
        other = _of_exception[name].__get__(value)
        if other is not None:
            fields[name] = other
    return read_fields(walk, fields, path, depth, walk.redact | plan.redact)


_of_exception: dict[str, Any] = vars(BaseException)  # type: ignore[assignment]  # a read-only view of it


def _instance(walk: Walk, plan: Plan, value: Any, path: Path, depth: int) -> Any:
    try:
        state = state_of(plan, value)
    except TypeError:  # an attribute whose name is not text
        return _opaque(walk, plan, value, path, depth)
    if not state:
        # It marks something, or represents something that is stored elsewhere: only its identity matters.
        return _opaque(walk, plan, value, path, depth)
    if id(value) in walk.inside:
        raise _UnreadableError
    if walk.inside:
        return _attributes(walk, plan, value, state, path, depth)
    if not _is_readable(state):
        return _opaque(walk, plan, value, path, depth)
    out, order, left, mutable = walk.out, walk.order, walk.left, walk.mutable
    marks = [(each, len(each)) for each in (out, order, walk.opaque, walk.secrets)]
    # At most a quarter of the limit: a larger object is an index or a cache, whatever else is in the arguments.
    room = walk.left = min(left, walk.limit >> 2)
    try:
        view = _attributes(walk, plan, value, state, path, depth)
    except _UnreadableError:
        pass
    except ValidationError:
        if not walk.excess or (walk.excess == "size" and room == left):
            raise
    else:
        # The rest is a lower bound of what was written, for example for numbers.
        if sum(map(len, out[marks[0][1] :])) <= walk.limit >> 2:
            walk.left += left - room
            return view
    # Reading without a result is charged, a byte for four values, so that many such instances cannot take for ever.
    left -= (len(out) - marks[0][1]) >> 2
    walk.out, walk.order, walk.left, walk.mutable = out, order, left, mutable
    walk.excess = ""
    walk.inside.clear()
    for each, length in marks:
        del each[length:]
    return _opaque(walk, plan, value, path, depth)


def _attributes(walk: Walk, plan: Plan, value: Any, state: dict[str, Any], path: Path, depth: int) -> Any:
    walk.mutable = True
    enter(walk, path, depth, len(state))
    walk.out.append(tagged("O", plan.name))
    redact = walk.redact | plan.redact
    if redact:
        # A parameter is often stored as a private attribute: note as _note, or, in a class, as __note.
        redact |= {name for name in state if name.rpartition("__")[2].lstrip("_") in redact}
    walk.inside.add(id(value))
    view = read_fields(walk, state, path, depth, redact)
    walk.inside.discard(id(value))
    return view


def _is_readable(state: dict[str, Any]) -> bool:
    """Return whether everything that an instance reaches by attributes can be read. Breadth first, because unreadable
    values are seldom deep, and reading a whole client to find its lock takes long."""
    levels, known = [state], {0}
    for content in levels:
        for item in content.values():
            kind = type(item)
            if id(kind) in BUILTIN:
                continue
            plan = plan_of(kind)
            if plan.kind == "opaque" and not plan.inert:
                return False
            if plan.kind == "instance" and id(item) not in known:
                if len(known) > _MOST_INSTANCES:
                    return False
                known.add(id(item))
                try:
                    levels.append(state_of(plan, item))
                except TypeError:
                    return False
    return True


_KINDS: dict[str, Callable[[Walk, Plan, Any, Path, int], Any]] = {
    "base": _base,
    "box": _box,
    "enum": _enum,
    "exception": _exception,
    "instance": _instance,
    "opaque": _opaque,
    "record": _record,
    "wrapper": _wrapper,
}
