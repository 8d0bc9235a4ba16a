"""``guard(...)``: a block that is not entered before a decision allows it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Unpack

from .calls import BoundCall, Declaration, options
from .config import default_control_plane
from .errors import ConfigurationError
from .execution import Execution
from .model import Permit


class guard:
    """Let a block run only after a decision allows it::

        with guard("file_delete", "filesystem", resource=path, parameters={"path": path}) as permit:
            os.unlink(permit.parameters["path"])

    ``async with`` does the same without blocking the event loop. What the decision was made on is
    ``permit.parameters``: use those, an approver may have edited them. An edited call is judged again, so it does not run
    where ``resource``, ``resource_id`` or ``risk_indicators`` were given as fixed values, which may not be true of it any
    more; give the first two as callables (``resource=lambda args: args["path"]``) to let approvers edit.

    Args:
        action_type: action category, such as ``file_delete``.
        tool_name: the tool or service used; the action type when left out.
        parameters: what the block acts with, by name; what is approved is approved for these.
        **declared: see ``Declaration``; strings are taken as they are.

    Raises:
        ConfigurationError: the declaration is wrong.
        AscendError: on entering, when the block must not run.
    """

    def __init__(
        self,
        action_type: str,
        tool_name: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        **declared: Unpack[Declaration],
    ) -> None:
        if parameters is not None and not isinstance(parameters, Mapping):
            raise ConfigurationError(
                f"parameters is a dictionary of named values, not {type(parameters).__name__}."
            )
        self._options = options(action_type, tool_name or action_type, declared, literal=True)
        self._parameters = parameters or {}
        self._execution: Execution | None = None

    def __enter__(self) -> Permit:
        execution = self._begin()
        try:
            execution.authorize()
        except BaseException:
            self._execution = None
            raise
        try:
            execution.__enter__()
        except BaseException as error:
            self._execution = None
            execution.settle(error)
            raise
        return execution.permit

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._leave().settle(error)

    async def __aenter__(self) -> Permit:
        execution = self._begin()
        try:
            await execution.aauthorize()
        except BaseException:
            self._execution = None
            raise
        try:
            execution.__enter__()
        except BaseException as error:
            self._execution = None
            await execution.asettle(error)
            raise
        return execution.permit

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._leave().asettle(error)

    def _begin(self) -> Execution:
        if self._execution is not None:
            raise ConfigurationError("This guard is in use: make a new one for every block.")
        plane = self._options.control_plane or default_control_plane()
        self._execution = Execution(BoundCall(self._options, plane, dict(self._parameters)), plane)
        return self._execution

    def _leave(self) -> Execution:
        execution = self._execution
        assert execution is not None
        self._execution = None
        execution.__exit__(None, None, None)
        return execution
