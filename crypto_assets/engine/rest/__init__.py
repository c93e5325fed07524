"""Days from an exchange's REST API, page by page, where the archive has none."""
