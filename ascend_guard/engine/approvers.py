"""Who may decide, and how people are told apart.

Rules (promise 6, an agent cannot approve itself, and a quorum is met by different people):

1. A person who signed in is identified by the issuer of their token and its ``sub``. They cannot choose either.
2. Names are compared in one normal form, ``normal``: another spelling of a name is not a second person.
3. Two approvals are from one person when their identities or their names are equal, or when a third approval connects
   them. A person with two accounts of one name, or one account under two names, counts once.
4. An entry under ``approvers`` in a policy is a group of the token, by its exact name, or a person, by the normal form.
5. A name without visible characters is invalid.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import msgspec

from ascend_guard.errors import ValidationError
from ascend_guard.store.port import Approval

from .policy import Requirement


class Approver(msgspec.Struct, frozen=True):
    """A person who decides.

    Args:
        name: the person's name, for people and the audit log.
        groups: the groups of the token; None where people do not sign in, and then groups are not checked.
        issuer: the issuer of the token; None without a token.
        subject: the issuer's ``sub`` for the person, unique for that issuer.

    Raises:
        ValidationError: the name has no visible character.
    """

    name: str
    groups: frozenset[str] | None = None
    issuer: str | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if not normal(self.name):
            raise ValidationError(
                f"{self.name!r} is not a name: it has no visible character. Name the person who decides."
            )

    @property
    def identity(self) -> str | None:
        """The identity that is stored with an approval."""
        if self.issuer is None or self.subject is None:
            return None
        return msgspec.json.encode([self.issuer, self.subject]).decode()

    def recorded(self) -> dict[str, object]:
        """What an audit record contains about the person besides the name."""
        if self.identity is None:
            return {}
        return {"identity": {"issuer": self.issuer, "subject": self.subject}}


# Default_Ignorable_Code_Point of Unicode 16: invisible, in any category. Python's tables do not include this property.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANK = "\u2800"  # a symbol by its category, but looks like a space
_NOT_SEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


def normal(name: str) -> str:
    """The form in which names are compared: Unicode's NFKC_Casefold, and without anything that looks like a space.

    Use it only to compare. ``Ann@Example.com``, the same in full-width letters, and with a zero-width space in it have
    the same form. Letters of other scripts that look alike stay different: an issuer's ``sub`` distinguishes their owners.
    """
    if name.isascii() and name.isalnum():
        return name.lower()
    before, text = None, name
    while text != before:  # each step can create work for the step before
        before = text
        text = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).casefold()
        text = unicodedata.normalize("NFKC", text)
        text = "".join(
            sign for sign in text if sign != _BLANK and unicodedata.category(sign) not in _NOT_SEEN
        )
    return text


def people(given: Iterable[Approval]) -> list[list[Approval]]:
    """Group these approvals by person, each person's in the order given."""
    persons: list[list[Approval]] = []
    marks: list[set[str]] = []  # for each person: every name and identity seen so far
    for approval in given:
        mine = {f"name {normal(approval.approver)}"}
        if approval.identity is not None:
            mine.add(f"identity {approval.identity}")
        approvals = [approval]
        for index in reversed(range(len(persons))):
            if not mine.isdisjoint(marks[index]):
                mine |= marks.pop(index)
                approvals = persons.pop(index) + approvals
        persons.append(approvals)
        marks.append(mine)
    return persons


def names(given: Iterable[Approval]) -> list[str]:
    """One name for each person, sorted: the name of their first approval. A name with a comma is quoted."""
    found = sorted(approvals[0].approver for approvals in people(given))
    return [msgspec.json.encode(name).decode() if "," in name else name for name in found]


def satisfied(requirements: Iterable[Requirement], given: Iterable[Approval]) -> bool:
    """Return whether every rule that asks has as many of its own people as it requires."""
    persons = people(given)
    return all(
        sum(any(_counts(approval, wanted) for approval in approvals) for approvals in persons)
        >= wanted.quorum
        for wanted in requirements
    )


def asked(who: Approver, requirements: Iterable[Requirement]) -> bool:
    """Return whether some rule asks for this person, or for anyone."""
    return who.groups is None or any(among(who.name, who.groups, wanted) for wanted in requirements)


def among(name: str, groups: frozenset[str], wanted: Requirement) -> bool:
    """Return whether a person is among those whom a rule asks for."""
    if not wanted.approvers or not groups.isdisjoint(wanted.approvers):
        return True
    return normal(name) in map(normal, wanted.approvers)


def _counts(approval: Approval, wanted: Requirement) -> bool:
    if approval.groups is None:
        return True
    return among(approval.approver, frozenset(msgspec.json.decode(approval.groups)), wanted)
