"""The client of a control plane elsewhere: any server that speaks the Ascend REST API."""
