"""An exchange on loopback: a Binance-like archive with consistent synthetic trades and bars, or a folder of real files.

It imports nothing from the collector: what it publishes is re-created from the exchange's documentation, so that the
reader is tested against a second opinion and not against itself.
"""
