"""Policies: load, check, evaluate, explain.

::

    policy = load_policy("policy.yaml")            # PolicyError names file, line and mend
    verdict = policy.decide(action, assess(action))
"""

from .evaluate import DEFAULT_TIMEOUT, Effect, Policy, Requirement, Rule, Verdict
from .explanation import Explanation, explain
from .load import load_policy, parse_policy, starter_policy

__all__ = [
    "DEFAULT_TIMEOUT",
    "Effect",
    "Explanation",
    "Policy",
    "Requirement",
    "Rule",
    "Verdict",
    "explain",
    "load_policy",
    "parse_policy",
    "starter_policy",
]
