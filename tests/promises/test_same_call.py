"""Promise 2: an approval and a denial are used again for the same call and for no other, as decision record 28 says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard import ActionPendingError, AgentAction, AuthorizationDeniedError, governed, scope
from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import Requirement, RuleEffect, Verdict, parse_policy
from ascend_guard.engine.same_call import ACTION, SUBMIT, VOLATILE, approval_key, call_key
from ascend_guard.flow import Submit
from ascend_guard.store.sqlite.store import SQLiteStore

RECORD = Path(__file__).parents[2] / "docs/adr/0028-the-same-call.md"
ROW = re.compile(r"^\| `(AgentAction|Submit)\.(\w+)` \| (in|out|approval) \| (.+) \|$", re.MULTILINE)

BASE = AgentAction(
    "agent",
    "Agent",
    "deploy",
    "clusters/web",
    "k8s",
    "web",
    {"what": "web"},
    {"environment": "staging"},
    {"data_classification": "internal"},
    "model-1",
    "server-1",
    "session-1",
    "orchestration-1",
    1,
    1,
)
VERDICT = Verdict(
    RuleEffect.REQUIRE_APPROVAL, "ask", ("ask",), "Ask.", requirements=(Requirement("ask", ("ops",), 1),)
)
words = st.text("abcdefgh-_é0", min_size=1, max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)
OTHER: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("agent_id", "agent_name", "action_type", "resource", "tool_name"), words),
    **dict.fromkeys(("resource_id", "model_id", "mcp_server_name", "session_id"), st.none() | words),
    **dict.fromkeys(
        ("action_details", "context", "risk_indicators"), st.dictionaries(words, plain, max_size=3)
    ),
    "orchestration_session_id": words,
    "parent_action_id": st.integers(2, 9),
    "orchestration_depth": st.integers(2, 5),
    **dict.fromkeys(("excluded", "vouched_decorators"), st.tuples(words)),
}
DIGESTS = st.integers(1, 2**64).map(lambda number: f"{number:064x}")


def submitted(action: AgentAction = BASE, digest: str = "a" * 64, **more: Any) -> Submit:
    return Submit(
        action, digest, detached=more.pop("detached", True), repeatable=more.pop("repeatable", True), **more
    )


def test_the_record_places_every_field() -> None:
    """The table of the record is the code's, and both have every field there is, with a reason."""
    rows = ROW.findall(RECORD.read_text("utf-8"))
    stated = {
        kind: {name: place for owner, name, place, _ in rows if owner == kind}
        for kind in ("AgentAction", "Submit")
    }
    assert stated == {"AgentAction": ACTION, "Submit": SUBMIT}
    assert set(ACTION) == set(AgentAction.__struct_fields__)
    assert set(SUBMIT) == {slot.removeprefix("_") for slot in Submit.__slots__}
    assert all(len(reason) > 10 for *_, reason in rows)


def test_the_record_names_every_key_that_is_left_out() -> None:
    """The list of the record is the code's."""
    text = RECORD.read_text("utf-8").partition("are left out:")[2].partition(".\n")[0]
    assert set(re.findall(r"`(\w+)`", text)) == VOLATILE


def test_each_field_counts_as_the_table_says() -> None:
    """Of two calls that differ in exactly one field, the keys are equal exactly where the field is out."""
    seen: Counter[tuple[str, bool]] = Counter()

    @given(values=st.fixed_dictionaries(OTHER))
    def differ(values: dict[str, Any]) -> None:
        for name, value in values.items():
            if value == getattr(BASE, name) or (name == "context" and _lasting(value) == BASE.context):
                continue
            other = msgspec.structs.replace(BASE, **{name: value})
            same = call_key(submitted(other)) == call_key(submitted())
            assert same is (ACTION[name] == "out"), (name, value)
            assert (approval_key(submitted(other), VERDICT) == approval_key(submitted(), VERDICT)) is same
            seen[name, same] += 1

    differ()
    assert set(seen) == {(name, place == "out") for name, place in ACTION.items()}
    assert min(seen.values()) > 10


def _lasting(context: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in context.items() if re.sub("[-_.]", "", name).lower() not in VOLATILE}


@given(
    change=st.sampled_from(
        ["digest", "call_id", "rules", "requirements", "quorum", "detached", "repeatable"]
    ),
    digest=DIGESTS,
)
def test_what_an_approval_is_bound_to_besides(change: str, digest: str) -> None:
    """Another order of keys has another digest, another requirement other rules: the approval is not used for them."""
    effect, verdict = submitted(), VERDICT
    other, asks = effect, verdict
    if change == "digest":
        other = submitted(digest=digest)
    elif change == "call_id":
        other = submitted(call_id=digest)
    elif change in ("detached", "repeatable"):
        other = submitted(**{change: False})
    else:
        new = {"rules": ("ask", "two"), "requirements": (Requirement("ask", ("sec",), 1),), "quorum": 2}
        asks = msgspec.structs.replace(verdict, **{change: new[change]})
    assert (approval_key(other, asks) == approval_key(effect, verdict)) is (
        change in ("detached", "repeatable")
    )
    assert (call_key(other) == call_key(effect)) is (change != "digest")


@given(
    key=st.sampled_from(sorted(VOLATILE)),
    spelt=st.sampled_from([str, str.upper, str.title, "-".join, "_".join]),
    values=st.tuples(plain, plain),
    nested=st.booleans(),
)
def test_values_that_change_by_themselves_break_nothing(
    key: str, spelt: Any, values: tuple[Any, Any], nested: bool
) -> None:
    """However such a key is spelt and wherever it lies; beside a key that counts, that one still does."""

    def with_it(value: Any, environment: str = "staging") -> Submit:
        inner = {spelt(key): value}
        more = {"trace": inner} if nested else inner
        return submitted(msgspec.structs.replace(BASE, context={"environment": environment, **more}))

    assert call_key(with_it(values[0])) == call_key(with_it(values[1]))
    assert call_key(with_it(values[0])) != call_key(with_it(values[0], "production"))


@pytest.mark.parametrize("ended", ["approved", "denied"])
def test_another_context_asks_for_itself(tmp_path: Path, ended: str) -> None:
    """Approved or denied under staging, production is asked about; staging again is not, whatever its trace id is."""
    policy = parse_policy("version: 1\ndefault: require_approval\n")
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db"), policy)
    ran: list[str] = []

    @governed("deploy", "k8s", on_pending="raise", control_plane=plane)
    def deploy(what: str) -> None:
        ran.append(what)

    def call(environment: str, trace: str) -> str | None:
        with scope(context={"environment": environment, "trace_id": trace}):
            try:
                deploy("web")
            except (ActionPendingError, AuthorizationDeniedError) as error:
                return error.action_id
        return None

    assert call("staging", "1") == "1"
    plane.approve("1", approver="ann") if ended == "approved" else plane.deny("1", approver="ann")
    assert call("production", "2") == "2"
    assert ran == []
    assert call("staging", "3") == (None if ended == "approved" else "1")
    assert ran == (["web"] if ended == "approved" else [])
    plane.close()


@pytest.mark.parametrize("reordered", [False, True])
def test_keys_in_another_order_are_not_what_was_approved(tmp_path: Path, reordered: bool) -> None:
    """An approval is for the order it was given for; the other order asks anew."""
    policy = parse_policy("version: 1\ndefault: require_approval\n")
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db"), policy)
    first, second = "1" * 64, "2" * 64
    plane.perform(submitted(BASE_ROOT, first))
    plane.approve("1", approver="ann")
    again = plane.perform(submitted(BASE_ROOT, second if reordered else first))
    assert (again.action_id, again.claimed) == (("2", False) if reordered else ("1", True))
    plane.close()


BASE_ROOT = msgspec.structs.replace(BASE, parent_action_id=None, orchestration_depth=0)
