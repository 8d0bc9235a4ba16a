"""The public names: which there are, and that each is the same object however one came to it."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from house_modules import MODULES, PACKAGE, python, tree_of
from support import PROFILE

import ascend_guard
from ascend_guard import errors

PUBLIC = [
    "ActionPendingError",
    "ActionResult",
    "ActionType",
    "AgentAction",
    "AlreadyRanError",
    "AscendClient",
    "AscendError",
    "AsyncAscendClient",
    "AuthenticationError",
    "AuthorizationDeniedError",
    "ConfigurationError",
    "ConflictError",
    "ControlPlane",
    "Decision",
    "Edit",
    "EmbeddedControlPlane",
    "Exclude",
    "KillSwitchError",
    "KillSwitchState",
    "NetworkError",
    "NotFoundError",
    "Outcome",
    "OutcomeStatus",
    "Permit",
    "PolicyError",
    "RateLimitError",
    "Redact",
    "RemoteControlPlane",
    "RiskLevel",
    "ServerError",
    "StoreError",
    "TimeoutError",
    "ValidationError",
    "__version__",
    "configure",
    "governed",
    "guard",
    "scope",
]


def test_the_public_names_are_these() -> None:
    """Adding or removing one is a decision, made here."""
    assert ascend_guard.__all__ == PUBLIC
    assert dir(ascend_guard) == PUBLIC


def test_a_name_that_does_not_exist() -> None:
    """It is an AttributeError that names it, and an ImportError when imported."""
    with pytest.raises(AttributeError, match=r"ascend_guard.*'govern'"):
        ascend_guard.govern  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from ascend_guard import govern  # type: ignore[attr-defined]  # noqa: F401


_SAME = """
import importlib, itertools, sys

def fresh():
    for name in [name for name in sys.modules if name == "ascend_guard" or name.startswith("ascend_guard.")]:
        del sys.modules[name]

modules = sys.argv[1].split()
for module in modules:
    fresh()
    importlib.import_module(f"ascend_guard.{module}" if module else "ascend_guard")
    package = importlib.import_module("ascend_guard")
    for _ in range(2):
        for name in package.__all__:
            value = getattr(package, name)
            assert not inspect_module(value), f"{name} is a module after importing {module}"
            home = package._HOME.get(name)
            if home is not None:
                assert value is getattr(importlib.import_module(f"ascend_guard.{home}"), name), (name, module)
        for other in modules[:5]:
            importlib.import_module(f"ascend_guard.{other}" if other else "ascend_guard")
print("same")
""".replace("inspect_module(value)", "isinstance(value, type(sys))")


def imported_first() -> list[str]:
    """All modules; in the quick profile those that can hide a public name or are the home of one, and one of each package.

    A name turns into a module when a module directly below the package has that name. Modules further down take part
    only by what they import, which the first of each package does as well.
    """
    names = sorted(name for name in MODULES if not name.startswith(("cli", "__main__", "testing_plugin")))
    if PROFILE != "quick":
        return names
    firsts = {name.rpartition(".")[0]: name for name in reversed(names)}
    return [
        name
        for name in names
        if "." not in name or name in ascend_guard._HOME.values() or name in firsts.values()
    ]


def test_names_are_the_same_in_any_order_of_imports() -> None:
    """Whichever module was imported first: no name turns into a module, and none has two values."""
    names = imported_first()
    names.sort(
        key=lambda name: (
            name not in ("calling.governed", "calling.guard", "calling.scope", "config", "errors")
        )
    )
    assert python(_SAME, " ".join(names)) == "same"


def test_star_import_gives_the_public_names() -> None:
    """And nothing else."""
    space: dict[str, object] = {}
    exec("from ascend_guard import *", space)
    assert set(space) - {"__builtins__"} == set(PUBLIC)


def test_what_checkers_see_is_what_there_is() -> None:
    """The imports for type checkers, the table of homes and ``__all__`` name the same things."""
    tree = tree_of(PACKAGE / "__init__.py")
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(ascend_guard._HOME.items())
    assert {name for name, _ in seen} | {"__version__"} == set(PUBLIC)


# --- errors ------------------------------------------------------------------------------------------------------------

ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and kind.__module__ == errors.__name__
}


def test_every_error_is_drawn_in_the_tree() -> None:
    """The tree in the docstring of ``errors.py`` is the tree there is, parents and builtins included."""
    drawn: dict[str, tuple[str, str | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+Error)(?:\(([\w.]+)\))?(?:\s|$)", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else "Exception", found[3])
    assert set(drawn) == set(ERRORS)
    for name, (parent, builtin) in drawn.items():
        bases = [base.__name__ for base in ERRORS[name].__bases__]
        assert bases == [parent, *([builtin.removeprefix("builtins.")] if builtin else [])], name


def test_every_error_is_public() -> None:
    """People can catch each of them by its name."""
    assert set(ERRORS) <= set(PUBLIC)
    assert set(ERRORS) == set(errors.__all__)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_survives_a_pickle(name: str) -> None:
    """Message and fields arrive in another process, whatever builtin the error is as well."""
    import copy
    import pickle

    kind = ERRORS[name]
    error = (
        kind("what happened")
        if name == "RateLimitError"
        else kind("what happened", action_id="7", reason="r")
    )
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == "what happened"
        assert again.__dict__ == error.__dict__


def test_everything_public_is_documented() -> None:
    """Every public name says what it is for."""
    for name in set(PUBLIC) - {"__version__"}:
        assert inspect.getdoc(getattr(ascend_guard, name)), name
