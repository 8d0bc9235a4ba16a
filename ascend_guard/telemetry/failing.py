"""Telemetry that fails, which no governed call may notice."""

from __future__ import annotations

import logging

_log = logging.getLogger("ascend_guard")
_swallowed: set[type[BaseException]] = set()


def swallow(error: Exception) -> None:
    """Telemetry that fails must not show in the governed call: said once for each type of error, at debug."""
    if type(error) not in _swallowed:
        _swallowed.add(type(error))
        _log.debug("Telemetry failed; governed calls go on without it.", exc_info=error)
