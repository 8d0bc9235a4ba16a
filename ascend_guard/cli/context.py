"""One run of a command: the control plane its options name, and the ways it answers and asks."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ascend_guard.errors import AscendError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ascend_guard.config import Settings
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.store.beside import Beside

_SLOW = 0.5


class Refusal(Exception):
    """A command does not do what it was told.

    Args:
        message: why, and what to do.
        code: the exit status.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Declined(Refusal):
    """The person who was asked said no."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 1)


class Run:
    """One run of a command.

    Args:
        policy: ``--policy``, as it was given; ``settings`` knows what the environment says.
        database_url: ``--database-url``, likewise.
        json: whether a program reads the answer.
    """

    def __init__(self, policy: Path | None, database_url: str | None, json: bool) -> None:
        self.json = json
        self.policy = policy
        self.database_url = database_url
        self._plane: EmbeddedControlPlane | None = None

    # --- what it works on ---------------------------------------------------------------------------

    def settings(self) -> Settings:
        """What is configured: options, then environment."""
        from ascend_guard.config import Settings

        return Settings(policy=self.policy, database_url=self.database_url)

    def database(self) -> str:
        """Where the database is, whether it exists or not. Raises ``ConfigurationError``."""
        return self.settings().place

    def missing(self) -> Path | None:
        """Where the database would be, if there is none yet. Raises ``ConfigurationError``."""
        settings = self.settings()
        if settings.remote or settings.postgres:
            return None
        path = settings.database()[0]
        if path.exists():
            return None
        if (
            settings.policy is not None
            and settings.database_url is None
            and not os.path.exists(settings.policy)
        ):
            # Most likely a relative path, and another folder: a database made here would be nobody's.
            raise Refusal(
                f"There is no policy file at {Path(settings.policy).absolute()}, and no database beside it. Name the "
                f"policy that your agents use with --policy or ASCEND_POLICY, best by its absolute path.",
                1,
            )
        return path

    def beside(self) -> Beside | None:
        """The kill switch of a SQLite database that exists, without opening the database; None where there is none."""
        settings = self.settings()
        if settings.remote or settings.postgres or self.missing():
            return None
        from ascend_guard.store.beside import Beside

        path, options = settings.database()
        durability: Any = settings.durability or options.get("durability") or "power"
        return Beside(path, durability)

    def plane(self, *, judging: bool = False) -> EmbeddedControlPlane:
        """The control plane, opened; its database is made when there is none.

        Args:
            judging: the command needs the policy. Without it, a policy that does not load is in nobody's
                way: least of all in that of the kill switch.
        """
        if self._plane is not None and (self._plane.policy is not None or not judging):
            return self._plane
        self.close()
        settings = self.settings()
        if settings.remote:
            raise Refusal(
                "ASCEND_API_KEY names a server, and this looks into a database. Run it where the server runs, with "
                "--policy or --database-url; from elsewhere a person decides over the API, with a token "
                "(`ascend-guard token`).",
                1,
            )
        if not judging and settings.policy is not None:
            if not settings.postgres:
                path, options = settings.database()
                query = "".join(f"?{name}={quote(value)}" for name, value in options.items())
                settings.database_url = f"sqlite:///{quote(str(path))}{query}"
            settings.policy = None
        self._plane = settings.embedded(needs_policy=judging)
        return self._plane

    def existing(self) -> EmbeddedControlPlane | None:
        """The control plane, opened, or None where nothing was ever recorded: looking makes no database."""
        return None if self.missing() else self.plane()

    def close(self) -> None:
        """Let go of the control plane."""
        if self._plane is not None:
            self._plane.close()
            self._plane = None

    # --- how it answers -----------------------------------------------------------------------------

    @functools.cached_property
    def out(self) -> Console:
        """Where the answer goes."""
        from .output import console

        return console()

    @functools.cached_property
    def err(self) -> Console:
        """Where questions, warnings and progress go."""
        from .output import console

        return console(stderr=True)

    def say(self, *what: RenderableType) -> None:
        """Print for people; nothing under ``--json``."""
        if not self.json:
            for renderable in what:
                self.out.print(renderable)

    def emit(self, value: Any) -> None:
        """Print for programs; nothing without ``--json``."""
        if self.json:
            from .output import print_json

            print_json(value)

    def warn(self, message: str) -> None:
        """Say something beside the answer."""
        from .output import shown

        self.err.print(shown(message, "yellow"), soft_wrap=not self.err.is_terminal)

    def require_person(self, command: str) -> None:
        """See that there is a terminal to ask at.

        Args:
            command: what to type where there is none, without its ``--yes``.

        Raises:
            Refusal: there is none.
        """
        if sys.stdin is None or not sys.stdin.isatty() or not self.err.is_terminal:
            raise Refusal(
                f"This asks for confirmation, and there is no terminal to ask at. Add --yes to go ahead "
                f"without being asked: ascend-guard {command} --yes"
            )

    def confirm(self, question: str) -> bool:
        """Ask a person at the terminal; no is the default."""
        from rich.text import Text

        from .output import safe

        _forget_typed_ahead()
        self.err.print(Text(f"\n{safe(question, table=True)} [y/N] ", "bold"), end="")
        answer = ""
        try:
            answer = sys.stdin.readline()
        finally:
            if not answer.endswith("\n"):
                self.err.print()
        return answer.strip().lower() in ("y", "yes")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Something that may take seconds: a bar on the terminal once it does.

        Args:
            what: the word before the bar.
            total: how many steps there are; what is yielded is to be called after each.
        """
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal)
        task = bar.add_task(what, total=total)
        begun, done = time.monotonic(), 0

        def step() -> None:
            nonlocal done
            done += 1
            if done % 500 == 0 and time.monotonic() - begun > _SLOW:
                bar.start()
                bar.update(task, completed=done)

        try:
            yield step
        finally:
            bar.stop()


def approver() -> str:
    """The operating-system user who runs this. The environment is not asked: anybody can set it."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def nothing_yet(place: str) -> str:
    """What to say where there is no database."""
    return (
        f"Nothing yet: there is no database at {place}. The first governed call makes it: run an agent with "
        f"the same ASCEND_POLICY or ASCEND_DATABASE_URL."
    )


def error_record(error: AscendError | Refusal) -> dict[str, Any]:
    """An error as a program sees it."""
    record: dict[str, Any] = {"type": type(error).__name__, "message": error.message}
    if isinstance(error, AscendError):
        more = {"action_id": error.action_id, "policy_matched": error.rule, "reason": error.reason}
        more["remedy"] = error.remedy
        record |= {name: value for name, value in more.items() if value is not None}
    return {"error": record}


def _forget_typed_ahead() -> None:
    """A key pressed before the question was read is no answer to it."""
    import termios

    try:
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    except (OSError, ValueError, termios.error):  # no real terminal, as in a test
        pass
