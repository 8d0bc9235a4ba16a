"""Globs: what they mean, that one includes another, and that hostile text costs nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_reference import glob, globs, names

from ascend_guard.engine.policy.patterns import RuleIndex, compile_glob, covers

letters = st.text("ab*?\n", max_size=12)


@given(letters, st.text("ab*?\n", max_size=16))
def test_a_glob_means_what_the_naive_reference_says(pattern: str, text: str) -> None:
    """The compiled matcher and the reference never differ, whatever newlines and stars the text holds."""
    assert compile_glob(pattern)(text) is glob(pattern, text)


@given(st.text(), st.text())
def test_any_text_can_be_a_pattern(pattern: str, text: str) -> None:
    """No character but the two wildcards is special, whatever regular expressions think of it."""
    assert compile_glob(pattern)(text) is glob(pattern, text)


@given(letters, letters, letters)
def test_covering_is_sound(wide: str, narrow: str, text: str) -> None:
    """When one glob is said to cover another, whatever the narrow one matches the wide one matches too."""
    if covers(wide, narrow) and glob(narrow, text):
        assert glob(wide, text)


@given(st.lists(globs, min_size=1, max_size=40), names)
def test_the_index_never_forgets_a_rule(patterns: list[str], text: str) -> None:
    """Every rule whose glob matches is found, whichever scope it is filed under."""
    for scope in range(3):
        empty: tuple[tuple[str, ...], ...] = ((), (), (), ())
        scopes = [(*empty[:scope], (pattern,), *empty[scope + 1 :]) for pattern in patterns]
        asked = [text if number == scope else "elsewhere" for number in range(3)]
        found = RuleIndex(scopes).find(*asked)
        assert found >= {number for number, pattern in enumerate(patterns) if glob(pattern, text)}


@given(st.lists(globs, min_size=9, max_size=60), names, st.none() | names)
def test_a_crowd_on_one_action_is_filed_by_resource(
    patterns: list[str], name: str, resource_id: str | None
) -> None:
    """Where many rules share an action, those whose resource matches are found, by it or by name."""
    index = RuleIndex([(("refund",), (), (), (pattern,)) for pattern in patterns])
    found = index.find("refund", "tool", "agent")
    if index.by_resource:
        found |= index.find_by_resource(name, resource_id)
    texts = [name] + ([] if resource_id is None else [resource_id])
    assert found >= {n for n, pattern in enumerate(patterns) if any(glob(pattern, text) for text in texts)}


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("database_*", "database_read", True),
        ("database_*", "Database_read", False),
        ("*", "", True),
        ("?", "", False),
        ("*.py", "src/a.b/c.py", True),
        ("/data/*/secret", "/data/x/y/secret", True),
        ("/data/*/secret", "/data/secret", False),
        ("a?c", "a/c", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("ab*ba", "aba", False),
    ],
)
def test_globs_by_example(pattern: str, text: str, matches: bool) -> None:
    """Case counts, a star crosses slashes and dots, and nothing but star and question mark is special."""
    assert compile_glob(pattern)(text) is matches


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*a*b", "*a?a*a?a*a?a*b*", "a*a*a*a*c", "*?a?a?a?b"])
def test_a_hostile_mebibyte_is_matched_at_once(pattern: str) -> None:
    """A mebibyte of near misses does not send any matcher back and forth."""
    assert compile_glob(pattern)("a" * (1 << 20)) is False


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("*", "a?b*", True),
        ("database_*", "database_read", True),
        ("database_*", "database_r*", True),
        ("database_r*", "database_*", False),
        ("*_read", "database_*_read", True),
        ("a?", "a*", False),
        ("a?", "ab", True),
        ("a??", "a??", True),
        ("a*", "a??", True),
        ("a", "b", False),
    ],
)
def test_covering_by_example(wide: str, narrow: str, covered: bool) -> None:
    """What the unreachable-rule check relies on."""
    assert covers(wide, narrow) is covered
