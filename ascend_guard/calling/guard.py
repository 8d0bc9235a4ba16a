"""``guard(...)``: a block that is not entered before a decision allows it."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Mapping
from functools import partial
from types import CodeType, TracebackType
from typing import NoReturn, Unpack

from ascend_guard.config import default_control_plane
from ascend_guard.errors import ConfigurationError
from ascend_guard.model import Permit

from .bound_call import BoundCall
from .declarations import Declaration, options
from .discarded_results import caller_of, is_thrown_away, line_of
from .execution import Execution

_WRITE = "Write: with guard(...) as permit:"
_IS_A_BLOCK = "guard is for a block: with guard(...) as permit: ... For a function write @governed(...)."


class _Made:
    """Where a guard was created."""

    __slots__ = ("_action_type", "_code", "_instruction")

    def __init__(self, action_type: str, code: CodeType, instruction: int) -> None:
        self._action_type = action_type
        self._code = code
        self._instruction = instruction
        object.__setattr__(self, "__class__", _Unused)  # last, so an unfinished object has no finaliser

    def used(self) -> None:
        """The guard was entered."""
        object.__setattr__(self, "__class__", _Made)


class _Unused(_Made):
    """The same until the guard is entered. If it is dropped before that, it warns.

    The guard itself has no finaliser. Python would run it at the end of every block, and discard what a signal handler
    raises in it. For the same reason this object loses its finaliser when the guard is entered.
    """

    __slots__ = ()

    def __del__(self) -> None:
        warnings.warn_explicit(
            f"guard({self._action_type!r}) was never entered: nothing was decided and nothing guarded. {_WRITE}",
            RuntimeWarning,
            self._code.co_filename,
            line_of(self._code, self._instruction),
        )


class guard:
    """Let a block run only after a decision allows it::

        with guard("file_delete", "filesystem", resource=path, parameters={"path": path}) as permit:
            os.unlink(permit.parameters["path"])

    ``async with`` does the same without blocking the event loop. The decided parameters are ``permit.parameters``: use
    those, because an approver may have edited them. An edited call is judged again. It does not run where ``resource``,
    ``resource_id`` or ``risk_indicators`` were given as fixed values, because these may be wrong for the edited call.
    Give the first two as callables (``resource=lambda args: args["path"]``) to let approvers edit.

    Args:
        action_type: action category, such as ``file_delete``.
        tool_name: the tool or service; by default the action type.
        parameters: the values that the block uses, by name; an approval is valid for these only.
        **declared: see ``Declaration``; strings are taken literally.

    Raises:
        ConfigurationError: the declaration is wrong.
        AscendError: on entering, when the block must not run.
    """

    def __init__(
        self,
        action_type: str,
        tool_name: str | None = None,
        *,
        parameters: Mapping[str, object] | None = None,
        **declared: Unpack[Declaration],
    ) -> None:
        if callable(action_type):
            raise ConfigurationError(_IS_A_BLOCK)
        if parameters is not None and not isinstance(parameters, Mapping):
            raise ConfigurationError(
                f"parameters must be a dictionary of named values, not {type(parameters).__name__}."
            )
        self._parameters = dict(parameters or {})
        self._options = options(
            action_type, tool_name or action_type, declared, parameters=self._parameters, literal=True
        )
        self._execution: Execution | None = None
        self._made: _Made | None = None
        caller = caller_of(self, sys._getframe(1))
        if is_thrown_away(caller):
            raise ConfigurationError(
                f"guard({action_type!r}) guards nothing on a line of its own: write `with guard({action_type!r}, ...) as "
                f"permit:` and put the guarded code inside."
            )
        if caller is not None:
            self._made = _Made(self._options.action_type, caller.f_code, caller.f_lasti)

    def __repr__(self) -> str:
        state = (
            "entered"
            if self._execution is not None
            else "not entered: it guards a block, with guard(...) as permit:"
        )
        return f"<guard {self._options.action_type!r}, {state}>"

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise ConfigurationError(_IS_A_BLOCK)

    def __bool__(self) -> NoReturn:
        raise ConfigurationError(f"guard has no truth value, because nothing is decided yet. {_WRITE}")

    def __await__(self) -> NoReturn:
        raise ConfigurationError("guard cannot be awaited. Write: async with guard(...) as permit:")

    def __iter__(self) -> NoReturn:
        raise ConfigurationError(f"guard cannot be iterated. {_WRITE}")

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"guard has no {name!r}: the decision is in the permit. {_WRITE}")

    def __enter__(self) -> Permit:
        execution = self._begin()
        try:
            execution.authorize(enters=True)
            execution.__enter__()
            self._entered()
        except BaseException as error:
            self._execution = None
            execution.settle(error)
            raise
        return execution.permit

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._running().settle(error)  # this also leaves the block
        self._left()

    async def __aenter__(self) -> Permit:
        execution = self._begin()
        try:
            await execution.aauthorize()
            execution.__enter__()
            self._entered()
        except BaseException as error:
            self._execution = None
            await execution.asettle(error)
            raise
        return execution.permit

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._running().asettle(error)
        self._left()

    def _begin(self) -> Execution:
        if self._execution is not None:
            raise ConfigurationError("This guard is in use: create a new guard for every block.")
        plane = self._options.control_plane or default_control_plane()
        if self._made is not None:
            self._made.used()
        self._execution = Execution(BoundCall(self._options, plane, dict(self._parameters)), plane)
        return self._execution

    def _running(self) -> Execution:
        execution = self._execution
        assert execution is not None
        return execution

    def _entered(self) -> None:
        """If an interrupt comes at the very beginning of ``__exit__``, before any of its code has run, the block is
        unfinished."""
        execution = self._running()
        _blocks[id(execution)] = weakref.ref(self, partial(_unfinished, execution))

    def _left(self) -> None:
        _blocks.pop(id(self._execution), None)
        self._execution = None


_blocks: dict[int, weakref.ref[guard]] = {}
"""The guards that were entered and not left. Dropping such a block settles it."""


def _unfinished(execution: Execution, block: weakref.ref[guard]) -> None:
    _blocks.pop(id(execution), None)
    execution.settle(InterruptedError("the block was interrupted as it ended"))
