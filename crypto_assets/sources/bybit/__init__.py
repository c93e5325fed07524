"""Bybit: spot, linear and inverse contracts."""
