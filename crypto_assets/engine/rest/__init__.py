"""Collects days from an exchange's REST API, page by page, when the archive has none."""
