"""Checks days and publishes them to lake, warehouse and ledger at once."""
