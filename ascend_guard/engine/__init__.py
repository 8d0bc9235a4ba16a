"""The rules of governance: decide, approve, claim, settle, kill. No HTTP."""
