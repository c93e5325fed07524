"""What is made of findings: incidents, scores, publication delays, reports and lock files.

Reads the ledger and the lake; nothing here imports Dagster.
"""
