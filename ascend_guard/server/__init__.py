"""The control plane as a server: routes over the engine, and nothing that decides."""
