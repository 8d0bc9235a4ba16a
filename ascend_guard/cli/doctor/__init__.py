"""``ascend-guard doctor``: check the configuration and what it reaches, and say how to fix problems."""
