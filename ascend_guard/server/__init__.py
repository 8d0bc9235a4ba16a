"""The control plane as a server: HTTP endpoints over the engine. It makes no decisions itself."""
