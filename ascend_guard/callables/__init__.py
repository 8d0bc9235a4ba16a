"""Callables: which parameters one has, what wrappers really call, and how calls are bound to named arguments."""
