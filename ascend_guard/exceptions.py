"""The errors, under the module name that the SDK document imports ("Exception Types"); see ``errors``."""

from __future__ import annotations

from . import errors
from .errors import *  # noqa: F403 - all names, and nothing else

__all__ = errors.__all__  # pyright: ignore[reportUnsupportedDunderAll] - the star import defines it
