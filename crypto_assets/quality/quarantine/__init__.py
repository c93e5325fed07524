"""Refused files: listing them with their reasons, and judging them again."""
