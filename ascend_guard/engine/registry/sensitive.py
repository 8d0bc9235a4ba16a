"""Finds secrets, payment data and personal data in text, in time linear in its length.

Credentials are found by the shapes that ``ascend_guard.redaction`` knows. Numbers count only if their check digits fit:
ISO/IEC 7812-1 (Luhn) for cards, ISO 13616-1 (mod 97, and the length its country gives it) for bank accounts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum

from msgspec import Struct

from ascend_guard.model import RiskLevel
from ascend_guard.redaction import _paired, _shaped


class Category(StrEnum):
    """A category of data."""

    SECRET = "secret"  # noqa: S105
    PCI = "pci"
    PII = "pii"


class Kind(StrEnum):
    """A kind of data."""

    PRIVATE_KEY = "private_key"
    CREDENTIAL = "credential"
    CARD = "card_number"
    IBAN = "iban"
    SSN = "us_ssn"
    EMAIL = "email"


KINDS: dict[Kind, tuple[Category, RiskLevel]] = {
    Kind.PRIVATE_KEY: (Category.SECRET, RiskLevel.CRITICAL),
    Kind.CREDENTIAL: (Category.SECRET, RiskLevel.CRITICAL),
    Kind.CARD: (Category.PCI, RiskLevel.HIGH),
    Kind.IBAN: (Category.PII, RiskLevel.MEDIUM),
    Kind.SSN: (Category.PII, RiskLevel.HIGH),
    Kind.EMAIL: (Category.PII, RiskLevel.LOW),
}


class Span(Struct, frozen=True):
    """Where data is: from the character ``start`` up to the one before ``stop``."""

    start: int
    stop: int
    kind: Kind


def spans(text: str) -> list[Span]:
    """Everything sensitive in a text, in order. Spans of different kinds may overlap."""
    found = {
        Span(start, stop, Kind.PRIVATE_KEY if text.startswith("-----BEGIN", start) else Kind.CREDENTIAL)
        for start, stop in (*_shaped(text), *_paired(text))
        if start < stop
    }
    for kind, finder in ((Kind.CARD, _cards), (Kind.IBAN, _ibans), (Kind.SSN, _ssns), (Kind.EMAIL, _emails)):
        found.update(Span(start, stop, kind) for start, stop in finder(text))
    return sorted(found, key=lambda span: (span.start, span.stop, span.kind))


# Separators are single, so that a run is read once. It is divided into its groups of digits afterwards.
_RUN = r"[0-9](?:[ \u00a0-]?[0-9]){12,}+"
_CARD_LENGTHS = range(13, 20)
_FIRST_DIGITS = (2, 3, 4, 5, 6)  # ISO/IEC 7812-1: travel, banking, merchandising


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for run in re.finditer(_RUN, text):
        groups = [group.span() for group in re.finditer("[0-9]+", run[0])]
        places = [place for start, stop in groups for place in range(start, stop)]
        begins = {start for start, _ in groups}
        ends = {stop - 1 for _, stop in groups}
        digits = [int(run[0][place]) for place in places]
        valid = _luhn(digits)
        free = 0
        for first, digit in enumerate(digits):
            if first < free or digit not in _FIRST_DIGITS or places[first] not in begins:
                continue
            for length in _CARD_LENGTHS:
                after = first + length
                if after <= len(digits) and places[after - 1] in ends and valid(first, after):
                    free = after
            if free > first:
                yield run.start() + places[first], run.start() + places[free - 1] + 1


def _luhn(digits: list[int]) -> Callable[[int, int], bool]:
    """Tests the check digit of any part of these digits, without adding the part up each time."""
    sums = ([0], [0])
    for index, digit in enumerate(digits):
        twice = digit * 2 - 9 if digit > 4 else digit * 2
        for parity, running in enumerate(sums):
            running.append(running[-1] + (twice if index % 2 == parity else digit))

    def valid(first: int, after: int) -> bool:
        running = sums[after % 2]
        fits = (running[after] - running[first]) % 10 == 0
        return fits and len(set(digits[first:after])) > 1

    return valid


_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO FK GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of a bank account's number by country (SWIFT, "IBAN Registry")."""

_IBAN = r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ \u00a0]?[A-Za-z0-9])"


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for begin in re.finditer(_IBAN, text):
        length = _LENGTHS.get(begin[0][:2].upper())
        if length is None:
            continue
        start, at, number = begin.start(), begin.start(), ""
        while at < len(text) and len(number) < length:
            if text[at].isascii() and text[at].isalnum():
                number += text[at].upper()
            elif text[at] not in " \u00a0" or text[at - 1] in " \u00a0":
                break
            at += 1
        after = text[at : at + 1]
        if len(number) == length and not (after.isascii() and after.isalnum()) and _mod97(number):
            yield start, at


def _mod97(number: str) -> bool:
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1


_SSN = r"(?<![0-9])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9])"  # SSA's rules for numbers


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    for found in re.finditer(_SSN, text):
        yield found.span()


_DOMAIN = r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}"
_LOCAL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"


def _emails(text: str) -> Iterator[tuple[int, int]]:
    # From the @ backwards: a search for the part before it would start again at every letter of a long word.
    for domain in re.finditer(_DOMAIN, text):
        before = text[max(0, domain.start() - 64) : domain.start()]
        local = len(before) - len(before.rstrip(_LOCAL))
        if local:
            yield domain.start() - local, domain.end()
