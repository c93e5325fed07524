"""The public Python functions: rows of symbols, and facts about them. docs/reference/python.md shows each.

Functions here combine the packages below; the command line and the API show the same facts.
"""

from crypto_assets.client.catalog import catalog
from crypto_assets.client.coverage import coverage
from crypto_assets.client.gaps import gaps
from crypto_assets.client.instruments import instruments
from crypto_assets.client.latest import latest
from crypto_assets.client.read import read
from crypto_assets.client.universe import universe

__all__ = ["catalog", "coverage", "gaps", "instruments", "latest", "read", "universe"]
