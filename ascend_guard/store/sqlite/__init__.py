"""The embedded store: one SQLite file, and beside it the kill switch's file, locks and the key of the trail."""
