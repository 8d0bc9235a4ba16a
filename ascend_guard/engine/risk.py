"""Assess the risk of an action: a score, its CVSS vector, and the controls and techniques that it concerns.

The action's type gives a CVSS 3.1 base vector from a table. Data about the arguments, the environment and the call can only
raise it. ``score`` is ten times the CVSS base score, times 0.9 unless the environment is production (0.95 in staging); the
levels are CVSS's own bands times ten. A client's own ``risk_score`` is never used.

Sources: CVSS 3.1 (https://www.first.org/cvss/v3.1/specification-document), NIST SP 800-53 rev. 5, MITRE
ATT&CK for Enterprise, and MITRE ATLAS (``AML.``) for the one type ATT&CK has no technique for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import msgspec
from msgspec import Struct

from ascend_guard.model import AgentAction, RiskLevel, level_of

__all__ = ["ACTION_TYPES", "Profile", "Risk", "assess", "prepare"]


class Risk(Struct, frozen=True):
    """The risk of an action.

    Args:
        score: 0 to 100.
        level: low below 40, medium below 70, high below 90, else critical.
        cvss_vector: CVSS 3.1, base metrics.
        cvss_score: the base score of that vector, 0 to 10.
        nist_controls: NIST SP 800-53 controls for this kind of action.
        mitre_techniques: MITRE techniques that this kind of action could be part of.
        factors: the reasons as text, the most important first.
    """

    score: float
    level: RiskLevel
    cvss_vector: str
    cvss_score: float
    nist_controls: tuple[str, ...] = ()
    mitre_techniques: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()


class Profile(Struct, frozen=True):
    """One row of the table of action types.

    Args:
        vector: CVSS 3.1 base metrics; the attack vector is the network and complexity is low, because agents are
            reached that way.
        nist: controls.
        mitre: techniques.
        sensitive_mitre: techniques that are added when the data is confidential or worse.
    """

    vector: str
    nist: str
    mitre: str = ""
    sensitive_mitre: str = ""


# PR privileges, S scope, C confidentiality, I integrity, A availability; AV:N/AC:L and UI:N throughout.
ACTION_TYPES: dict[str, Profile] = {
    "database_read": Profile("PR:L/S:U/C:L/I:N/A:N", "AC-3 AU-12", "", "T1213.006"),
    "database_write": Profile("PR:L/S:U/C:N/I:H/A:N", "AC-3 AU-12 SI-10", "T1565.001"),
    "database_delete": Profile("PR:L/S:U/C:N/I:H/A:H", "AC-3 AC-6 AU-12 CP-9", "T1485"),
    "database_schema": Profile("PR:L/S:U/C:L/I:H/A:H", "AC-6 AU-12 CM-3 CM-5", "T1565.001"),
    "file_read": Profile("PR:L/S:U/C:L/I:N/A:N", "AC-3 AU-12", "", "T1005"),
    "file_write": Profile("PR:L/S:U/C:N/I:L/A:L", "AC-3 AU-12 SI-7", "T1565.001"),
    "file_delete": Profile("PR:L/S:U/C:N/I:L/A:H", "AC-3 AU-12 CP-9", "T1485 T1070.004"),
    "file_execute": Profile("PR:L/S:U/C:H/I:H/A:H", "AC-6 AU-12 CM-7 SI-3", "T1059"),
    "http_request": Profile("PR:L/S:U/C:L/I:L/A:N", "AC-4 AU-12 SC-7", "T1071.001", "T1567"),
    "api_call": Profile("PR:L/S:U/C:L/I:L/A:N", "AC-3 AC-4 AU-12", "T1059.009", "T1567"),
    "email_send": Profile("PR:L/S:C/C:L/I:L/A:N", "AC-4 AU-12 SC-7", "T1566 T1534", "T1048"),
    "webhook_trigger": Profile("PR:L/S:C/C:L/I:L/A:N", "AC-4 AU-12 SC-7", "T1567.004"),
    "process_spawn": Profile("PR:L/S:U/C:H/I:H/A:H", "AC-6 AU-12 CM-7", "T1059"),
    "config_change": Profile("PR:L/S:U/C:L/I:H/A:L", "AU-12 CM-3 CM-5 CM-6", "T1562"),
    "credential_access": Profile("PR:L/S:C/C:H/I:H/A:N", "AC-6 AU-12 IA-5", "T1555 T1552"),
    "model_inference": Profile("PR:L/S:U/C:L/I:N/A:N", "AC-3 AU-12"),
    "prompt_injection": Profile("PR:N/S:C/C:H/I:H/A:N", "AU-12 SI-4 SI-10", "AML.T0051"),
    "data_extraction": Profile("PR:L/S:C/C:H/I:L/A:N", "AC-4 AU-12 SC-7", "T1213 T1567"),
    "transaction": Profile("PR:L/S:U/C:N/I:H/A:N", "AC-3 AC-5 AU-10 AU-12", "T1657"),
    "payment_process": Profile("PR:L/S:U/C:L/I:H/A:N", "AC-3 AC-5 AU-10 AU-12", "T1657"),
    "refund": Profile("PR:L/S:U/C:N/I:H/A:N", "AC-3 AC-5 AU-10 AU-12", "T1657"),
}
"""The standard action types (SDK document, "Standard Action Types")."""

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("prompt_injection", "injection jailbreak"),
    ("credential_access", "credential credentials secret secrets password passwords apikey"),
    ("process_spawn", "exec execute spawn shell command bash eval script deploy"),
    ("data_extraction", "export extract extraction dump exfiltrate"),
    ("database_schema", "schema migrate migration alter"),
    ("database_delete", "delete remove drop destroy truncate purge erase wipe terminate kill"),
    (
        "config_change",
        "config configure configuration setting settings grant revoke permission permissions role",
    ),
    ("payment_process", "pay payment payments payout charge invoice purchase buy order"),
    ("transaction", "refund transfer transaction transactions withdraw deposit trade"),
    (
        "database_write",
        "write update insert create upsert modify edit set put patch save add upload rename move",
    ),
    ("email_send", "email mail send message notify post publish reply comment sms"),
    ("webhook_trigger", "webhook trigger dispatch"),
    ("http_request", "http https request call invoke api"),
    (
        "model_inference",
        "inference infer predict generate complete completion embed embedding summarize plan",
    ),
    ("database_read", "read get list search query select find fetch view describe show count lookup"),
)
_WORDS = {word: row for row, (_, words) in enumerate(_FAMILIES) for word in words.split()}
_UNKNOWN = Profile("PR:L/S:U/C:L/I:L/A:N", "AC-3 AU-12")

_SENSITIVITY = {
    "public": 0, "internal": 1, "private": 1, "confidential": 2, "sensitive": 2, "proprietary": 2,
    "pii": 3, "personal": 3, "gdpr": 3, "phi": 3, "health": 3, "hipaa": 3,
    "pci": 3, "cardholder": 3, "financial": 3,
    "restricted": 4, "secret": 4, "critical": 4, "regulated": 4,
}  # fmt: skip
_DATA = (
    # the metrics that it raises at least to, whether all affected metrics become high, controls, text
    ("", False, "", ""),
    ("C:L", False, "", "internal data"),
    ("C:L", True, "SC-28", "confidential data"),
    ("C:L", True, "SC-28 PT-2", "personal, health or payment data"),
    ("S:C/C:L", True, "SC-28 AC-6", "restricted data"),
)
_SENSITIVE = 2
_STAGES = {"production": 2, "prod": 2, "live": 2, "prd": 2, "staging": 1, "stage": 1, "uat": 1, "preprod": 1}
_WEIGHTS = ((0.9, ""), (0.95, "staging environment"), (1.0, "production environment"))
_FLAGS = (
    # signal, the metrics that it raises at least to, controls, techniques, text
    ("untrusted_input", "PR:N/I:L", "SI-10", "", "the input comes from outside"),
    ("prompt_injection", "PR:N/S:C/I:H", "SI-4 SI-10", "AML.T0051", "signs of prompt injection"),
    ("external", "S:C", "SC-7", "", "it reaches outside the organization"),
    ("external_transfer", "S:C/C:L", "AC-4 SC-7", "T1567", "data leaves the organization"),
    ("privileged", "S:C/I:L", "AC-6", "T1078", "it runs with high privileges"),
    ("irreversible", "I:H/A:H", "CP-9", "", "it cannot be undone"),
    ("destructive", "I:H/A:H", "CP-9", "T1485", "it destroys data"),
    ("bulk", "C:H/I:L", "AC-4", "", "it touches many records"),
    ("anomalous", "I:L/A:L", "SI-4", "", "it is unlike this agent's usual calls"),
)
_SIGNALS: dict[str, tuple[str, int]] = {
    "environment": ("stage", 0),
    **dict.fromkeys(("data_classification", "resource_classification", "classification"), ("data", 0)),
    **dict.fromkeys(("pii", "contains_pii", "phi", "contains_phi", "pci", "contains_pci"), ("implies", 3)),
    "sensitive_data": ("implies", 2),
    **{row[0]: ("flag", 1 << bit) for bit, row in enumerate(_FLAGS)},
}
"""The keys of ``risk_indicators`` and ``context`` that are used here."""

_ORDER = {"PR": "LN", "S": "UC", "C": "NLH", "I": "NLH", "A": "NLH"}
_REMEMBERED = 64
_LISTED = 64


def assess(action: AgentAction) -> Risk:
    """Return the risk of this action. Never raises for plain JSON in the indicators and the context.

    Unknown words and values of an unexpected kind change nothing; known ones only ever raise the score.
    """
    data = stage = flags = 0
    for signals in (action.risk_indicators, action.context):
        for key, value in signals.items():
            meaning = _SIGNALS.get(key)
            if meaning is None:
                continue
            kind, number = meaning
            if kind == "data":
                data = max(data, _highest(value, _sensitivity))
            elif kind == "stage":
                stage = max(stage, _highest(value, _stage))
            elif _is_set(value):
                if kind == "flag":
                    flags |= number
                else:
                    data = max(data, number)
    # The SDK document's own example has the classification among the details.
    classified = action.action_details.get("data_classification")
    if classified is not None:
        data = max(data, _highest(classified, _sensitivity))
    name = action.action_type
    row = _row(name) if len(name) <= _REMEMBERED else _row.__wrapped__(name)
    return _combine(row, data, stage, flags)


def risk_at_least(risk: Risk, score: float) -> Risk:
    """Return the same risk with at least this score, which is registered for the tool."""
    if score <= risk.score:
        return risk
    factors = (f"registered with a risk of at least {score:g}", *risk.factors)
    return msgspec.structs.replace(risk, score=score, level=level_of(score), factors=factors)


def _highest(value: object, rank: Callable[[str], int]) -> int:
    if isinstance(value, str):
        return rank(value[:_REMEMBERED])
    if isinstance(value, list):
        return max((rank(word[:_REMEMBERED]) for word in value[:_LISTED] if isinstance(word, str)), default=0)
    return 0


def _is_set(value: object) -> bool:
    if isinstance(value, str):
        return value[:8].strip().lower() in ("true", "yes", "1", "high")
    return isinstance(value, int | float) and value > 0


def _words(text: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower())


@lru_cache(maxsize=1024)
def _sensitivity(text: str) -> int:
    return max(_SENSITIVITY.get(word, 0) for word in _words(text))


@lru_cache(maxsize=1024)
def _stage(text: str) -> int:
    return max(_STAGES.get(word, 0) for word in _words(text))


@lru_cache(maxsize=4096)
def _row(action_type: str) -> str:
    """Return the row of the table for a type: its own name, ``~`` and the family of its words, or empty."""
    words = [word for word in _words(action_type) if word]
    name = "_".join(words)
    if name in ACTION_TYPES:
        return name
    family = min((_WORDS[word] for word in words if word in _WORDS), default=None)
    return "" if family is None else f"~{_FAMILIES[family][0]}"


def prepare() -> None:
    """Import what ``assess`` needs. Processes that never call it do not load it."""
    import cvss  # noqa: F401


@lru_cache(maxsize=4096)
def _combine(row: str, data: int, stage: int, flags: int) -> Risk:
    from cvss import CVSS3

    family = row.removeprefix("~")
    profile = ACTION_TYPES.get(family, _UNKNOWN)
    named = f"it looks like {family}" if row.startswith("~") else family
    factors = [named or "an unknown kind of action"]
    metrics = _metrics(profile.vector)
    controls, techniques = profile.nist.split(), profile.mitre.split()
    for bit, (_, raises, nist, mitre, why) in enumerate(_FLAGS):
        if flags >> bit & 1:
            _raise(metrics, raises)
            controls += nist.split()
            techniques += mitre.split()
            factors.append(why)
    raises, hard, nist, why = _DATA[data]
    _raise(metrics, raises)
    if hard:
        metrics.update({metric: "H" for metric in "CIA" if metrics[metric] == "L"})
    controls += nist.split()
    if data >= _SENSITIVE:
        techniques += profile.sensitive_mitre.split()
    weight, where = _WEIGHTS[stage]
    factors += [word for word in (why, where) if word]
    vector = "CVSS:3.1/AV:N/AC:L/PR:{PR}/UI:N/S:{S}/C:{C}/I:{I}/A:{A}".format(**metrics)
    cvss_score = float(CVSS3(vector).base_score or 0)
    score = round(10 * cvss_score * weight, 1)
    return Risk(
        score=score,
        level=level_of(score),
        cvss_vector=vector,
        cvss_score=cvss_score,
        nist_controls=tuple(sorted(set(controls))),
        mitre_techniques=tuple(sorted(set(techniques))),
        factors=tuple(factors),
    )


def _metrics(vector: str) -> dict[str, str]:
    return dict(metric.split(":") for metric in vector.split("/") if metric)


def _raise(metrics: dict[str, str], at_least: str) -> None:
    for metric, value in _metrics(at_least).items():
        metrics[metric] = max(metrics[metric], value, key=_ORDER[metric].index)
