"""Which control plane decides: argument, then environment, then a clear error. Nothing is read at import."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import parse_qsl, unquote, urlsplit

from ._scope import require_text
from .errors import ConfigurationError, PolicyError, ValidationError

if TYPE_CHECKING:
    from .drivers import ControlPlane
    from .engine.control_plane import EmbeddedControlPlane

P = TypeVar("P", bound="ControlPlane")

_default: ControlPlane | None = None
_lock = threading.Lock()

NOTHING_CONFIGURED = """\
Nothing is configured, so nothing may run. Either decide in this process, by a policy file:
    ascend-guard init                      # writes a commented ascend-policy.yaml
    export ASCEND_POLICY=ascend-policy.yaml
or in code, before the first governed call:
    ascend_guard.configure(policy="ascend-policy.yaml")
A server is used instead when ASCEND_API_KEY and ASCEND_API_URL are set."""


class Settings:
    """What was asked for, from arguments first and the environment second.

    Args:
        policy: path of a policy file (``ASCEND_POLICY``).
        database_url: ``sqlite:///path`` (``ASCEND_DATABASE_URL``); ``.ascend/ascend.db`` beside the policy when left out.
        durability: ``power`` or ``process`` (``ASCEND_DURABILITY``); see ``SQLiteStore``.
        agent_id: the agent calls are made for (``ASCEND_AGENT_ID``).
        agent_name: its name for people (``ASCEND_AGENT_NAME``).
        api_key: key of a server (``ASCEND_API_KEY``).
        api_url: address of a server (``ASCEND_API_URL``).
    """

    def __init__(
        self,
        *,
        policy: str | os.PathLike[str] | None = None,
        database_url: str | None = None,
        durability: str | None = None,
        agent_id: str | None = None,
        agent_name: str | None = None,
        api_key: str | None = None,
        api_url: str | None = None,
    ) -> None:
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
        embedded = policy is not None or database_url is not None
        self.policy = given("policy", policy)
        self.database_url = given("database_url", database_url)
        self.durability = given("durability", durability)
        self.agent_id = given("agent_id", agent_id)
        self.agent_name = given("agent_name", agent_name)
        self.api_key = api_key if embedded else given("api_key", api_key)
        self.api_url = api_url if embedded else given("api_url", api_url)

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
            return Path(self.policy).absolute().parent / ".ascend" / "ascend.db", {}
        try:
            parts = urlsplit(self.database_url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in ("postgresql", "postgres"):
            raise ConfigurationError(
                "PostgreSQL belongs to the server, which this version does not have yet. Use sqlite:///path/to/ascend.db."
            )
        if parts.scheme != "sqlite" or parts.netloc or parts.fragment or not _is_file(parts.path):
            raise ConfigurationError(
                f"database_url {_masked(self.database_url)!r} is not understood. Write sqlite:///relative/path.db or "
                f"sqlite:////absolute/path.db."
            )
        return Path(unquote(parts.path[1:])).absolute(), dict(parse_qsl(parts.query))

    def control_plane(self, *, needs_policy: bool = True) -> EmbeddedControlPlane:
        """Build what is configured.

        Args:
            needs_policy: False for tools that only look or approve.

        Raises:
            ConfigurationError: nothing is, or it is wrong; PolicyError when the policy file does not load.
            StoreError: the database cannot be used.
        """
        if self.remote:
            raise ConfigurationError(
                "ASCEND_API_KEY is set, which means a server decides; this version has no HTTP client yet. Unset it and set "
                "ASCEND_POLICY to decide in this process."
            )
        if self.policy is None and (needs_policy or self.database_url is None):
            raise ConfigurationError(NOTHING_CONFIGURED)
        from .engine.control_plane import EmbeddedControlPlane
        from .engine.policy import load_policy
        from .store.sqlite import SQLiteStore

        path, query = self.database()
        unknown = set(query) - {"durability"}
        if unknown:
            raise ConfigurationError(
                f"database_url has an unknown option {min(unknown)!r}; there is 'durability'."
            )
        policy = None if self.policy is None else load_policy(self.policy)
        durability: Any = self.durability or query.get("durability") or "power"
        store = SQLiteStore(path, durability=durability)
        try:
            return EmbeddedControlPlane(
                store, policy, agent_id=self.agent_id or "default-agent", agent_name=self.agent_name
            )
        except BaseException:
            store.close()
            raise


@overload
def configure(*, control_plane: P) -> P: ...


@overload
def configure(
    *,
    policy: str | os.PathLike[str] | None = None,
    database_url: str | None = None,
    durability: str | None = None,
    agent_id: str | None = None,
    agent_name: str | None = None,
    api_key: str | None = None,
    api_url: str | None = None,
) -> EmbeddedControlPlane: ...


def configure(
    *,
    policy: str | os.PathLike[str] | None = None,
    database_url: str | None = None,
    durability: str | None = None,
    agent_id: str | None = None,
    agent_name: str | None = None,
    api_key: str | None = None,
    api_url: str | None = None,
    control_plane: ControlPlane | None = None,
) -> ControlPlane:
    """Set the default control plane, from arguments first and the environment second, and return it.

    Args:
        control_plane: one built already, to use as it is.

    The other arguments, and what is raised, are those of ``Settings``.
    """
    global _default
    if control_plane is not None and not hasattr(control_plane, "aperform"):
        raise ConfigurationError(
            f"control_plane is an object that decides, such as EmbeddedControlPlane, not "
            f"{type(control_plane).__name__}. For a policy file write configure(policy=...)."
        )
    plane: ControlPlane
    if control_plane is not None:
        plane = control_plane
    else:
        settings = Settings(
            policy=policy,
            database_url=database_url,
            durability=durability,
            agent_id=agent_id,
            agent_name=agent_name,
            api_key=api_key,
            api_url=api_url,
        )
        plane = settings.control_plane()
    _default = plane
    return plane


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)  # another thread of the parent may have held it


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


def _is_file(path: str) -> bool:
    name = unquote(path).strip("/")
    return bool(name) and "\0" not in name and name != ":memory:"


def _masked(url: str) -> str:
    return re.sub(r"(//[^/@]*:)[^/@]*@", r"\1***@", url)
