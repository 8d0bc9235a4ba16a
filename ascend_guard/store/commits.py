"""Run a group of works in one transaction, and handle the failure of one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ascend_guard.errors import AscendError, StoreError

from .port import Transaction
from .writer import Ticket

_log = logging.getLogger("ascend_guard")


class Undecided(Exception):
    """A commit whose answer was lost, and whose result is unknown: it must not be run again.

    Args:
        error: the error for its callers.
    """

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


class Committing(Transaction, Protocol):
    """A transaction that can be used repeatedly."""

    def begin(self, now: float) -> None:
        """Start."""
        ...

    def commit(self) -> None:
        """Make everything durable. Raises ``Undecided`` if it may have become durable."""
        ...

    def committed(self) -> None:
        """Call the registered callbacks."""
        ...

    def rollback(self) -> None:
        """Undo everything."""
        ...

    def changes(self) -> int:
        """A number that grows with everything written so far."""
        ...


class Committer:
    """Runs groups in a transaction.

    Args:
        transaction: the writer's.
        clock: seconds since the epoch.
        explain: returns the error to raise instead of a database error; it returns other errors unchanged.
    """

    def __init__(
        self, transaction: Committing, clock: Callable[[], float], explain: Callable[[Exception], Exception]
    ) -> None:
        self._transaction = transaction
        self._clock = clock
        self._explain = explain

    def together(self, group: Sequence[Ticket[Any]]) -> bool:
        """Run all in one transaction; False, with nothing done, if any of them fails."""
        transaction = self._transaction
        if not self._begin(group):
            return True
        try:
            for ticket in group:
                before = transaction.changes()
                try:
                    ticket.result = ticket.work(transaction)
                except AscendError as error:
                    if transaction.changes() != before:
                        raise
                    ticket.error = error  # a refusal that changed nothing does not affect the others
            transaction.commit()
        except Undecided as undecided:
            transaction.rollback()
            fail(group, undecided.error)
            return True
        except Exception:
            transaction.rollback()
            for ticket in group:
                ticket.error = None
            return False
        except BaseException:
            transaction.rollback()
            raise
        self._tell()
        return True

    def one_by_one(self, group: Sequence[Ticket[Any]]) -> None:
        """Run each in its own transaction, until no transaction can be begun."""
        transaction = self._transaction
        for position, ticket in enumerate(group):
            if not self._begin(group[position:]):
                return
            try:
                ticket.result = ticket.work(transaction)
                transaction.commit()
            except Undecided as undecided:
                transaction.rollback()
                ticket.error = undecided.error
            except Exception as error:
                transaction.rollback()
                ticket.error = self._explain(error)
            except BaseException:
                transaction.rollback()
                raise
            else:
                self._tell()

    def _tell(self) -> None:
        try:
            self._transaction.committed()
        except Exception:  # from a callback: everything is durable, and no caller may get another result
            _log.exception("A callback after a commit failed")

    def _begin(self, group: Sequence[Ticket[Any]]) -> bool:
        """Begin a transaction for them; if that is impossible, all of them have failed."""
        try:
            self._transaction.begin(self._clock())
        except Exception as error:
            self._transaction.rollback()
            fail(group, self._explain(error))
            return False
        except BaseException:
            self._transaction.rollback()
            raise
        return True


def fail(group: Sequence[Ticket[Any]], error: Exception) -> None:
    """Record that none of them was done."""
    for ticket in group:
        ticket.error = error
