"""Watches archives: compares each listing with the last look."""
