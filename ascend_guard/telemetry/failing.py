"""Failures of telemetry, which must not affect a governed call."""

from __future__ import annotations

import logging

_log = logging.getLogger("ascend_guard")
_swallowed: set[type[BaseException]] = set()


def swallow(error: Exception) -> None:
    """Log a failure of telemetry, once for each type of error, at debug. The governed call continues."""
    if type(error) not in _swallowed:
        _swallowed.add(type(error))
        _log.debug("Telemetry failed; governed calls continue without it.", exc_info=error)
