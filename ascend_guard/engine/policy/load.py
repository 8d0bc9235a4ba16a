"""Load policy files: text to rules, with the line and the remedy of every mistake."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.resources import files
from typing import NoReturn

from ascend_guard.errors import PolicyError

from .check import Mistake, find_mistakes
from .conditions import Condition, ConditionError, compile_condition
from .evaluate import DEFAULT_TIMEOUT, DENIALS_LAST, Policy, Rule, RuleEffect
from .yaml_tree import KINDS, List, Map, Node, Scalar, Unreadable, described, read_tree, shown

__all__ = ["load_policy", "parse_policy", "starter_policy"]

_LARGEST = 4 * 1024 * 1024
_SHOWN = 10
_LONGEST_NAME = 200
_LONGEST_PATTERN = 1000
_MOST_APPROVALS = 1000
_LONGEST_TIMEOUT = 365 * 86_400

_FILE_FIELDS = ("version", "default", "denials_last", "rules")
_SCOPE_FIELDS = ("actions", "tools", "agents", "resources")
_APPROVAL_FIELDS = ("approvers", "quorum", "timeout")
_RULE_FIELDS = ("name", *_SCOPE_FIELDS, "when", "effect", "reason", *_APPROVAL_FIELDS)
_EFFECTS = tuple(effect.value for effect in RuleEffect)
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy file.

    Args:
        path: UTF-8 text of at most 4 MiB.

    Raises:
        PolicyError: it cannot be read or is not a policy. The message begins with ``path:line:`` (with ``path:`` when the
            file itself cannot be read) and ends with the remedy; one line for each of the first ten mistakes.
    """
    source = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        with suppress(OSError):  # the current folder may have been deleted
            source = os.path.abspath(source)
        remedy = "check the path, best an absolute one, or write a starter policy with `ascend-guard init`"
        _refuse(source, "the policy file does not exist", remedy)
    except IsADirectoryError:
        _refuse(source, "it is a directory", "name the policy file inside it")
    except PermissionError:
        _refuse(source, "it cannot be read without permission", "give this user the right to read it")
    except (OSError, ValueError) as error:
        _refuse(source, f"it cannot be read ({error})", "name a policy file")
    _refuse_if_large(len(data), source)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(f"{source}:{line}", "it is not UTF-8 text", "save it as UTF-8")
    return parse_policy(text, source)


def parse_policy(text: str, source: str = "<policy>") -> Policy:
    """Read a policy from text.

    Args:
        text: YAML, at most 4 MiB.
        source: its name in messages.

    Raises:
        PolicyError: it is not a policy; one line for each of the first ten mistakes, ``source:line: what;
            remedy``.
    """
    _refuse_if_large(len(text), source)
    reading = _Reading()
    try:
        default, denials_last, rules = reading.file(read_tree(text.removeprefix("\ufeff")))
    except Unreadable as wrong:
        reading.wrong(wrong.line, wrong.what, wrong.remedy)
        default, denials_last, rules = RuleEffect.DENY, DENIALS_LAST, []
    mistakes = sorted([*reading.mistakes, *find_mistakes(rules, reading.conditions)])
    if mistakes:
        lines = [f"{source}:{line}: {what}; {remedy}" for line, what, remedy in mistakes[:_SHOWN]]
        if len(mistakes) > _SHOWN:
            lines.append(f"... and {len(mistakes) - _SHOWN} more")
        raise PolicyError("\n".join(lines))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Policy(
        rules,
        default,
        source=source,
        digest=digest,
        conditions=reading.conditions,
        denials_last=denials_last,
    )


def starter_policy() -> str:
    """Return the commented policy that ``ascend-guard init`` writes."""
    return files("ascend_guard.engine").joinpath("starter_policy.yaml").read_text("utf-8")


def _refuse(where: str, what: str, remedy: str) -> NoReturn:
    raise PolicyError(f"{where}: {what}; {remedy}") from None


def _refuse_if_large(size: int, source: str) -> None:
    if size > _LARGEST:
        _refuse(source, "it is larger than 4 MiB", "split it, or write fewer and wider rules")


class _Reading:
    """Collects rules, compiled conditions and mistakes while a tree is read."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.conditions: dict[str, Condition] = {}

    def wrong(self, line: int, what: str, remedy: str) -> None:
        self.mistakes.append((line, what, remedy))

    def file(self, tree: Node) -> tuple[RuleEffect, float, list[Rule]]:
        fields = self.fields(tree, _FILE_FIELDS, "a policy")
        if fields is None:
            return RuleEffect.DENY, DENIALS_LAST, []
        version = fields.get("version")
        if version is None:
            self.wrong(1, "`version` is missing", "begin with `version: 1`")
        elif not (isinstance(version, Scalar) and version.kind == "int" and version.text == "1"):
            self.wrong(version.line, f"`version` is {described(version)}", "write `version: 1`")
        default = self.effect(fields["default"], "default") if "default" in fields else RuleEffect.DENY
        denials_last = self.denials_last(fields.get("denials_last"))
        listed = fields.get("rules")
        rules: list[Rule] = []
        if isinstance(listed, List):
            rules = [rule for node in listed.items if (rule := self.rule(node)) is not None]
        elif listed is not None and described(listed) != "empty":
            self.wrong(listed.line, f"`rules` is {described(listed)}", "begin each rule with `- name:`")
        return default or RuleEffect.DENY, denials_last, rules

    def denials_last(self, node: Node | None) -> float:
        if node is None:
            return DENIALS_LAST
        if isinstance(node, Scalar) and node.kind == "int" and node.text == "0":
            return 0.0
        seconds = _duration(node.text) if isinstance(node, Scalar) else None
        if seconds is None:
            remedy = (
                "write a number and a unit, at most a year: 30m, 24h or 7d; or 0 for denials that do not last"
            )
            self.wrong(node.line, f"`denials_last` is {described(node)}", remedy)
        return seconds or DENIALS_LAST

    def rule(self, node: Node) -> Rule | None:
        before = len(self.mistakes)
        fields = self.fields(node, _RULE_FIELDS, "a rule")
        if fields is None:
            return None
        if "name" not in fields:
            self.wrong(
                node.line, "this rule has no `name`", "add a name, so that people know which rule decided"
            )
        if "effect" not in fields:
            self.wrong(node.line, "this rule has no `effect`", f"add one of {', '.join(_EFFECTS)}")
        effect = self.effect(fields["effect"], "effect") if "effect" in fields else None
        if effect in (RuleEffect.DENY, RuleEffect.ALLOW):
            for field in _APPROVAL_FIELDS:
                if field in fields:
                    what = f"`{field}` has no meaning in a rule whose effect is {effect}"
                    self.wrong(fields[field].line, what, "remove it, or write `effect: require_approval`")
        rule = Rule(
            name=self.name(fields.get("name")),
            effect=effect or RuleEffect.DENY,
            actions=self.texts(fields, "actions"),
            tools=self.texts(fields, "tools"),
            agents=self.texts(fields, "agents"),
            resources=self.texts(fields, "resources"),
            when=self.when(fields.get("when")),
            reason=self.reason(fields.get("reason")),
            approvers=self.texts(fields, "approvers"),
            quorum=self.quorum(fields.get("quorum")),
            timeout=self.timeout(fields.get("timeout")) if effect is RuleEffect.REQUIRE_APPROVAL else None,
            line=node.line,
        )
        return rule if len(self.mistakes) == before else None

    def fields(self, node: Node, known: Sequence[str], what: str) -> dict[str, Node] | None:
        if not isinstance(node, Map):
            remedy = (
                "begin with `version: 1`"
                if what == "a policy"
                else "write it as `- name: ...` and its fields below"
            )
            self.wrong(node.line, f"{what} must have fields, but this is {described(node)}", remedy)
            return None
        fields: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in node.pairs:
            if not isinstance(key, Scalar):
                self.wrong(
                    key.line, f"a field's name is {described(key)}", f"the fields are {', '.join(known)}"
                )
                continue
            if key.text in fields:
                what_twice = f"`{key.text}` occurs twice (first on line {lines[key.text]})"
                self.wrong(key.line, what_twice, "keep one of them")
            elif key.text in known:
                fields[key.text], lines[key.text] = value, key.line
            else:
                close = get_close_matches(key.text[:40], known, n=1)
                remedy = f"did you mean `{close[0]}`?" if close else f"the fields are {', '.join(known)}"
                self.wrong(key.line, f"{what} has no field {shown(key.text)!r}", remedy)
        return fields

    def text(self, node: Node, what: str) -> str | None:
        """Return its text, or None after reporting why it is not text."""
        if isinstance(node, Scalar) and node.kind == "str" and node.text.strip():
            return node.text
        remedy = f"write {what} as text"
        if isinstance(node, Scalar) and node.kind in KINDS:
            remedy = f'put it in quotes ("{shown(node.text)}") if it is meant as text'
        self.wrong(node.line, f"{what} is {described(node)}, not text", remedy)
        return None

    def name(self, node: Node | None) -> str:
        text = None if node is None else self.text(node, "`name`")
        if node is None or text is None:
            return ""
        if len(text) > _LONGEST_NAME or not text.isprintable():
            self.wrong(
                node.line,
                f"`name` is not one line of at most {_LONGEST_NAME} characters",
                "choose a short name",
            )
        return text

    def effect(self, node: Node, field: str) -> RuleEffect | None:
        if isinstance(node, Scalar) and node.text in _EFFECTS:
            return RuleEffect(node.text)
        close = get_close_matches(node.text[:40].lower(), _EFFECTS, n=1) if isinstance(node, Scalar) else []
        remedy = f"did you mean {close[0]}?" if close else f"write one of {', '.join(_EFFECTS)}"
        self.wrong(node.line, f"`{field}` is {described(node)}", remedy)
        return None

    def texts(self, fields: dict[str, Node], field: str) -> tuple[str, ...]:
        """Return a list of texts, or a single text as a list."""
        node = fields.get(field)
        if node is None:
            return ()
        if isinstance(node, List) and not node.items:
            self.wrong(node.line, f"`{field}` is an empty list", "leave it out to mean any")
            return ()
        what = f"an entry of `{field}`" if isinstance(node, List) else f"`{field}`"
        texts: dict[str, None] = {}
        for item in node.items if isinstance(node, List) else [node]:
            text = self.text(item, what)
            if text is not None and len(text) > _LONGEST_PATTERN:
                self.wrong(
                    item.line, f"{what} is longer than {_LONGEST_PATTERN} characters", "shorten it with *"
                )
            texts[text or ""] = None
        return tuple(texts)

    def when(self, node: Node | None) -> str | None:
        if node is None:
            return None
        if isinstance(node, Scalar) and node.kind == "bool":
            remedy = "leave `when` out for a rule that always applies"
            self.wrong(node.line, f"`when` is {described(node)}, not a condition", remedy)
            return None
        text = self.text(node, "`when`")
        if text is None or text in self.conditions:
            return text
        try:
            self.conditions[text] = compile_condition(text)
        except ConditionError as error:
            inside = error.line if isinstance(node, Scalar) and node.literal else 0
            self.wrong(node.line + inside, error.what, error.remedy)
        return text

    def reason(self, node: Node | None) -> str | None:
        text = None if node is None else self.text(node, "`reason`")
        return text and "".join(c if c.isprintable() else " " for c in " ".join(text.split()))

    def quorum(self, node: Node | None) -> int:
        if node is None:
            return 1
        if isinstance(node, Scalar) and node.kind == "int" and re.fullmatch(r"[1-9][0-9]{0,3}", node.text):
            number = int(node.text)
            if number <= _MOST_APPROVALS:
                return number
        remedy = f"write how many people must approve, from 1 to {_MOST_APPROVALS}"
        self.wrong(node.line, f"`quorum` is {described(node)}", remedy)
        return 1

    def timeout(self, node: Node | None) -> float:
        if node is None:
            return DEFAULT_TIMEOUT
        seconds = _duration(node.text) if isinstance(node, Scalar) else None
        if seconds is None:
            remedy = "write a number and a unit, at most a year: 90s, 30m, 2h or 7d"
            self.wrong(node.line, f"`timeout` is {described(node)}", remedy)
        return seconds or DEFAULT_TIMEOUT


def _duration(text: str) -> float | None:
    """Seconds, from ``90s``, ``30m``, ``2h`` or ``7d``; None for anything else, zero, and over a year."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    seconds = int(found[1]) * _SECONDS[found[2]]
    return float(seconds) if 0 < seconds <= _LONGEST_TIMEOUT else None
