"""The entry points, ``governed``, ``guard`` and ``scope``, and what they share: one governed call around a tool's body."""
