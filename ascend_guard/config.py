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
Nothing is configured, so no governed tool may run. Either decide in this process, with a policy file:
    ascend-guard init                      # writes a commented ascend-policy.yaml
    export ASCEND_POLICY=ascend-policy.yaml
or in code, before the first governed call:
    ascend_guard.configure(policy="ascend-policy.yaml")
or on a server (`ascend-guard serve` starts one), with its API key:
    export ASCEND_API_KEY=owkai_... ASCEND_API_URL=https://..."""


class Sources(TypedDict, total=False):
    """What can be configured; what is left out comes from the environment variable in parentheses.

    ``policy``: path of a policy file (``ASCEND_POLICY``). ``database_url``: ``sqlite:///path`` or ``postgresql://...``
    (``ASCEND_DATABASE_URL``); by default ``.ascend/ascend.db`` beside the policy. ``secret_key``: the key of the audit
    trail on PostgreSQL, 64 hexadecimal digits (``ASCEND_SECRET_KEY``); by default a key file beside the policy.
    ``durability``: ``power`` or ``process`` (``ASCEND_DURABILITY``), see ``SQLiteStore``. ``agent_id`` and
    ``agent_name``: the agent that calls are made for (``ASCEND_AGENT_ID``, ``ASCEND_AGENT_NAME``). ``api_key`` and
    ``api_url``: a server (``ASCEND_API_KEY``, ``ASCEND_API_URL``).
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
    """The effective settings, from arguments first and the environment second; see ``Sources``.

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

        # Arguments win: an API key in the environment does not override a policy in an argument.
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
        """The folder for files that belong to the policy. Raises ``ConfigurationError`` if the current folder was
        deleted."""
        return absolute(self.policy or "policy").parent / ".ascend"

    @property
    def remote(self) -> bool:
        """Return whether a server decides."""
        return self.api_key is not None

    def database(self) -> tuple[Path, dict[str, str]]:
        """Return the database file, and the options in its address.

        Raises:
            ConfigurationError: no address is configured, or it is of an unknown kind.
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
        """Return whether the database is PostgreSQL."""
        return (self.database_url or "").startswith(("postgresql://", "postgres://"))

    @property
    def place(self) -> str:
        """Where the database is, as text for people. Raises as ``database``."""
        return _masked(self.database_url or "") if self.postgres else str(self.database()[0])

    def store(self) -> Store:
        """Open the database.

        Raises:
            ConfigurationError: no address is configured, or it is of an unknown kind.
            StoreError: the database cannot be used.
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
        """Build the configured control plane.

        Args:
            needs_policy: False for programs that only read or approve.

        Raises:
            ConfigurationError: nothing is configured, or it is wrong; PolicyError when the policy file does not load.
            StoreError: the database cannot be used.
        """
        if self.remote:
            from ascend_guard.client.guard.control_plane import RemoteControlPlane

            return RemoteControlPlane(
                self.api_key, self.api_url, agent_id=self.agent_id, agent_name=self.agent_name
            )
        return self.embedded(needs_policy=needs_policy)

    def embedded(self, *, needs_policy: bool = True) -> EmbeddedControlPlane:
        """Build a control plane in this process, even if a server is configured. Raises as ``control_plane``."""
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
        control_plane: an existing control plane, used as it is.
        waiting: how a call that waits for a person is reported: ``terminal`` (a log record, and a line on the terminal
            if the log does not show it there), ``log`` (the record alone) or ``off``; by default ``ASCEND_WAITING``.
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


call_in_children(_new_lock)  # another thread of the parent may have held the lock


def default_control_plane() -> ControlPlane:
    """Return the configured control plane. At first use it is built from the environment.

    Raises:
        ConfigurationError: nothing is configured.
    """
    plane = _default
    if plane is None:
        with _lock:
            plane = _default or configure()
    return plane


def absolute(path: str) -> Path:
    """Return the absolute path, valid also after the process changes its folder.

    Raises:
        ConfigurationError: the path is relative, and the current folder was deleted.
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
