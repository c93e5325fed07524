"""Market history that is complete, or that says exactly what is missing and why."""
