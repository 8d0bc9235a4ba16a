"""Risk: known signals only ever raise it, and nothing a client sends can break or lower it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.engine.risk import ACTION_TYPES, Risk, assess
from ascend_guard.model import ActionType, AgentAction, RiskLevel

CLASSES = ["public", "internal", "confidential", "pii", "restricted"]
STAGES = ["development", "staging", "production"]
FLAGS = ["untrusted_input", "prompt_injection", "external", "external_transfer", "privileged", "irreversible"]
FLAGS += ["destructive", "bulk", "anomalous", "pii", "contains_phi", "sensitive_data"]
SIGNALS = [
    "data_classification",
    "resource_classification",
    "classification",
    "environment",
    "risk_score",
    *FLAGS,
]

types = (
    st.sampled_from(sorted(ACTION_TYPES)) | st.sampled_from(["crm.delete_user", "tool_call", "x"]) | st.text()
)
flags = st.dictionaries(st.sampled_from(FLAGS), st.just(True))
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*CLASSES, *STAGES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def risk_of(
    action_type: str, indicators: dict[str, Any] | None = None, context: dict[str, Any] | None = None
) -> Risk:
    return assess(
        AgentAction("a", "A", action_type, "r", "t", risk_indicators=indicators or {}, context=context or {})
    )


@given(types, flags, st.sampled_from(STAGES))
def test_more_sensitive_data_never_lowers_the_score(
    action_type: str, other: dict[str, Any], stage: str
) -> None:
    """Public, internal, confidential, personal, restricted: each at least as risky as the one before."""
    for where in ("data_classification", "resource_classification"):
        scores = [
            risk_of(action_type, other | {where: word}, {"environment": stage}).score for word in CLASSES
        ]
        assert scores == sorted(scores)
        assert scores[0] >= risk_of(action_type, other, {"environment": stage}).score


@given(types, flags, st.sampled_from(CLASSES))
def test_production_never_lowers_the_score(action_type: str, other: dict[str, Any], data: str) -> None:
    """Unsaid, development, staging, production: each at least as risky as the one before."""
    other = other | {"data_classification": data}
    scores = [
        risk_of(action_type, other, context).score for context in ({}, *({"environment": s} for s in STAGES))
    ]
    assert scores == sorted(scores)


@given(types, flags, flags)
def test_more_signals_never_lower_the_score(
    action_type: str, some: dict[str, Any], more: dict[str, Any]
) -> None:
    """Any set of flags is at least as risky as any part of it."""
    assert risk_of(action_type, some | more).score >= risk_of(action_type, some).score


said = {
    "environment": st.sampled_from(STAGES),
    "data_classification": st.sampled_from(CLASSES),
    "pii": st.just(True),
    "sensitive_data": st.just(True),
}
known = st.fixed_dictionaries({}, optional=said)


@given(types, known, known)
def test_the_worst_of_what_is_said_in_several_places_counts(
    action_type: str, indicators: dict[str, Any], context: dict[str, Any]
) -> None:
    """Indicators and context together are at least as risky as either alone; neither takes back the other."""
    alone = max(risk_of(action_type, indicators).score, risk_of(action_type, {}, context).score)
    assert risk_of(action_type, indicators, context).score >= alone


@given(
    types,
    st.dictionaries(st.sampled_from(SIGNALS) | st.text(), json),
    st.dictionaries(st.sampled_from(SIGNALS), json),
)
def test_whatever_a_client_sends_never_breaks_or_lowers(
    action_type: str, indicators: dict[str, Any], context: dict[str, Any]
) -> None:
    """Any JSON as indicators, context and details: no exception, and no less than without them."""
    details = {"data_classification": indicators.get("data_classification")}
    action = AgentAction("a", "A", action_type, "r", "t", None, details, context, indicators)
    risk = assess(action)
    assert 0 <= risk_of(action_type).score <= risk.score <= 100


@given(types, flags, st.sampled_from(CLASSES), st.sampled_from(STAGES))
def test_the_parts_fit_together(action_type: str, other: dict[str, Any], data: str, stage: str) -> None:
    """Level and score agree, vector and identifiers are well formed, and there is always a factor."""
    risk = risk_of(action_type, other | {"data_classification": data}, {"environment": stage})
    bands = [(40, RiskLevel.LOW), (70, RiskLevel.MEDIUM), (90, RiskLevel.HIGH), (101, RiskLevel.CRITICAL)]
    assert risk.level is next(level for below, level in bands if risk.score < below)
    assert re.fullmatch(r"CVSS:3\.1/AV:N/AC:L/PR:[NL]/UI:N/S:[UC]/C:[NLH]/I:[NLH]/A:[NLH]", risk.cvss_vector)
    assert risk.score <= 10 * risk.cvss_score <= 100
    assert risk.nist_controls
    assert all(re.fullmatch(r"[A-Z]{2}-\d+", control) for control in risk.nist_controls)
    assert all(
        re.fullmatch(r"T\d{4}(\.\d{3})?|AML\.T\d{4}", technique) for technique in risk.mitre_techniques
    )
    assert risk.factors
    assert all(risk.factors)


def test_the_documented_example() -> None:
    """A plain database_read gives the vector, controls and level of the API document's own example."""
    risk = risk_of("database_read")
    assert risk.cvss_vector == "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"
    assert (risk.cvss_score, risk.level) == (4.3, RiskLevel.LOW)
    assert (risk.nist_controls, risk.mitre_techniques) == (("AC-3", "AU-12"), ())


def test_a_clients_own_score_is_ignored() -> None:
    """Neither indicators nor context can set the score."""
    for sent in ({"risk_score": 0}, {"risk_score": 100}, {"risk_level": "low"}):
        assert risk_of("database_delete", sent, sent) == risk_of("database_delete")


@pytest.mark.parametrize(
    ("action_type", "like"),
    [
        ("database.write", "database_write"),
        ("Database-Write", "database_write"),
        ("crm.deleteCustomer", "database_delete"),
        ("users_list", "database_read"),
        ("vault.read_secret", "credential_access"),
        ("salesforce.upsert", "database_write"),
        ("list_and_remove", "database_delete"),
    ],
)
def test_unknown_types_are_judged_by_their_words(action_type: str, like: str) -> None:
    """Split at case, dots, dashes and underscores, the most dangerous word counts."""
    assert risk_of(action_type).cvss_vector == risk_of(like).cvss_vector
    assert like in risk_of(action_type).factors[0]


def test_an_unknown_type_without_a_known_word_is_medium() -> None:
    """Neither harmless nor alarming."""
    for action_type in ("frobnicate", "", "x" * 100_000, "....", "日本"):
        assert risk_of(action_type).level is RiskLevel.MEDIUM


@pytest.mark.parametrize("value", ["PII", " pii ", "highly-sensitive PII", ["public", "pii"], "pii/phi"])
def test_classifications_are_read_leniently(value: object) -> None:
    """Case, punctuation, company and lists do not hide a known word."""
    assert risk_of("database_read", {"data_classification": value}) == risk_of("database_read", {"pii": True})


def test_the_classification_is_found_wherever_clients_put_it() -> None:
    """Among the indicators, in the context for the resource, or among the details as in the SDK's example."""
    expected = risk_of("database_read", {"data_classification": "pii"}).score
    assert risk_of("database_read", {}, {"resource_classification": "pii"}).score == expected
    details = {"data_classification": "pii"}
    assert assess(AgentAction("a", "A", "database_read", "r", "t", action_details=details)).score == expected


def test_all_standard_types_are_known() -> None:
    """The twenty-one types of the SDK document have a row of their own."""
    assert len(ACTION_TYPES) == 21
    assert all(risk_of(name).factors == (name,) for name in ACTION_TYPES)


def test_every_standard_action_type_has_a_risk_of_its_own() -> None:
    """SDK document, "Standard Action Types": each is in the table, as itself."""
    for kind in ActionType:
        assert kind.value in ACTION_TYPES, kind
