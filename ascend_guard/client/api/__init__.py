"""The documented client: ``AscendClient`` and ``AsyncAscendClient``."""
