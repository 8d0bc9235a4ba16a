"""Policies: load, check, evaluate, explain.

::

    policy = load_policy("policy.yaml")            # PolicyError names file, line and remedy
    verdict = policy.decide(action, assess(action))
"""

from .evaluate import DEFAULT_TIMEOUT, Policy, Requirement, Rule, RuleEffect, Verdict
from .explanation import Explanation, explain
from .load import load_policy, parse_policy, starter_policy

__all__ = [
    "DEFAULT_TIMEOUT",
    "Explanation",
    "Policy",
    "Requirement",
    "Rule",
    "RuleEffect",
    "Verdict",
    "explain",
    "load_policy",
    "parse_policy",
    "starter_policy",
]
