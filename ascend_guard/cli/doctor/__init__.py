"""``ascend-guard doctor``: what is configured, what is reachable, what is wrong and how to fix it."""
