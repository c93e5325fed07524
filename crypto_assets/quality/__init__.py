"""What is made of findings: scores, publication delays, reports, lock files, the quarantine."""
