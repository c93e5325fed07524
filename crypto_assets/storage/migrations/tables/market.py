"""The schema of the warehouse. `crypto_assets.storage.market_tables` builds its tables from the datasets."""

from crypto_assets.storage.reader import readable

STATEMENTS = ("CREATE SCHEMA IF NOT EXISTS market", readable("market"))
