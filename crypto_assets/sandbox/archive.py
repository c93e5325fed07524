"""What a sandbox serves: the synthetic world with the archives of all exchanges, or the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime

from crypto_assets.sandbox.dialects.binance.archive import BinanceArchive
from crypto_assets.sandbox.objects import CHECKSUM, Archive, FolderArchive, ObjectInfo
from crypto_assets.sandbox.world import World, expiry

__all__ = ["CHECKSUM", "Archive", "FolderArchive", "ObjectInfo", "Source", "SyntheticArchive", "expiry"]


class SyntheticArchive(World):
    """A world; read as an archive it is Binance's. Arguments: those of `World`, and `cache_bytes`."""

    name = BinanceArchive.name

    def __init__(
        self,
        symbols: Mapping[str, Sequence[str] | Mapping[str, tuple[date, date]]],
        first_day: date = date(2024, 1, 1),
        last_day: date = date(2024, 1, 10),
        seed: int = 0,
        trades_per_day: int = 6_000,
        now: datetime | None = None,
        cache_bytes: int = 256_000_000,
        *,
        delisted: bool = True,
    ) -> None:
        super().__init__(symbols, first_day, last_day, seed, trades_per_day, now, delisted=delisted)
        self.binance = BinanceArchive(self, cache_bytes)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        return self.binance.keys(prefix, after)

    def info(self, key: str) -> ObjectInfo | None:
        return self.binance.info(key)

    def read(self, key: str) -> bytes | None:
        return self.binance.read(key)


Source = SyntheticArchive | FolderArchive
"""What a sandbox can serve."""
