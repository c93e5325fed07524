"""The schema of the warehouse. Its tables are made of what the datasets declare (`crypto_assets.storage.market_tables`)."""

from crypto_assets.storage.reader import readable

STATEMENTS = ("CREATE SCHEMA IF NOT EXISTS market", readable("market"))
