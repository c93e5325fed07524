"""A simulated exchange on loopback: a Binance-like archive with consistent synthetic trades and bars, or real files.

It imports nothing from the collector: its files follow the exchange's documentation, so the collector's reader is tested
against a second implementation, not against itself.
"""
