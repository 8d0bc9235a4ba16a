"""How ``mcp-proxy install`` starts the proxy: this program, and the policy and the database that decide.

1. Options are written into every entry.
2. An entry whose own environment names a control plane keeps it. The others get this shell's policy and database, because
   clients do not pass on a shell's variables.
3. If a server or PostgreSQL decides for this shell, nothing is written: the key and the password are secrets.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from ascend_guard.cli.context import Refusal, Run

if TYPE_CHECKING:
    from ascend_guard_mcp.clients.routing import Launcher

    from ascend_guard.config import Settings

DEFAULT = "ascend-policy.yaml"
"""The file name of the policy that ``ascend-guard init`` writes."""


def launcher_of(run: Run, ask: bool) -> tuple[Launcher, str]:
    """Return how the proxy is started, and what a person can do about an entry without a control plane.

    Args:
        run: with the policy and the database from the options, if any.
        ask: whether a person may be asked for the policy.

    Raises:
        Refusal: the database's address has a password.
        PolicyError: the policy does not load.
    """
    from ascend_guard_mcp.clients.routing import Launcher

    program = _program()
    options: list[str] = [] if program is not None else ["-m", "ascend_guard"]
    settings = run.settings()
    if run.database_url is not None and settings.postgres:
        raise Refusal(
            "A database's password must not be written into a client's file. Remove --database-url, and set "
            "ASCEND_DATABASE_URL in the entry's own env."
        )
    database = _database(settings)
    if run.policy is not None:
        options += _policy(run.policy)
    if run.policy is not None or run.database_url is not None:
        options += database
    policy, hint = ([], "") if run.policy is not None else _taken_over(run, settings, ask)
    if policy and run.database_url is None:
        policy += database
    return Launcher(program or sys.executable, tuple(options), tuple(policy)), hint


def _policy(path: Path) -> list[str]:
    from ascend_guard.engine.policy import load_policy

    load_policy(path)  # a proxy whose policy does not load would block every call
    return ["--policy", str(path.parent.resolve() / path.name)]


def _database(settings: Settings) -> list[str]:
    """The database of this shell's commands; empty when it is the one beside the policy."""
    if settings.database_url is None or settings.postgres:
        return []
    place, query = settings.database()
    end = f"?{urlencode(query)}" if query else ""
    return ["--database-url", f"sqlite:///{quote(str(place))}{end}"]


def _taken_over(run: Run, settings: Settings, ask: bool) -> tuple[list[str], str]:
    """The policy for entries without a control plane: this shell's, or one that a person agrees to."""
    if settings.remote:
        return [], (
            "set ASCEND_API_KEY and ASCEND_API_URL in its own env, by the client's input variables (the "
            "command never writes a key "
            "into the file), or install with --policy FILE"
        )
    if settings.postgres:
        return [], (
            "this shell's ASCEND_DATABASE_URL has a password, so the command never writes it into the file. Set it and "
            "ASCEND_POLICY in its own env, or ASCEND_API_KEY and ASCEND_API_URL of a server"
        )
    if settings.policy is not None:
        return _policy(Path(settings.policy)), ""
    here = Path(DEFAULT)
    if not here.is_file():
        return (
            [],
            "install with --policy FILE (`ascend-guard init` writes a policy), or set ASCEND_POLICY in its own env",
        )
    if ask and run.confirm(f"No policy is configured. Use {here.absolute()}?"):
        return _policy(here), ""
    return [], f"install with --policy {DEFAULT}, or set ASCEND_POLICY in its own env"


def _program() -> str | None:
    """The absolute path of this program; None when it was started another way, such as by ``python -m``."""
    beside = Path(sys.executable).parent
    for folder in (None, str(beside)):
        found = shutil.which(sys.argv[0] if folder is None else "ascend-guard", path=folder)
        if found is not None and Path(found).stem == "ascend-guard":
            return os.path.abspath(found)
    return None
