"""The client for a control plane on a server: any server that implements the Ascend REST API."""
