"""Judging days and publishing them: lake, warehouse and ledger at once."""
