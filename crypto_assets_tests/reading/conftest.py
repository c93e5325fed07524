"""A test's database has the project's tables."""

from crypto_assets_tests.conftest import postgres_url_with_tables as postgres_url

__all__ = ["postgres_url"]
