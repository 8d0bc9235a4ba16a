"""Callables: their parameters, the function that a wrapper really calls, and the binding of calls to named arguments."""
