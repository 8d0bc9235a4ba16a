"""The error tree under the name that the SDK document imports it by ("Exception Types"); see ``errors``."""

from __future__ import annotations

from . import errors
from .errors import *  # noqa: F403 - all of them, and nothing else

__all__ = errors.__all__  # pyright: ignore[reportUnsupportedDunderAll] - the star above says it
