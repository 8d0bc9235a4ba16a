"""The faults that are put into a module: one small change each, of the kinds that matter where a decision is enforced.

Expressions that create an error are not changed: its text is not tested here, only whether it is raised.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Lt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
}
_ERROR = re.compile(r"(Error|Rejected|Warning|TypeVar)(\.\w+)?$")
_NO_CODE = ("annotation", "returns", "decorator_list", "slice", "type_params")


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Args:
        name: function, kind, and the source before and after; it stays the same as long as the statement does.
        lines: the first and last line of the changed statement, or of its head.
        in_function: whether only the bodies of functions differ, so that a loaded module can be changed in place.
        tree: makes the whole changed module, with unchanged line numbers.
    """

    name: str
    lines: tuple[int, int]
    in_function: bool
    tree: Callable[[], ast.Module]


def mutants(source: str, by_hand: list[tuple[str, str]]) -> list[Mutant]:
    """Return every mutant of a module: first the textual changes made by hand, then those of the operators."""
    made = []
    for old, new in by_hand:
        if source.count(old) != 1:
            raise SystemExit(f"A change made by hand fits its module {source.count(old)} times: {old!r}")
        line = source[: source.index(old)].count("\n") + 1
        lines = (line, line + old.count("\n"))
        made.append(
            Mutant(" ".join(f"by hand | {old} -> {new}".split()), lines, True, _replaced(source, old, new))
        )
    seen: Counter[str] = Counter()
    for number, place in enumerate(_places(ast.parse(source))):
        for variant, (kind, new_node) in enumerate(_changes(place.node)):
            before = _head(place.statement)
            place.put(new_node)
            after = _head(new_node if place.node is place.statement else place.statement)
            place.put(place.node)
            name = f"{place.where or 'module'} | {kind} | {before} -> {after}"
            seen[name] += 1
            name += f" #{seen[name]}" if seen[name] > 1 else ""
            tree = _changed(source, number, variant)
            made.append(Mutant(name, _lines(place.statement), place.in_function, tree))
    return made


def _replaced(source: str, old: str, new: str) -> Callable[[], ast.Module]:
    return lambda: ast.parse(source.replace(old, new))


def _changed(source: str, number: int, variant: int) -> Callable[[], ast.Module]:
    def tree() -> ast.Module:
        parsed = ast.parse(source)
        place = list(_places(parsed))[number]
        place.put(list(_changes(place.node))[variant][1])
        return ast.fix_missing_locations(parsed)

    return tree


@dataclass(frozen=True)
class _Place:
    node: ast.AST
    put: Callable[[ast.AST], None]
    statement: ast.AST
    where: str
    in_function: bool


def _places(
    node: ast.AST, statement: ast.AST | None = None, where: str = "", inside: bool = False
) -> Iterator[_Place]:
    """Yield every node below this one that may be changed, with a function that replaces it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        where = f"{where}.{node.name}".removeprefix(".")
    if isinstance(node, ast.Raise):
        return
    for field, value in ast.iter_fields(node):
        if field in _NO_CODE:
            continue
        within = inside or (field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _is_text(child):
                continue

            def put(new: ast.AST, field: str = field, index: int = index, value: object = value) -> None:
                if isinstance(value, list):
                    value[index] = new
                else:
                    setattr(node, field, new)

            around = child if isinstance(child, ast.stmt | ast.ExceptHandler) else statement
            assert around is not None
            yield _Place(child, put, around, where, within)
            yield from _places(child, around, where, within)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    return isinstance(node, ast.Call) and bool(_ERROR.search(ast.unparse(node.func)))


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the kinds of change of one node, and its replacement."""
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    elif isinstance(node, ast.ExceptHandler):
        yield from _of_handler(node)
    elif isinstance(node, ast.cmpop | ast.boolop | ast.operator):
        for other in _SWAPS.get(type(node), ()):
            yield "operator", other()
    elif isinstance(node, ast.BoolOp):
        for index in range(len(node.values)):
            rest = [*node.values[:index], *node.values[index + 1 :]]
            yield "less", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield "less", node.left
        yield "less", node.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "negate", node.operand
    elif isinstance(node, ast.IfExp):
        yield "swap", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield "unfiltered", ast.comprehension(node.target, node.iter, [], node.is_async)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "off by one", ast.Constant(node.value + 1)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.If | ast.While) and not isinstance(
        node.test, ast.Compare | ast.BoolOp | ast.UnaryOp
    ):
        yield "negate", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.If):
        yield "drop", ast.If(ast.Constant(True), node.orelse, []) if node.orelse else ast.Pass()
    elif isinstance(node, ast.Return) and node.value is not None:
        # Nobody tells False from None where a bool is declared; the other way round is a change of its own.
        if not (isinstance(node.value, ast.Constant) and node.value.value in (None, False)):
            yield "return None", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Assign):
        if not all(isinstance(target, ast.Name) for target in node.targets):
            yield "drop", ast.Pass()
    elif isinstance(node, ast.Raise | ast.Expr | ast.AugAssign | ast.Continue | ast.Break | ast.Delete):
        yield "drop", ast.Pass()
    elif isinstance(node, ast.Try) and node.finalbody:
        yield "drop finally", _with(node, finalbody=[ast.Pass()])


def _of_handler(node: ast.ExceptHandler) -> Iterator[tuple[str, ast.AST]]:
    caught = node.type
    if isinstance(caught, ast.Tuple):
        for index in range(len(caught.elts)):
            rest = [*caught.elts[:index], *caught.elts[index + 1 :]]
            yield "narrow", _with(node, type=ast.Tuple(rest, ast.Load()))
    else:
        yield "narrow", _with(node, type=ast.Tuple([], ast.Load()))
        wide = isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException")
        if wide:
            yield "narrow", _with(node, type=ast.Name("ArithmeticError", ast.Load()))
    if caught is None or ast.unparse(caught) != "BaseException":
        name = "BaseException" if caught is not None and ast.unparse(caught) == "Exception" else "Exception"
        yield "widen", _with(node, type=ast.Name(name, ast.Load()))


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    for index in range(len(node.keywords)):
        rest = [*node.keywords[:index], *node.keywords[index + 1 :]]
        yield "no keyword", ast.Call(node.func, node.args, rest)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    return ast.copy_location(type(node)(**{**dict(ast.iter_fields(node)), **fields}), node)


def _head(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).strip().splitlines()[0]


def _lines(node: ast.AST) -> tuple[int, int]:
    first: int = node.lineno  # type: ignore[attr-defined]  # statements and handlers have lines
    body = getattr(node, "body", None)
    return first, max(first, body[0].lineno - 1) if body else node.end_lineno  # type: ignore[attr-defined]  # as above
