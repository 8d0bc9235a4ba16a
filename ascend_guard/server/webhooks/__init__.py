"""Events on their way to the receivers that organizations chose."""
