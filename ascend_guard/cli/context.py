"""One run of a command: the control plane of its options, its output and its questions."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ascend_guard.errors import AscendError

from .databases import never_used, no_policy, nowhere, there, used
from .refusal import Declined, Refusal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from ascend_guard.config import Settings
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.store.sqlite.switch_without_database import Beside

_SLOW = 0.5

__all__ = ["Declined", "Refusal", "Run", "approver", "error_record"]


class Run:
    """One run of a command.

    Args:
        policy: ``--policy``, as given; ``settings`` includes the environment.
        database_url: ``--database-url``, likewise.
        json: whether the output is for a program.
    """

    def __init__(self, policy: Path | None, database_url: str | None, json: bool) -> None:
        self.json = json
        self.policy = policy
        self.database_url = database_url
        self._plane: EmbeddedControlPlane | None = None
        self._place: str | None = None
        self._said = False

    # --- what it works on ---------------------------------------------------------------------------

    def settings(self) -> Settings:
        """The settings: options, then environment."""
        from ascend_guard.config import Settings

        return Settings(policy=self.policy, database_url=self.database_url)

    def database(self) -> str:
        """Where the database is, whether it exists or not. Raises ``ConfigurationError``."""
        return self.settings().place

    def absent_policy(self) -> Refusal | None:
        """Return the refusal for a policy file that does not exist. None when it exists, or a database is named."""
        settings = self.settings()
        if settings.remote or settings.policy is None or settings.database_url is not None:
            return None
        from ascend_guard.config import absolute

        policy = absolute(settings.policy)
        if there(policy):
            return None
        return no_policy(policy)  # most likely a relative path, in another folder

    def missing(self) -> Path | None:
        """Return where the database would be, if it does not exist yet.

        Raises:
            ConfigurationError: no address is configured.
            Refusal: the policy file does not exist.
        """
        absent = self.absent_policy()
        if absent is not None:
            raise absent
        return self._to_be_made()

    def _to_be_made(self) -> Path | None:
        settings = self.settings()
        if settings.remote or settings.postgres:
            return None
        path = settings.database()[0]
        return None if there(path) else path

    def require_database(self) -> None:
        """Require that the database exists.

        Raises:
            Refusal: it does not exist; the message names the nearest one.
        """
        missing = self.missing()
        if missing is not None:
            raise nowhere(missing)

    def beside(self) -> Beside | None:
        """The kill switch of an existing SQLite database, without opening the database; None if it does not exist."""
        settings = self.settings()
        if settings.remote or settings.postgres or self._to_be_made():
            return None
        from ascend_guard.store.sqlite.switch_without_database import Beside

        path, options = settings.database()
        durability: Any = settings.durability or options.get("durability") or "power"
        self.works_on(settings.place)
        return Beside(path, durability)

    def plane(self, *, judging: bool = False) -> EmbeddedControlPlane:
        """Open the control plane; a database that does not exist is created.

        Args:
            judging: the command needs the policy. Without it, a policy that does not load does not prevent the
                command, and never the kill switch.
        """
        if self._plane is not None and (self._plane.policy is not None or not judging):
            return self._plane
        self.close()
        settings = self.settings()
        if settings.remote:
            raise Refusal(
                "ASCEND_API_KEY names a server, but this command needs a database. Run it where the server runs, with "
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
        self.works_on(settings.place)
        return self._plane

    def awaited(self) -> EmbeddedControlPlane | None:
        """Open the control plane; None if there is no database yet, because reading creates none."""
        return None if self.missing() else self.plane()

    def existing(self, *, unused: bool = False) -> EmbeddedControlPlane:
        """Open the control plane of a database that agents use.

        Args:
            unused: accept one that no agent has used, too.

        Raises:
            Refusal: there is no such database, or no agent has used it, so it is probably the wrong one.
        """
        self.require_database()
        others = self.others()
        plane = self.plane()
        if not unused and not others and not plane.read(used):
            raise never_used(self.database())
        return plane

    def others(self) -> int:
        """How many processes have the SQLite database open: agents, servers, commands. Call it before ``plane``."""
        settings = self.settings()
        if settings.remote or settings.postgres:
            return 0
        from ascend_guard.store.sqlite.barrier import processes, runners_path

        try:
            return processes(runners_path(settings.database()[0]))
        except OSError:
            return 0  # a user without that permission cannot open the database either, which reports it

    def close(self) -> None:
        """Close the control plane."""
        if self._plane is not None:
            self._plane.close()
            self._plane = None

    # --- how it answers -----------------------------------------------------------------------------

    def works_on(self, place: str) -> None:
        """Note the database of the answer: every answer names it."""
        self._place = place

    def named(self) -> None:
        """Note that the answer has named the database."""
        self._place = None

    def ended(self) -> None:
        """The command has finished: name the database, after the answer or, if that is for programs, on standard error."""
        if self._place is None or self.json:
            return
        from .output import shown

        (self.out if self._said else self.err).print(shown(f"Database: {self._place}", "dim"), soft_wrap=True)

    @functools.cached_property
    def out(self) -> Console:
        """The console for the answer."""
        from .output import console

        return console()

    @functools.cached_property
    def err(self) -> Console:
        """The console for questions, warnings and progress."""
        from .output import console

        return console(stderr=True)

    def say(self, *what: RenderableType) -> None:
        """Print for people; nothing with ``--json``."""
        if not self.json:
            self._said = True
            for renderable in what:
                self.out.print(renderable)

    def line(self, text: Text) -> None:
        """Print one line for people without wrapping, because it contains something to copy or search, such as a path."""
        if not self.json:
            self._said = True
            self.out.print(text, soft_wrap=True)

    def stream(self, lines: Iterable[Text]) -> None:
        """Print a list line by line, through a pager if it is longer than the screen; nothing with ``--json``."""
        if not self.json:
            from .screen.columns import print_lines

            self._said = True
            print_lines(self.out, lines)

    def emit(self, value: dict[str, Any]) -> None:
        """Print for programs, and name the database; nothing without ``--json``."""
        if self.json:
            from .output import print_json

            print_json(value if self._place is None else {"database": self._place, **value})

    def warn(self, message: str) -> None:
        """Print a warning to standard error."""
        from .output import shown

        with suppress(OSError):  # the command's work does not depend on it
            self.err.print(shown(message, "yellow"), soft_wrap=not self.err.is_terminal)

    def require_person(self, command: str) -> None:
        """Require a terminal for a question.

        Args:
            command: the command to type without a terminal, without its ``--yes``.

        Raises:
            Refusal: there is no terminal.
        """
        if sys.stdin is None or not sys.stdin.isatty() or not self.err.is_terminal:
            raise Refusal(
                f"This asks for confirmation, but there is no terminal. Add --yes to go ahead "
                f"without confirmation: ascend-guard {command} --yes"
            )

    def confirm(self, question: str) -> bool:
        """Ask a person at the terminal; the default is no."""
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
        """Show a progress bar on the terminal, if the work takes long enough.

        Args:
            what: the word before the bar.
            total: the number of steps; call the yielded function after each.
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
    """The operating-system user who runs this. The environment is not used, because anyone can set it."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def error_record(error: AscendError | Refusal) -> dict[str, Any]:
    """An error as JSON for programs."""
    record: dict[str, Any] = {"type": type(error).__name__, "message": error.message}
    if isinstance(error, AscendError):
        more = {"action_id": error.action_id, "policy_matched": error.rule, "reason": error.reason}
        more["remedy"] = error.remedy
        record |= {name: value for name, value in more.items() if value is not None}
    return {"error": record}


def _forget_typed_ahead() -> None:
    """Discard keys that were pressed before the question was shown."""
    import termios

    try:
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    except (OSError, ValueError, termios.error):  # no real terminal, as in a test
        pass
