"""Suggest files when a policy or a database is missing: a misspelt name, or a file in another folder.

1. It only suggests. No command uses a file that was found here.
2. The search is limited: a few folders up, one level down from each, and a limited number of entries.
3. A database that a running process has open is the best suggestion; ``/proc`` shows them, if this user may read it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

POLICY = "ascend-policy.yaml"
"""The file name of a policy from ``ascend-guard init``."""

_DATABASE = Path(".ascend") / "ascend.db"
_QUEUE = ".lock-queue"
_LEVELS = 4
_ENTRIES = 300
_FOLDERS = 600
_TOLD = 3


class Nearby(Struct, frozen=True):
    """What was found, the nearest first.

    Args:
        policies: policy files.
        databases: databases of ours that no running process seems to have open.
        in_use: databases that running processes have open.
    """

    policies: list[Path]
    databases: list[Path]
    in_use: list[Path]

    def said(self, *, policy: bool) -> str:
        """The text for people.

        Args:
            policy: a policy is missing, not a database.
        """
        parts = []
        if policy and self.policies:
            parts.append(f"The nearest policy file is {self.policies[0]}.")
        elif self.databases:
            parts.append(f"The nearest database that no process uses now is {self.databases[0]}.")
        if self.in_use:
            listed, more = ", ".join(map(str, self.in_use[:_TOLD])), len(self.in_use) - _TOLD
            several = "This database is" if len(self.in_use) == 1 else "These databases are"
            others = f", and {more} more" if more > 0 else ""
            parts.append(f"{several} in use by running processes: {listed}{others}.")
        named = self.in_use or self.databases
        beside = [path.parent / _DATABASE for path in self.policies[:1]] if policy else []
        if named and (
            not beside or named[0] in beside
        ):  # else it is far from the named policy, and does not belong to it
            parts.append(f"To work on {named[0]}, add: --database-url {shlex.quote(url_of(named[0]))}")
        return " ".join(parts) or "No other was found nearby."


def near(missing: Path) -> Nearby:
    """Search for the file that was probably meant.

    Args:
        missing: the absolute path of a policy file, or of a database, that does not exist.
    """
    folder = missing.parent.parent if missing.parent.name == _DATABASE.parent.name else missing.parent
    policies: dict[Path, None] = {}
    databases: dict[Path, None] = {}
    for place in _folders(folder):
        for path in _policies(place, missing.name):
            policies[path] = None
        if _is_ours(place / _DATABASE):
            databases[place / _DATABASE] = None
    policies.pop(missing, None)
    databases.pop(missing, None)
    in_use = [path for path in _ordered(in_use_now(), folder) if path != missing]
    return Nearby(
        _ordered(policies, folder),
        _ordered((path for path in databases if path not in in_use), folder),
        in_use,
    )


def in_use_now() -> set[Path]:
    """Databases of ours that processes have open, as far as this user may see them."""
    found = set()
    for process in _entries("/proc"):
        if not process.name.isdigit() or process.name == str(os.getpid()):
            continue
        for descriptor in _entries(f"{process.path}/fd"):
            try:
                target = os.readlink(descriptor.path)
            except OSError:
                continue
            if target.endswith(_QUEUE) and _is_ours(Path(target.removesuffix(_QUEUE))):
                found.add(Path(target.removesuffix(_QUEUE)))
    return found


def url_of(database: Path) -> str:
    """The value of ``--database-url`` for a database."""
    return f"sqlite:///{quote(os.fspath(database))}"


def _is_ours(database: Path) -> bool:
    return os.path.isfile(database) and os.path.isfile(f"{database}.key")


def _folders(start: Path) -> Iterator[Path]:
    """The folder, a few levels of folders above it, and the content of each."""
    seen: set[str] = set()
    roots: list[str] = []
    for place in dict.fromkeys((_cwd(), start)):
        if place is not None:
            roots += map(str, (place, *place.parents[:_LEVELS]))
    for root in roots:
        if root == os.sep and len(seen) > 1:
            continue
        for path in (root, *(entry.path for entry in _entries(root) if _is_folder(entry))):
            if path not in seen and len(seen) < _FOLDERS:
                seen.add(path)
                yield Path(path)


def _cwd() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _entries(folder: str) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found.append(entry)
                if len(found) >= _ENTRIES and folder != "/proc":
                    break
    except OSError:
        pass  # not readable for this user
    return found


def _policies(folder: Path, name: str) -> Iterator[Path]:
    names = [entry.name for entry in _entries(str(folder)) if entry.name.endswith((".yaml", ".yml"))]
    for found in dict.fromkeys((*(n for n in (name, POLICY) if n in names), *get_close_matches(name, names))):
        if os.path.isfile(folder / found):
            yield folder / found


def _ordered(paths: Iterable[Path], start: Path) -> list[Path]:
    def distance(path: Path) -> tuple[int, int, str]:
        shared = len(Path(os.path.commonpath((path.parent, start))).parts)
        return -shared, len(path.parent.parts), str(path)

    return sorted(paths, key=distance)
