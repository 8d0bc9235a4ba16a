"""Check whether a database is the one that agents use, and what to report if it is not, or does not exist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .refusal import Refusal

if TYPE_CHECKING:
    from ascend_guard.store.port import Reader


def there(path: Path) -> bool:
    """Return whether the file exists.

    Raises:
        StoreError: this user may not look there.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        from ascend_guard.store.failures import explain

        raise explain(error, path) from error
    return True


def used(reader: Reader) -> bool:
    """Return whether an agent has used this database, or it was prepared for agents: it has an action, an agent, or a
    key."""
    from ascend_guard.engine.control_plane import LOCAL
    from ascend_guard.engine.keys import organizations

    if reader.last_action(LOCAL) > 0 or len(organizations(reader)) > 1:
        return True
    return any(reader.count_records(LOCAL, kind) for kind in ("agent", "api_key"))


def no_policy(policy: Path) -> Refusal:
    """The refusal for a policy file that does not exist; it names the nearest one. ``policy`` is absolute."""
    from .nearby_files import near

    return Refusal(
        f"There is no policy file at {policy}. Name the file that your agents use with --policy or ASCEND_POLICY, best "
        f"by its absolute path. {near(policy).said(policy=True)}",
        1,
    )


def nowhere(missing: Path) -> Refusal:
    """The refusal for a database that does not exist."""
    from .nearby_files import near

    return Refusal(f"{nothing_yet(str(missing))} {near(missing).said(policy=False)}", 1)


def never_used(place: str) -> Refusal:
    """The refusal for a database that no agent has used."""
    from .nearby_files import near

    more = "" if "://" in place else " " + near(Path(place)).said(policy=False)
    return Refusal(
        f"No agent has used the database {place} yet, so it is probably not the one your agents use. Run an agent with "
        f"the same ASCEND_POLICY or ASCEND_DATABASE_URL first, or name another database.{more}",
        1,
    )


def nothing_yet(place: str) -> str:
    """The text for a database that does not exist."""
    return (
        f"There is no database at {place}, so no agent has used it. The first governed call creates it: run an "
        f"agent with "
        f"the same ASCEND_POLICY or ASCEND_DATABASE_URL."
    )
