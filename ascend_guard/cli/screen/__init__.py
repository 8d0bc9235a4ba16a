"""The views in which a person reads and decides: lists, one action, the whole screen."""
