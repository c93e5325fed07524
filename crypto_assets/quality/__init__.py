"""Results built from findings: scores, publication delays, reports, lock files, the quarantine."""
