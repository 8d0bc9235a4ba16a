"""What installing and uninstalling would do to one configuration, and doing it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import files
from .facts import has_credentials, is_plain_http
from .formats import servers
from .jsonc import ClientFileError, Edit, Member, Node, apply, parse
from .routing import Launcher, Unroutable, is_routed, routed, unrouted
from .undo import Kept, beside, digest, recall, remember


class UnknownServer(ClientFileError):
    """A server was named that the file does not have."""


@dataclass(slots=True)
class Plan:
    """A change to a configuration that nobody has made yet.

    Args:
        file: the configuration as it was read.
        after: its text as it would be.
        memory: what is remembered of it.
        kept: what would be remembered of it.
        changed: the servers that change.
        settled: the servers that are as they should be already.
        skipped: the servers that cannot be changed, each with the reason.
        notes: what a person should know of a server, as half sentences.
    """

    file: files.File
    after: str
    memory: dict[str, Kept]
    kept: dict[str, Kept]
    changed: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file really is."""
        return self.file.path

    @property
    def before(self) -> str:
        """Its text as it is."""
        return self.file.text

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, neither to the file nor to what is remembered of it."""
        return self.before == self.after and self.memory == self.kept


def opened(path: Path) -> tuple[files.File, list[Member]]:
    """Read a configuration: the file, and its servers.

    Raises:
        ClientFileError: it cannot be used; the message says where and why.
    """
    file = files.read(path)
    text = file.text
    try:
        return file, servers(parse(text))
    except ClientFileError as error:
        raise ClientFileError(f"{file.path}: {error.message}") from None


def plan_install(
    path: Path,
    launcher: Launcher,
    names: Collection[str] = (),
    trial: Callable[[str], Iterable[str]] | None = None,
) -> Plan:
    """Lead servers through the proxy.

    Args:
        path: the configuration.
        launcher: how the proxy is started.
        names: of the servers; empty for all.
        trial: tries an entry before it is written, see ``Trial``; nothing is tried when left out.

    Raises:
        ClientFileError: the file cannot be used; ``UnknownServer`` when it has no server of a given name.
    """

    def change(plan: Plan, server: Member) -> str | None:
        if is_routed(server.node):
            plan.settled.append(server.key)
            return None
        new = routed(plan.before, server, launcher)
        notes = [*_warnings(server.node), *(trial(new) if trial is not None else ())]
        if notes:
            plan.notes[server.key] = "; ".join(notes)
        plan.kept[server.key] = Kept(_raw(plan.before, server.node), digest(new))
        return new

    return _planned(path, names, change)


def _warnings(entry: Node) -> Iterator[str]:
    """What of a server that is reached by URL may not work, or not be safe, through the proxy."""
    if entry.get("command") is not None:
        return
    if not has_credentials(entry):
        yield (
            "it has no credentials of its own. If the client signs in there by itself (OAuth), the proxy cannot, and the "
            "server will refuse it: put a token into its headers, or leave it out"
        )
    if is_plain_http(entry):
        yield "its calls go by plain http, where anybody on the way can read them: use https"


def plan_uninstall(path: Path, names: Collection[str] = ()) -> Plan:
    """Put servers back as they were.

    Args:
        path: the configuration.
        names: of the servers; empty for all.

    Raises:
        ClientFileError: the file cannot be used; ``UnknownServer`` when neither it nor what is remembered of it has a
            server of a given name.
    """

    def change(plan: Plan, server: Member) -> str | None:
        kept = plan.kept.pop(server.key, None)
        if not is_routed(server.node):
            if kept is not None:
                plan.notes[server.key] = "it was led around the proxy by hand, and is left as it is"
            plan.settled.append(server.key)
            return None
        if kept is not None and digest(_raw(plan.before, server.node)) == kept.routed:
            return kept.original
        try:
            new = unrouted(plan.before, server, _kind(kept))
        except Unroutable:
            if kept is not None:
                plan.kept[server.key] = kept
            raise
        why = "was changed since it was installed" if kept else "is remembered nowhere"
        plan.notes[server.key] = f"it {why}; it is put together again from the proxy's arguments"
        return new

    plan = _planned(path, names, change, forgotten=True)
    for name in list(plan.kept):
        if name not in {*plan.changed, *plan.settled, *plan.skipped} and (not names or name in names):
            del plan.kept[name]
            plan.notes[name] = "the file does not have it any more; what is remembered of it is forgotten"
    return plan


def carry_out(plan: Plan) -> None:
    """Make the change.

    Raises:
        ClientFileError: somebody changed the file since it was planned, or it cannot be written. It is as it was.
    """
    files.check_writable(plan.file)
    place, both = beside(plan.path), plan.memory | plan.kept
    if recall(plan.path) != plan.memory:
        raise ClientFileError(f"{place} was changed by somebody else meanwhile. Run this again.")
    try:
        files.check_unchanged(plan.file)
        # What is needed for the way back is on disk before the way is gone, and until it was gone back.
        remember(plan.path, both)
    except OSError as error:
        raise ClientFileError(
            f"{place} cannot be written ({error.strerror}), and nothing is changed without it. Run this as the owner "
            f"of its folder."
        ) from None
    if plan.before != plan.after:
        try:
            files.write(plan.file, plan.file.with_text(plan.after))
        except ClientFileError:
            with contextlib.suppress(
                OSError
            ):  # remembering too much does no harm, and the first error matters
                remember(plan.path, plan.memory)
            raise
    if both != plan.kept:
        try:
            remember(plan.path, plan.kept)
        except OSError as error:
            raise ClientFileError(
                f"{plan.path} is changed as it should be, but {place} still remembers what was there "
                f"({error.strerror}). Run this again."
            ) from None


def remembered_at(plan: Plan) -> Path:
    """The file that remembers what servers were."""
    return beside(plan.path)


def _planned(
    path: Path,
    names: Collection[str],
    change: Callable[[Plan, Member], str | None],
    *,
    forgotten: bool = False,
) -> Plan:
    file, members = opened(path)
    memory = recall(file.path)
    plan = Plan(file, file.text, memory, dict(memory))
    _refuse_unknown(path, names, (member.key for member in members), memory if forgotten else ())
    edits: list[Edit] = []
    for server in members:
        if names and server.key not in names:
            continue
        try:
            new = change(plan, server)
        except Unroutable as reason:
            plan.skipped[server.key] = str(reason)
            continue
        if new is not None:
            plan.changed.append(server.key)
            edits.append((server.node.start, server.node.end, new))
    plan.after = apply(plan.before, edits)
    parse(plan.after)  # a change that leaves anything else than JSON is never written
    return plan


def _refuse_unknown(path: Path, names: Iterable[str], there: Iterable[str], more: Iterable[str]) -> None:
    known = [*there, *more]
    for name in names:
        if name not in known:
            has = ", ".join(map(repr, known)) or "none"
            raise UnknownServer(f"{path} has no server {name!r}. It has {has}.")


def _kind(kept: Kept | None) -> str:
    if kept is None:
        return "http"
    try:
        kind = parse(kept.original).get("type")
    except ClientFileError:
        return "http"
    return kind.value if kind is not None and isinstance(kind.value, str) else "http"


def _raw(text: str, node: Node) -> str:
    return text[node.start : node.end]
