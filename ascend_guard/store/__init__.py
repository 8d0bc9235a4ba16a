"""Where actions, approvals, the kill switch and the audit trail are kept."""
