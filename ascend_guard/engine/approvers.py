"""Who decides, and how people are told apart.

Rules (promise 6, an agent cannot approve itself, and a quorum is met by different people):

1. A person who signed in is identified by the issuer of their token and its ``sub``: neither is theirs to choose.
2. Names are compared in one normal form, ``normal``: how a name is written makes nobody a second person.
3. Two approvals are one person's when their identities or their names are equal, and so are approvals that a third one
   connects. A person with two accounts of one name, or one account under two names, counts once.
4. What a policy lists under ``approvers`` is a group of the token, by its exact name, or a person, by the normal form.
5. A name with nothing visible in it is nobody's.
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
        name: theirs, for people and the audit log.
        groups: of their token; None where people do not sign in, and then groups are not asked for.
        issuer: who vouches for them; None where nobody does.
        subject: what the issuer calls them (``sub``), which no other person of that issuer is ever called.

    Raises:
        ValidationError: the name has nothing visible in it.
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
        """As it is stored with an approval."""
        if self.issuer is None or self.subject is None:
            return None
        return msgspec.json.encode([self.issuer, self.subject]).decode()

    def recorded(self) -> dict[str, object]:
        """What an audit record says of them besides their name."""
        if self.identity is None:
            return {}
        return {"identity": {"issuer": self.issuer, "subject": self.subject}}


# Default_Ignorable_Code_Point of Unicode 16: shown as nothing, whatever their category. Python's tables do not have it.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANK = "\u2800"  # a symbol by its category, and looks like a space
_NOT_SEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


def normal(name: str) -> str:
    """The form in which names are compared: Unicode's NFKC_Casefold, and without anything that looks like a space.

    It is for comparing only. ``Ann@Example.com``, the same in full-width letters, and with a zero-width space in it have
    the same one. Letters of other scripts that look alike stay different: an issuer's ``sub`` tells their owners apart.
    """
    if name.isascii() and name.isalnum():
        return name.lower()
    before, text = None, name
    while text != before:  # each step can make work for the one before it
        before = text
        text = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).casefold()
        text = unicodedata.normalize("NFKC", text)
        text = "".join(
            sign for sign in text if sign != _BLANK and unicodedata.category(sign) not in _NOT_SEEN
        )
    return text


def people(given: Iterable[Approval]) -> list[list[Approval]]:
    """These approvals by person, each person's in the order they were given."""
    persons: list[list[Approval]] = []
    marks: list[set[str]] = []  # of each person: every name and identity seen so far
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
    """One name for each person, sorted: as they first approved. One with a comma is quoted: commas stand between names."""
    found = sorted(approvals[0].approver for approvals in people(given))
    return [msgspec.json.encode(name).decode() if "," in name else name for name in found]


def satisfied(requirements: Iterable[Requirement], given: Iterable[Approval]) -> bool:
    """Whether every rule that asks has as many of its own people as it wants."""
    persons = people(given)
    return all(
        sum(any(_counts(approval, wanted) for approval in approvals) for approvals in persons)
        >= wanted.quorum
        for wanted in requirements
    )


def asked(who: Approver, requirements: Iterable[Requirement]) -> bool:
    """Whether some rule asks for this person, or for anybody."""
    return who.groups is None or any(among(who.name, who.groups, wanted) for wanted in requirements)


def among(name: str, groups: frozenset[str], wanted: Requirement) -> bool:
    """Whether a person is one of those whom a rule asks for."""
    if not wanted.approvers or not groups.isdisjoint(wanted.approvers):
        return True
    return normal(name) in map(normal, wanted.approvers)


def _counts(approval: Approval, wanted: Requirement) -> bool:
    if approval.groups is None:
        return True
    return among(approval.approver, frozenset(msgspec.json.decode(approval.groups)), wanted)
