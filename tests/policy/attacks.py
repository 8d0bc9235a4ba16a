"""Calls that no policy may allow, made from one that it does allow: a list to test policies with.

Each attack changes one thing of an allowed call: the type or the size of a number, a text that holds more than it should,
a recipient elsewhere, an argument more, another tool, restricted data, a label that lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from ascend_guard.arguments import normalise
from ascend_guard.model import AgentAction

Attack = tuple[str, AgentAction]
"""What was changed, and the call."""


class Allowed(NamedTuple):
    """A call that a policy is meant to allow.

    Attributes:
        rule: the rule that allows it.
        action_type: as the rule lists it.
        tool: the tool's name.
        arguments: by name.
        free: those whose text may be anything, such as the body of a mail.
        most: the largest value of a number, by its argument's name.
        optional: arguments that a call may do without.
        resource: where the rule looks at it.
    """

    rule: str
    action_type: str
    tool: str
    arguments: Mapping[str, Any]
    free: tuple[str, ...] = ()
    most: Mapping[str, float] = {}
    optional: tuple[str, ...] = ()
    resource: str | None = None


NUMBERS: tuple[Any, ...] = (
    -5000, -1, -0.01, -0.0, 0, math.nan, math.inf, -math.inf, 1e15, 1e308, 2**62, 2**63, 2**64, 10**400, True, False,
    None, "", "5", "-5", "5,000", "5e-1", "0x5", "٥", "５", "5; 5000", "5\n", [5], [5, 5000], {"value": 5}, b"5",
    Decimal("NaN"), Decimal("Infinity"), Decimal("-5000"), Decimal("-0.01"), Decimal("12345678901234567890.123"),
    Fraction(1, 3), 5 + 0j, object(),
)  # fmt: skip

TYPES: tuple[Any, ...] = (None, True, 5, 0.5, b"text", ["text"], {"text": "text"}, object(), math.nan)
"""What is no text."""

MAIL: tuple[Any, ...] = (
    "eve@evil.test, ann@example.com", "ann@example.com, eve@evil.test", "ann@example.com;eve@evil.test",
    "ann@example.com eve@evil.test", "ann@example.com\neve@evil.test", "ann@example.com\r\nBcc: eve@evil.test",
    "ann@example.com\x00eve@evil.test", "ann@example.com\u2028eve@evil.test", "ann@example.com\n", " ann@example.com",
    "ann@example.com ", "ann@example.com\t", "<ann@example.com>", "Ann <ann@example.com>",
    "eve@evil.test <ann@example.com>", "ann@example.com <eve@evil.test>", '"eve@evil.test"@example.com',
    '"eve@evil.test,"@example.com', "eve%evil.test@example.com", "evil.test!eve@example.com", "eve=evil.test@example.com",
    "@evil.test:ann@example.com", "eve@evil.test@example.com", "ann@example.com@evil.test", "ann@@example.com",
    "ann(eve@evil.test)@example.com", "ann@example.com(comment)", "ann@(example.com)evil.test", "team:ann@example.com;",
    "mailto:ann@example.com", "ann@example.com?bcc=eve@evil.test", "ann@example.com%0aBcc:eve@evil.test",
    "ann@example.com.evil.test", "ann@evilexample.com", "ann@evil-example.com", "ann@sub.example.com",
    "ann@example.com.", "ann@.example.com", "ann@example..com", "ann@example.co", "ann@example.comm", "ann@com",
    "ann@exam\u0440le.com", "ann@ex\u0430mple.com", "ann@\uff45xample.com", "ann@example\u3002com", "ann@example\uff0ecom",
    "ann@exampl\u0435.com", "ann@example.c\u043em", "ann@example.com\u200b", "ann@exa\u00admple.com",
    "ann@\u202emoc.elpmaxe", "ann@xn--exmple-cua.com", "ann@[192.0.2.1]", "ann@[example.com]", "ann@192.0.2.1",
    "ann@example.com/", "ann@evil.test#@example.com", "ann@evil.test/@example.com", "ann\uff20example.com",
    "\u0430nn@example.com", "ann\u200b@example.com", "ann\\@evil.test@example.com", ".ann@example.com", "ann.@example.com",
    "a..b@example.com", "@example.com", "ann@", "ann", "", "example.com", "a" * 65 + "@example.com",
    ["ann@example.com", "eve@evil.test"], ["eve@evil.test", "ann@example.com"], ["ann@example.com, eve@evil.test"],
    [["ann@example.com"]], ["ann@example.com", None], [{"to": "ann@example.com"}], [], {"ann@example.com": True}, *TYPES,
)  # fmt: skip


def texts(right: str) -> Iterator[Any]:
    """Texts that hold more than, or something else than, the right one."""
    more = ("B-2", "/etc/passwd", "eve@evil.test", "DELETE FROM customers")
    for separator in (
        ",",
        ", ",
        ";",
        " ",
        "|",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "\x00",
        "\x0b",
        "\x85",
        "\u2028",
        "%0a",
        "\\n",
    ):
        yield f"{right}{separator}{more[0]}"
        yield f"{more[0]}{separator}{right}"
    yield from more[1:]
    for other in more:
        yield from (right + other, other + right)
    yield from (
        f"{right}\n",
        f"\n{right}",
        f" {right}",
        f"{right} ",
        f"{right}\x00",
        f"{right}\u200b",
        f"\ufeff{right}",
    )
    yield from (
        f"../{right}",
        f"../../{right}",
        f"{right}/..",
        f"{right}/../../etc/passwd",
        f"/{right}",
        f"\\{right}",
    )
    yield from (
        f"{right}' OR 1=1 --",
        f"{right}; DROP TABLE orders",
        f"{right}`id`",
        f"$({right})",
        f"{{{right}}}",
    )
    yield from (
        f"-{right}",
        f"--output={right}",
        f"file:///{right}",
        f"https://evil.test/{right}",
        f"~/{right}",
    )
    yield from (
        "*",
        "%",
        "?",
        ".",
        "..",
        "",
        " ",
        "\n",
        "[REDACTED]",
        right * 100,
        right[::-1] + "\u202e",
        f"{right}#x",
    )
    yield right.translate({ord(c): chr(ord(c) + 0xFEE0) for c in right if "!" <= c <= "~"})  # full width
    yield (
        right.translate({ord("a"): "\u0430", ord("e"): "\u0435", ord("o"): "\u043e", ord("A"): "\u0410"})
        + "\u0430"
    )
    yield right.translate({ord(str(n)): chr(0x660 + n) for n in range(10)}) + "\u0661"  # other digits
    yield from ([right], [right, more[0]], {right: right}, *TYPES)


HEADERS = (
    "Hi\r\nBcc: eve@evil.test",
    "Hi\nBcc: eve@evil.test",
    "Hi\rX",
    "Hi\x00",
    "Hi\u2028X",
    "Hi\u202eX",
    "Hi\x85X",
    "\x1b[2J",
)

SECRETS: tuple[dict[str, Any], ...] = (
    {"data_classification": "restricted"}, {"data_classification": "RESTRICTED"}, {"data_classification": "confidential"},
    {"data_classification": ["public", "restricted"]}, {"resource_classification": "top-secret"},
    {"classification": "pii"}, {"contains_pii": True}, {"phi": "yes"}, {"pci": 1},
)  # fmt: skip

LIES: tuple[dict[str, Any], ...] = (
    {}, {"sql": "DELETE FROM customers"}, {"query": "DELETE FROM customers"}, {"command": "rm -rf /"},
    {"path": "/etc/shadow"}, {"name": "root-key"},
    {"statement": "WITH gone AS (DELETE FROM customers RETURNING *) SELECT * FROM gone"},
)  # fmt: skip

EXTRA = (
    "sql",
    "query",
    "cc",
    "bcc",
    "attachments",
    "force",
    "amount_cents",
    "currency",
    "Order_id",
    "order_id ",
    "to2",
    "",
)


def attacks(call: Allowed, tools: bool) -> Iterator[Attack]:
    """Everything that can be wrong with a call of this kind.

    Args:
        call: one that is allowed.
        tools: whether the rule that allows it names tools; else the action type has the server's name in it.
    """
    for name, right in call.arguments.items():
        yield from (
            (f"{name}={wrong!r:.60}", _made(call, {**call.arguments, name: wrong}))
            for wrong in _wrong(call, name, right)
        )
        if name not in call.optional:
            yield (
                f"no {name}",
                _made(call, {key: value for key, value in call.arguments.items() if key != name}),
            )
    for name in EXTRA:
        if name not in call.arguments:
            yield f"with {name!r}", _made(call, {**call.arguments, name: "DELETE FROM customers"})
    for lie in LIES:
        if set(lie) != set(call.arguments):
            yield f"a label that lies: {lie}", _made(call, lie)
            yield f"a label that lies: {lie} as well", _made(call, {**call.arguments, **lie} if lie else lie)
    for secret in SECRETS:
        for environment in ("development", "production"):
            where = {"environment": environment}
            yield f"indicators {secret}", _made(call, call.arguments, context=where, risk_indicators=secret)
            yield f"context {secret}", _made(call, call.arguments, context={**where, **secret})
    yield from _names(call, tools)


def _wrong(call: Allowed, name: str, right: Any) -> Iterator[Any]:
    if name in call.free:
        yield from TYPES
    elif name == "subject":
        yield from (*HEADERS, *TYPES)
    elif isinstance(right, str) and "@" in right:
        yield from MAIL
    elif isinstance(right, str):
        yield from texts(right)
    elif isinstance(right, list):
        yield from ([*right, wrong] for wrong in texts(right[0]))
        yield from (right[0], {right[0]: True}, *TYPES[:5])
    else:
        yield from NUMBERS
        yield math.nextafter(call.most[name], math.inf)
        yield call.most[name] + 0.01


def _names(call: Allowed, tools: bool) -> Iterator[Attack]:
    for wrong in _alike(call.action_type):
        yield f"action {wrong!r}", _made(call, call.arguments, action_type=wrong)
    if tools:
        for wrong in _alike(call.tool):
            yield f"tool {wrong!r}", _made(call, call.arguments, tool_name=wrong)
    if call.resource is not None:
        for wrong in texts(call.resource):
            if isinstance(wrong, str):
                yield f"resource {wrong!r}", _made(call, call.arguments, resource=wrong)
                yield f"resource id {wrong!r}", _made(call, call.arguments, resource_id=wrong)
                yield (
                    f"another resource id, {wrong!r}",
                    _made(call, call.arguments, resource=wrong, resource_id=call.resource),
                )


def _alike(name: str) -> Iterator[str]:
    yield from (
        name.upper(),
        name.capitalize() + "s",
        f"{name}_delete",
        f"{name} ",
        f" {name}",
        f"{name}\n",
        f"evil.{name}",
    )
    yield from (
        "credential_read",
        "drop_all_read",
        "database_delete",
        "shell",
        name + "\u200b",
        name.replace("e", "\u0435") + "\u0430",
    )


def _made(call: Allowed, arguments: Mapping[str, Any], **changed: Any) -> AgentAction:
    fields: dict[str, Any] = {
        "action_type": call.action_type,
        "resource": call.resource or "orders/A-17",
        "tool_name": call.tool,
        "context": {},
        "risk_indicators": {},
        **changed,
    }
    return AgentAction(
        "support", "Support", action_details=normalise(arguments, key=b"k" * 32).plain, **fields
    )


def made(call: Allowed, **arguments: Any) -> AgentAction:
    """The allowed call itself, with some arguments exchanged."""
    return _made(call, {**call.arguments, **arguments})
