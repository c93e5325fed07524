"""The public Python functions: rows of symbols, and facts about them. docs/python.md shows each.

Functions here combine the packages below; the command line and the API show the same facts.
"""

from crypto_assets.client.holdings import catalog, coverage, gaps
from crypto_assets.client.last_rows import latest
from crypto_assets.client.market import universe
from crypto_assets.client.rows import read

__all__ = ["catalog", "coverage", "gaps", "latest", "read", "universe"]
