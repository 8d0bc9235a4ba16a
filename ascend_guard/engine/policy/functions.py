"""Functions for conditions besides CEL's own, for checks that are easy to get wrong.

Rules, each for the promise "no decision, no execution":

1. A function is true only for values that it understands completely. Text that a mail server or a parser might read
   differently gives false.
2. A value of another type (a number, null, a map) has no overload, so the condition is an error: a match for deny and
   approval rules, no match for allow rules.
3. A mistake of the policy's author (a domain that is invalid) is an error too, with a message.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from cel_expr_python import cel

__all__ = ["functions"]

_LOCAL = r"[A-Za-z0-9_](?:[A-Za-z0-9_+-]|\.(?!\.)){0,63}(?<!\.)"
"""No quotes, blanks or comments; no %, !, = or :, which relays and forwarders use to name another host."""
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])"
_ADDRESS = re.compile(rf"{_LOCAL}@({_DOMAIN})")
_WHOLE_DOMAIN = re.compile(_DOMAIN)
_LONGEST_ADDRESS = 254
_BREAKS = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Unicode categories that end a line, hide text or change its direction; readers interpret some differently."""


def functions() -> list[cel.FunctionDecl]:
    """Return their declarations, for the environment in which conditions are compiled."""
    text, texts = cel.Type.STRING, cel.Type.List(cel.Type.STRING)
    anything = cel.Type.List(cel.Type.DYN)
    return [
        cel.FunctionDecl(
            "mail_within",
            [
                _overload("mail_within_text", [text, texts], _one_within),
                _overload("mail_within_list", [anything, texts], _all_within),
            ],
        ),
        cel.FunctionDecl("one_line", [_overload("one_line_text", [text], _one_line)]),
    ]


def _overload(name: str, parameters: list[cel.Type], run: Callable[..., bool]) -> cel.Overload:
    return cel.Overload(name, return_type=cel.Type.BOOL, parameters=parameters, is_member=False, impl=run)


def _one_within(address: str, domains: list[object]) -> bool:
    """Return whether this is one plain address at one of these domains. A subdomain is another domain."""
    known = _lowered(domains)
    found = _ADDRESS.fullmatch(address) if len(address) <= _LONGEST_ADDRESS else None
    return found is not None and found[1].lower() in known


def _all_within(addresses: list[object], domains: list[object]) -> bool:
    """The same for each entry of a list; False for an empty list."""
    _lowered(domains)
    return bool(addresses) and all(
        isinstance(address, str) and _one_within(address, domains) for address in addresses
    )


def _lowered(domains: list[object]) -> set[str]:
    for domain in domains:
        if not (isinstance(domain, str) and _WHOLE_DOMAIN.fullmatch(domain)):
            raise ValueError(f'mail_within needs domains such as "example.com"; {domain!r} is not a domain')
    return {str(domain).lower() for domain in domains}


def _one_line(text: str) -> bool:
    """Return whether it has no line break, no control character and no invisible character."""
    return (text.isascii() and text.isprintable()) or not any(
        unicodedata.category(c) in _BREAKS for c in text
    )
