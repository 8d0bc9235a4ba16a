"""The store that replicas share: one PostgreSQL database."""
