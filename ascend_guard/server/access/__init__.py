"""Callers and their limits: API keys, tokens, OpenID Connect, signatures, rate limits."""
