"""Who asks and how often: API keys, tokens, OpenID Connect, signatures, limits."""
