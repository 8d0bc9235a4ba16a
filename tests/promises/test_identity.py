"""Promise 6: a quorum is met by different people, however a name is written and whatever somebody is called by now."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_server import shared_server
from recorded import trail_of
from support import POLICY, SCHEDULES

from ascend_guard import ActionPendingError, EmbeddedControlPlane, ValidationError, governed
from ascend_guard.engine.approvers import Approver, among, normal, people, satisfied
from ascend_guard.engine.policy import Requirement, parse_policy
from ascend_guard.store.port import Approval, Store
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.sqlite.store import SQLiteStore

TWO = POLICY.replace("approvers: [finance]", "approvers: [finance]\n    quorum: 2")

NAMES = st.text("anbBéßöΣжЯ日0@.-'", min_size=1, max_size=12)
UNSEEN = "\u200b\u200d\u00ad\u2060\ufeff\u034f\u3164\u115f\ufe0f\u180e\u061c\u202e\U000e0041\x00\x1b"
BLANKS = " \t\n\u00a0\u2003\u2009\u202f\u205f\u3000\u1680\u2028\u2800\x85"


def wide(name: str) -> str:
    """In full-width letters, where there are such."""
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in name)


RESPELT = {
    "upper case": str.upper,
    "lower case": str.lower,
    "swapped case": str.swapcase,
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "composed": lambda name: unicodedata.normalize("NFKC", name),
    "full width": wide,
    "unseen": lambda name: UNSEEN[len(name) % len(UNSEEN)].join(name),
    "unseen behind": lambda name: name + UNSEEN[len(name) % len(UNSEEN)],
    "blank behind": lambda name: name + BLANKS[len(name) % len(BLANKS)],
    "blank before": lambda name: BLANKS[-len(name) % len(BLANKS)] + name,
    "blank inside": lambda name: BLANKS[len(name) % len(BLANKS)].join(name),
}


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A name, the same name as somebody else may write it, and how that was made."""
    name = draw(NAMES)
    ways = draw(st.lists(st.sampled_from(sorted(RESPELT)), min_size=1, max_size=4))
    other = name
    for way in ways:
        other = RESPELT[way](other)
    return name, other, ways


def test_a_name_has_one_normal_form() -> None:
    """Case, width, composition, and what cannot be seen or looks like a space change nothing, in any combination."""
    seen: Counter[str] = Counter()

    @settings(max_examples=3 * SCHEDULES)  # so that every way is taken
    @given(spelling=spellings())
    def check(spelling: tuple[str, str, list[str]]) -> None:
        name, other, ways = spelling
        assert normal(other) == normal(name) == normal(normal(name))
        seen.update(ways if other != name else [])

    check()
    assert set(seen) == set(RESPELT)


@given(name=st.text(max_size=30))
def test_any_text_has_a_normal_form(name: str) -> None:
    """It is the same when taken twice, and nothing in it is unseen or a space."""
    form = normal(name)
    assert normal(form) == form
    assert not set(form) & set(UNSEEN + BLANKS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", "ann@example.org"),
        ("ann", "anne"),
        ("ann", "bob"),
        ("jörg", "jorg"),
        ("ann-2", "ann2"),
        ("ann", "\N{CYRILLIC SMALL LETTER A}nn"),
    ],
)
def test_different_names_stay_different(one: str, other: str) -> None:
    """The normal form takes away how a name is written, not which one it is."""
    assert normal(one) != normal(other)


APPROVALS = st.lists(
    st.builds(
        Approval,
        st.sampled_from(["ann", "Ann", "bob", "ＢＯＢ", "eve"]),
        st.none(),
        st.just(0.0),
        st.none(),
        st.sampled_from([None, '["i","1"]', '["i","2"]', '["j","1"]']),
    ),
    max_size=7,
)


def test_people_are_what_any_chain_of_equal_names_or_identities_connects() -> None:
    """Two approvals are one person's exactly when a path of equal names or identities leads from one to the other."""
    seen: Counter[int] = Counter()

    @given(given=APPROVALS)
    def check(given: list[Approval]) -> None:
        def same(one: Approval, other: Approval) -> bool:
            by_identity = one.identity is not None and one.identity == other.identity
            return by_identity or normal(one.approver) == normal(other.approver)

        reach = [
            {other for other in range(len(given)) if same(given[one], given[other])}
            for one in range(len(given))
        ]
        for _ in given:
            reach = [set().union(*(reach[other] for other in one)) for one in reach]
        expected = {frozenset(one) for one in reach}
        found = people(given)
        assert len(found) == len(expected)
        assert sorted(map(id, itertools.chain(*found))) == sorted(map(id, given))
        seen[len(found) - len({normal(one.approver) for one in given})] += 1

    check()
    assert min(seen) < 0  # identities connected names


def test_each_rule_counts_people_too() -> None:
    """Two spellings, of which one is in the group, are one person of the group; two rules may be met by one person."""
    finance, legal = Requirement("a", ("finance",), 1), Requirement("b", ("legal",), 1)
    given = [
        Approval("Ann", None, 0.0, '["finance"]', '["i","1"]'),
        Approval("ann", None, 1.0, '["legal"]', '["j","7"]'),
    ]
    assert satisfied([finance, legal], given)
    assert not satisfied([Requirement("a", ("finance", "legal"), 2)], given)
    assert among("ANN@example.com", frozenset(), Requirement("c", ("ann@Example.com",), 1))
    assert not among("FINANCE-2", frozenset({"Finance"}), finance)


@pytest.fixture(params=["sqlite", "postgres"])
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    """An embedded control plane on each database, whose refunds want two people."""
    if request.param == "sqlite":
        made = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db", durability="process"), parse_policy(TWO))
        yield made
        made.close()
        return
    with shared_server().database() as url:
        store: Store = PostgresStore(url, secret=b"s" * 32)
        made = EmbeddedControlPlane(store, parse_policy(TWO))
        yield made
        made.close()


def asked(plane: EmbeddedControlPlane, amount: int) -> str:
    """A call that waits; its action."""

    @governed("refund", on_pending="raise", control_plane=plane)
    def refund(amount: float) -> None: ...

    with pytest.raises(ActionPendingError) as pending:
        refund(900 + amount)
    assert pending.value.action_id is not None
    return pending.value.action_id


def test_no_two_spellings_are_a_quorum_of_two(plane: EmbeddedControlPlane) -> None:
    """However often and however written, one name leaves the action waiting; another one ends it, each named once."""
    numbers, seen = itertools.count(), Counter[str]()

    @given(spelling=spellings())
    def check(spelling: tuple[str, str, list[str]]) -> None:
        name, other, _ = spelling
        if "\x00" in other:  # PostgreSQL keeps no such text
            other = other.replace("\x00", "\u200b")
        action = asked(plane, next(numbers))
        assert plane.approve(action, approver=name).is_pending()
        assert plane.approve(action, approver=other).is_pending()
        assert plane.approve(action, approver=name).is_pending()
        done = plane.approve(action, approver="someone else")
        assert done.is_approved()
        assert done.decided_by in [", ".join(sorted([one, "someone else"])) for one in (name, other)]
        bodies = plane.read(lambda reader: [json.loads(row.body) for row in trail_of(reader, action)])
        assert [body.get("approvals") for body in bodies] == [None, 1, 1, 1, 2]
        seen["another spelling"] += name != other

    check()
    assert seen["another spelling"] > 20


def test_one_name_does_not_look_like_two(plane: EmbeddedControlPlane) -> None:
    """Who decided is a list with commas; a name that has one is quoted in it."""
    action = asked(plane, 0)
    plane.approve(action, approver="ann, bob")
    done = plane.approve(action, approver="eve")
    assert done.decided_by == '"ann, bob", eve'


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u3164\ufe0f", "\u2800"])
def test_nobody_cannot_decide(plane: EmbeddedControlPlane, name: str) -> None:
    """A name in which nothing can be seen is refused, and the action still waits."""
    action = asked(plane, 0)
    for decide in (plane.approve, plane.deny):
        with pytest.raises(ValidationError, match="Name the person"):
            decide(action, approver=name)
    assert [str(row.id) for row in plane.pending()] == [action]


def test_the_command_line_is_one_person(tmp_path: Path) -> None:
    """Whatever the environment says, two approvals by one operating-system user count once; another spelling of it too."""
    (tmp_path / "policy.yaml").write_text(TWO)
    database = tmp_path / "a.db"
    plane = EmbeddedControlPlane(SQLiteStore(database), parse_policy(TWO))
    action = asked(plane, 0)
    me = pwd.getpwuid(os.getuid()).pw_name
    command = str(Path(sys.executable).with_name("ascend-guard"))
    for user in ("ann", "bob"):
        done = subprocess.run(
            [command, "approvals", "approve", action, "--yes", "--json"],
            env={**os.environ, "LOGNAME": user, "USER": user, "ASCEND_POLICY": str(tmp_path / "policy.yaml")}
            | {"ASCEND_DATABASE_URL": f"sqlite:///{database}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert plane.approve(action, approver=me.upper()).is_pending()
    assert plane.approve(action, approver="somebody else").is_approved()
    plane.close()


def test_an_approver_shows_who_vouches_for_them() -> None:
    """An identity is the issuer and the subject, told apart from any other pair."""
    assert Approver("ann").identity is None
    assert Approver("ann", None, "i").identity is None
    pairs = [("i", "1"), ("i1", ""), ("i", '1","2'), ("", "i1")]
    assert len({Approver("ann", None, *pair).identity for pair in pairs}) == len(pairs)
