"""Lock files: the exact files behind a query, and whether they are still the same."""
