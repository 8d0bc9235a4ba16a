"""Plan what installing and uninstalling change in one configuration.

1. A backup is a copy of the whole file, beside it, made before the first change. No earlier backup is overwritten; none is
   made if an existing one is what uninstalling would restore.
2. Uninstalling restores the text of an entry from a backup only if ``routed`` turns it into exactly the entry in the
   file. So neither an outdated nor a forged backup adds anything that is not in the file. Any other entry is composed from
   the proxy's arguments, which keeps later changes by a person.
3. A backup that is equal to the file is removed. Other backups stay.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .configuration import ClientFileError, Configuration, dumped, read
from .routing import HTTP_TYPES, Entry, Launcher, Unroutable, route_of, routed, unrouted, warnings

HIDDEN = "\N{HORIZONTAL ELLIPSIS}"
"""The text shown in place of a value of ``env`` or ``headers``."""

# A variable of the client, or the word before it as in "Bearer ${input:token}", is not a secret.
_NO_SECRET = re.compile(r"(?:\w+ )?\$\{(?:\w+:)?\w[\w.-]*\}")

SUFFIX = ".ascend-backup-"
"""The suffix of a backup's name, followed by a number."""


@dataclass(slots=True)
class Plan:
    """A change to a configuration that is not made yet.

    Args:
        file: the configuration that was read.
        entries: the new entries of the servers that change.
        texts: the texts of these entries, as they would be written.
        settled: the servers that are already as requested.
        skipped: the servers that cannot be changed, each with the reason.
        notes: what a person should know about a server, as the end of a sentence.
    """

    file: Configuration
    entries: dict[str, object] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def after(self) -> bytes:
        """Return the file after the change."""
        return self.file.with_entries(self.texts)

    def difference(self) -> list[str]:
        """Return a unified diff of the entries that change, as ``shown`` shows them."""
        lines: list[str] = []
        for name, new in self.entries.items():
            place = f"{self.file.path}:{self.file.line(name)} {name}"
            old, text = (shown(entry).split("\n") for entry in (self.file.servers[name], new))
            lines += difflib.unified_diff(old, text, place, f"{place} (after)", n=2, lineterm="")
        return lines

    def new_backup(self) -> Path | None:
        """Return the path for a backup before the change; None if an equivalent backup exists."""
        restored = plan_uninstall(self.file).after
        existing = _backups(self.file.path)
        if any(_bytes(path) == restored for path in existing.values()):
            return None
        return self.file.path.with_name(f"{self.file.path.name}{SUFFIX}{max(existing, default=0) + 1}")


def plan_install(
    file: Configuration,
    launcher: Launcher,
    names: Collection[str] = (),
    trial: Callable[[Entry], Iterable[str]] | None = None,
) -> Plan:
    """Plan to put servers behind the proxy.

    Args:
        file: the configuration.
        launcher: how the proxy is started.
        names: the servers' names; empty for all.
        trial: tries an entry before it is written, see ``Trial``; by default nothing is tried.
    """

    def change(plan: Plan, name: str, entry: object) -> tuple[object, str] | None:
        if route_of(entry) is not None:
            return None
        new = routed(name, entry, launcher)
        notes = [*warnings(entry), *(trial(new) if trial is not None else ())]
        if notes:
            plan.notes[name] = "; ".join(notes)
        return new, file.laid_out(name, new)

    return _planned(file, names, change)


def plan_uninstall(file: Configuration, names: Collection[str] = ()) -> Plan:
    """Plan to remove the proxy from servers.

    Args:
        file: the configuration.
        names: the servers' names; empty for all.
    """
    backups = list(_readable(file.path))

    def change(plan: Plan, name: str, entry: object) -> tuple[object, str] | None:
        route = route_of(entry)
        if route is None:
            return None
        kind = "http"
        for backup in backups:
            original = backup.servers.get(name)
            with suppress(Unroutable):
                if _words(routed(name, original, route.launcher)) == _words(entry):
                    return original, backup.raw(name)
            if isinstance(original, dict) and original.get("type") in HTTP_TYPES:
                kind = original["type"]
        new = unrouted(entry, kind)
        plan.notes[name] = (
            "it differs from what was installed, or has no backup; it is composed from the proxy's arguments"
        )
        return new, file.laid_out(name, new)

    return _planned(file, names, change)


def shown(entry: object) -> str:
    """Return the text of an entry for people: the values of its ``env`` and ``headers`` are hidden.

    Variables that the client replaces stay.
    """
    if isinstance(entry, Mapping):
        entry = {key: _hidden(value) if key in ("env", "headers") else value for key, value in entry.items()}
    return dumped(entry, "  ")


def _hidden(values: object) -> object:
    if not isinstance(values, Mapping):
        return values
    return {
        name: value if isinstance(value, str) and _NO_SECRET.fullmatch(value) else HIDDEN
        for name, value in values.items()
    }


def backups_left(path: Path) -> list[Path]:
    """Return the backups of a configuration, the newest first."""
    return [place for _, place in sorted(_backups(path).items(), reverse=True)]


def redundant_backups(path: Path) -> list[Path]:
    """Return the backups that are equal to the file."""
    return [place for place in backups_left(path) if _bytes(place) == path.read_bytes()]


def _planned(
    file: Configuration,
    names: Collection[str],
    change: Callable[[Plan, str, object], tuple[object, str] | None],
) -> Plan:
    plan = Plan(file)
    for name, entry in file.servers.items():
        if names and name not in names:
            continue
        try:
            new = change(plan, name, entry)
        except Unroutable as reason:
            plan.skipped[name] = str(reason)
            continue
        if new is None:
            plan.settled.append(name)
        else:
            plan.entries[name], plan.texts[name] = new
    return plan


def _backups(path: Path) -> dict[int, Path]:
    """Return backups by number. A link is not one, because its target is not a file of ours."""
    start = path.name + SUFFIX
    return {
        int(place.name.removeprefix(start)): place
        for place in path.parent.iterdir()
        if place.name.startswith(start)
        and place.name.removeprefix(start).isdecimal()
        and place.is_file()
        and not place.is_symlink()
    }


def _readable(path: Path) -> Iterator[Configuration]:
    for place in backups_left(path):
        with suppress(ClientFileError):  # an invalid file restores nothing
            backup = read(place)
            if backup.strict:
                yield backup


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _words(entry: object) -> str:
    # Python treats 1, 1.0 and True as equal.
    return json.dumps(entry, sort_keys=True)
