"""Which control plane decides: argument, then environment, then a clear error. Nothing is read at import."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload
from urllib.parse import parse_qsl, unquote, urlsplit

from ascend_guard.calling.scope import require_text
from ascend_guard.calling.waiting_notice import set_mode
from ascend_guard.processes import call_in_children

from .errors import ConfigurationError, PolicyError, ValidationError, refuse_unknown

if TYPE_CHECKING:
    from ascend_guard.client.guard.control_plane import RemoteControlPlane

    from .engine.control_plane import EmbeddedControlPlane
    from .flow import ControlPlane
    from .store.port import Store

P = TypeVar("P", bound="ControlPlane")

_default: ControlPlane | None = None
_lock = threading.Lock()

NOTHING_CONFIGURED = """\
Nothing is configured, so nothing may run. Either decide in this process, by a policy file:
    ascend-guard init                      # writes a commented ascend-policy.yaml
    export ASCEND_POLICY=ascend-policy.yaml
or in code, before the first governed call:
    ascend_guard.configure(policy="ascend-policy.yaml")
or on a server (`ascend-guard serve` starts one), with a key it made:
    export ASCEND_API_KEY=owkai_... ASCEND_API_URL=https://..."""


class Sources(TypedDict, total=False):
    """What can be configured; the environment variable in brackets is read for what is left out.

    ``policy``: path of a policy file (``ASCEND_POLICY``). ``database_url``: ``sqlite:///path`` or ``postgresql://...``
    (``ASCEND_DATABASE_URL``); ``.ascend/ascend.db`` beside the policy when left out. ``secret_key``: of PostgreSQL's audit
    trail, 64 hexadecimal digits (``ASCEND_SECRET_KEY``); a key file beside the policy when left out. ``durability``:
    ``power`` or ``process`` (``ASCEND_DURABILITY``), see ``SQLiteStore``. ``agent_id`` and ``agent_name``: for whom
    calls are made (``ASCEND_AGENT_ID``, ``ASCEND_AGENT_NAME``). ``api_key`` and ``api_url``: a server (``ASCEND_API_KEY``,
    ``ASCEND_API_URL``).
    """

    policy: str | os.PathLike[str] | None
    database_url: str | None
    secret_key: str | None
    durability: str | None
    agent_id: str | None
    agent_name: str | None
    api_key: str | None
    api_url: str | None


class Settings:
    """What was asked for, from arguments first and the environment second; see ``Sources``.

    Raises:
        ConfigurationError: a value is of the wrong type.
    """

    def __init__(self, **sources: Unpack[Sources]) -> None:
        refuse_unknown("setting", sources, Sources.__annotations__)

        def given(name: str, value: Any) -> str | None:
            if value is None:
                return os.environ.get(f"ASCEND_{name.upper()}") or None
            text = os.fspath(value) if isinstance(value, os.PathLike) else value
            try:
                require_text(name, text)
            except ValidationError as error:
                kind = PolicyError if name == "policy" else ConfigurationError
                raise kind(f"configure cannot use this: {error}") from None
            return str(text)

        # What is said in code stands: a key in the environment does not override a policy in an argument.
        embedded = sources.get("policy") is not None or sources.get("database_url") is not None
        self.policy = given("policy", sources.get("policy"))
        self.database_url = given("database_url", sources.get("database_url"))
        self.secret_key = given("secret_key", sources.get("secret_key"))
        self.durability = given("durability", sources.get("durability"))
        self.agent_id = given("agent_id", sources.get("agent_id"))
        self.agent_name = given("agent_name", sources.get("agent_name"))
        self.api_key = sources.get("api_key") if embedded else given("api_key", sources.get("api_key"))
        self.api_url = sources.get("api_url") if embedded else given("api_url", sources.get("api_url"))

    @property
    def folder(self) -> Path:
        """Where what belongs to the policy is kept. Raises ``ConfigurationError`` where the current folder is gone."""
        return absolute(self.policy or "policy").parent / ".ascend"

    @property
    def remote(self) -> bool:
        """Whether a server decides."""
        return self.api_key is not None

    def database(self) -> tuple[Path, dict[str, str]]:
        """The database file, and the options in its address.

        Raises:
            ConfigurationError: nothing says where it is, or the address is of no kind we know.
        """
        if self.database_url is None:
            if self.policy is None:
                raise ConfigurationError(NOTHING_CONFIGURED)
            return self.folder / "ascend.db", {}
        try:
            parts = urlsplit(self.database_url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme != "sqlite" or parts.netloc or parts.fragment or not _is_file(parts.path):
            raise ConfigurationError(
                f"database_url {_masked(self.database_url)!r} is not understood. Write sqlite:///relative/path.db, "
                f"sqlite:////absolute/path.db or postgresql://user:password@host/database."
            )
        return absolute(unquote(parts.path[1:])), dict(parse_qsl(parts.query))

    @property
    def postgres(self) -> bool:
        """Whether the database is PostgreSQL."""
        return (self.database_url or "").startswith(("postgresql://", "postgres://"))

    @property
    def place(self) -> str:
        """Where the database is, for people. Raises as ``database``."""
        return _masked(self.database_url or "") if self.postgres else str(self.database()[0])

    def store(self) -> Store:
        """Open the database.

        Raises:
            ConfigurationError: nothing says where it is, or the address is of no kind we know.
            StoreError: it cannot be used.
        """
        if self.postgres:
            from ascend_guard.store.postgres.store import PostgresStore
            from ascend_guard.store.sqlite.keyfile import kept_secret, parse_secret

            assert self.database_url is not None
            given = self.secret_key
            secret = kept_secret(self.folder) if given is None else parse_secret(given)
            return PostgresStore(self.database_url, secret=secret)
        from ascend_guard.store.sqlite.store import SQLiteStore

        path, query = self.database()
        refuse_unknown("option of database_url", query, ("durability",))
        durability: Any = self.durability or query.get("durability") or "power"
        return SQLiteStore(path, durability=durability)

    def control_plane(self, *, needs_policy: bool = True) -> EmbeddedControlPlane | RemoteControlPlane:
        """Build what is configured.

        Args:
            needs_policy: False for tools that only look or approve.

        Raises:
            ConfigurationError: nothing is, or it is wrong; PolicyError when the policy file does not load.
            StoreError: the database cannot be used.
        """
        if self.remote:
            from ascend_guard.client.guard.control_plane import RemoteControlPlane

            return RemoteControlPlane(
                self.api_key, self.api_url, agent_id=self.agent_id, agent_name=self.agent_name
            )
        return self.embedded(needs_policy=needs_policy)

    def embedded(self, *, needs_policy: bool = True) -> EmbeddedControlPlane:
        """Build a control plane in this process, whatever else is configured. Raises as ``control_plane``."""
        if self.policy is None and (needs_policy or self.database_url is None):
            raise ConfigurationError(NOTHING_CONFIGURED)
        from .engine.control_plane import EmbeddedControlPlane
        from .engine.policy import load_policy

        policy = None if self.policy is None else load_policy(self.policy)
        store = self.store()
        try:
            return EmbeddedControlPlane(
                store, policy, agent_id=self.agent_id or "default-agent", agent_name=self.agent_name
            )
        except BaseException:
            store.close()
            raise


@overload
def configure(*, control_plane: P, waiting: str | None = ...) -> P: ...


@overload
def configure(
    *,
    api_key: str,
    api_url: str | None = ...,
    agent_id: str | None = ...,
    agent_name: str | None = ...,
    waiting: str | None = ...,
) -> RemoteControlPlane: ...


@overload
def configure(
    *,
    policy: str | os.PathLike[str],
    database_url: str | None = ...,
    secret_key: str | None = ...,
    durability: str | None = ...,
    agent_id: str | None = ...,
    agent_name: str | None = ...,
    waiting: str | None = ...,
) -> EmbeddedControlPlane: ...


@overload
def configure(
    *, waiting: str | None = ..., **sources: Unpack[Sources]
) -> EmbeddedControlPlane | RemoteControlPlane: ...


def configure(
    *, control_plane: ControlPlane | None = None, waiting: str | None = None, **sources: Unpack[Sources]
) -> ControlPlane:
    """Set the default control plane, from arguments first and the environment second, and return it.

    Args:
        control_plane: one built already, to use as it is.
        waiting: how a call that waits for a person is reported: ``terminal`` (a log record, and a line on the terminal where
            the log does not show it there), ``log`` (the record alone) or ``off``; ``ASCEND_WAITING`` when left out.
        **sources: see ``Sources``.

    Raises:
        ConfigurationError: nothing is configured, or it is wrong; PolicyError when the policy file does not load.
        StoreError: the database cannot be used.
    """
    global _default
    if control_plane is not None and not hasattr(control_plane, "aperform"):
        raise ConfigurationError(
            f"control_plane is an object that decides, such as EmbeddedControlPlane, not "
            f"{type(control_plane).__name__}. For a policy file write configure(policy=...)."
        )
    set_mode(waiting)
    plane: ControlPlane = Settings(**sources).control_plane() if control_plane is None else control_plane
    _default = plane
    return plane


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


call_in_children(_new_lock)  # another thread of the parent may have held it


def default_control_plane() -> ControlPlane:
    """The configured control plane; on first use, what the environment says.

    Raises:
        ConfigurationError: nothing is configured.
    """
    plane = _default
    if plane is None:
        with _lock:
            plane = _default or configure()
    return plane


def absolute(path: str) -> Path:
    """The path, wherever the process goes later.

    Raises:
        ConfigurationError: it is relative, and the folder that this process is in was deleted.
    """
    try:
        return Path(path).absolute()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path!r} is relative to the current folder, which was deleted. Give an absolute path, or change to a folder."
        ) from None


def _is_file(path: str) -> bool:
    name = unquote(path).strip("/")
    return bool(name) and "\0" not in name and name != ":memory:"


def _masked(url: str) -> str:
    return re.sub(r"(//[^/@]*:)[^/@]*@", r"\1***@", url)
