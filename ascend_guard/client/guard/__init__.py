"""The control plane of governed calls that a server decides."""
