"""HTTP to a control plane: who asks, with what settings, one request and its resends, one deadline."""
