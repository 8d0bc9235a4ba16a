"""A table of a low-level server's handlers in which every ``tools/call`` handler is governed, whenever it was
registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ascend_guard.errors import ConfigurationError

from .gate import GateOptions, ToolGate

Wrap = Callable[[Any], Any]


class Governance:
    """How one server is governed: its gate, and whether tools that policy always denies are hidden from its list."""

    def __init__(self, name: str, hide_denied: bool, declared: GateOptions) -> None:
        if not isinstance(hide_denied, bool):
            raise ConfigurationError(f"hide_denied must be True or False, not {hide_denied!r}.")
        self.gate = ToolGate(name, **declared)
        self.hide_denied = hide_denied
        self.settings = (name, hide_denied, dict(declared))

    def require_same(self, other: Governance) -> None:
        """Require the same settings: a server may be governed twice only with the same ones.

        Raises:
            ConfigurationError: the settings differ.
        """
        if self.settings != other.settings:
            raise ConfigurationError(
                f"The server {self.gate.name!r} is already governed, with other settings: govern it once."
            )

    async def shown(self, tools: Iterable[Any]) -> list[Any]:
        """Return the tools that a client may see."""
        listed = list(tools)
        if not self.hide_denied:
            return listed
        hidden = await self.gate.always_denied([tool.name for tool in listed])
        return [tool for tool in listed if tool.name not in hidden]


class GovernedHandlers(dict[Any, Any]):
    """A server's table of handlers; a handler that is set under one of these keys is wrapped first."""

    def __init__(
        self, governance: Governance, wraps: Mapping[object, Wrap], handlers: Mapping[object, object]
    ) -> None:
        super().__init__()
        self.governance = governance
        self._wraps = wraps
        self.update(handlers)

    def __setitem__(self, key: object, handler: object) -> None:
        wrap = self._wraps.get(key)
        super().__setitem__(key, handler if wrap is None else wrap(handler))

    def update(self, *others: object, **named: object) -> None:
        for key, handler in dict(*others, **named).items():
            self[key] = handler

    def setdefault(self, key: object, default: object = None) -> object:
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: object) -> GovernedHandlers:  # type: ignore[misc]
        self.update(other)
        return self
