"""Lock files: the exact files behind a query, and the check that they are still the same."""
