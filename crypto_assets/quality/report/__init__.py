"""The report: coverage, quality, gaps and delays as pictures and one HTML page."""
