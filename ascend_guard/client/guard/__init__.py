"""The control plane of a guard whose decisions are made by a server."""
