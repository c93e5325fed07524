"""The addresses of what is stored, as URIs without user and password (`dagster/uri`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crypto_assets.config.environment import settings
from crypto_assets.text.urls import postgres_uri


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where lake and database are. Read from the environment once for many assets: that takes a millisecond.

    `lake` ends with a slash: `s3://bucket/prefix/` or `file:///…/`. `database` is `postgresql://host:port/name`; of the
    embedded server it is the folder, because its port does not last.
    """

    lake: str
    database: str

    @classmethod
    def configured(cls) -> Addresses:
        """Return the addresses that the environment names."""
        now = settings()
        lake = now.lake if now.lake.startswith("s3://") else Path(now.lake).as_uri()
        own = (now.home / "postgres").as_uri()
        return cls(f"{lake.rstrip('/')}/", postgres_uri(now.postgres_url) if now.postgres_url else own)

    @property
    def lake_kind(self) -> str:
        """The kind of a lake asset beside `parquet`: `s3` or `file`."""
        return "s3" if self.lake.startswith("s3://") else "file"

    @property
    def quarantine(self) -> str:
        """The refused files."""
        return f"{self.lake}quarantine/"

    def table(self, table: str) -> str:
        """Return the address of a table or schema: `market.ohlcv`, `collection`."""
        return f"{self.database}#{table}"
