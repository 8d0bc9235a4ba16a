"""The storage of actions, approvals, the kill switch and the audit trail."""
