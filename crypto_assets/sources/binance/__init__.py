"""Binance: spot (`spot`), USD-M futures (`linear`) and COIN-M futures (`inverse`).

Archive: https://data.binance.vision, listed at https://s3-ap-northeast-1.amazonaws.com/data.binance.vision (S3 XML,
         1,000 keys a page; `data.binance.vision/?prefix=` answers an HTML page instead): `archive.py`, `rows.py`
REST:    `rest.py`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crypto_assets.model import Series
from crypto_assets.sources.binance.archive import BinanceFiles, feeds_of
from crypto_assets.sources.binance.instruments import BinanceInstruments
from crypto_assets.sources.binance.rest import BinanceRest
from crypto_assets.sources.binance.rows import read_rows
from crypto_assets.sources.binance.symbols import exchange_name, symbols_of
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.source_defaults import SourceDefaults

_BAR_TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1mo")


class Binance(SourceDefaults):
    """Spot, USD-M and COIN-M futures."""

    name = "binance"
    archive_url = "https://data.binance.vision"
    listing_url = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
    rest_url = "https://api.binance.com"
    # Includes S3's two names of one region (S3 user guide, "Request redirection"), and the REST hosts of futures.
    hosts = frozenset(
        {
            "data.binance.vision",
            "s3-ap-northeast-1.amazonaws.com",
            "s3.ap-northeast-1.amazonaws.com",
            "api.binance.com",
            "fapi.binance.com",
            "dapi.binance.com",
        }
    )
    # For each address (rest-api.md, "LIMITS"; exchangeInfo, rateLimits). Binance counts calendar minutes; kept in every
    # sliding window, the limits need no common clock. Its maintainers know of no limit on the archive
    # (binance-public-data #328).
    limits: Mapping[str, Sequence[Limit]] = {
        "spot": (Limit(6_000, 60), Limit(300_000, 300, "requests")),
        "linear": (Limit(2_400, 60),),
        "inverse": (Limit(2_400, 60),),
    }
    # 403 is its firewall's limit, 418 the ban after too many 429 (rest-api.md, "HTTP Return Codes").
    bans = frozenset({403, 418})
    # Server busy, and overloaded: "try again" (spot error codes). ccxt reads them by the host's name, which a mirror has not.
    passing_words = ('"code":-1004', '"code":-1008')

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        bars = tuple(f"ohlcv_{timeframe}" for timeframe in _BAR_TIMEFRAMES)
        if market_type == "spot":
            return ("ohlcv_1s", *bars, "trades", "agg_trades")
        if market_type in ("linear", "inverse"):
            return (*bars, "trades", "agg_trades", "funding_rates")
        return ()

    def facts(self, series: Series) -> Facts:
        if series.market_type == "spot":
            return Facts()
        in_contracts = series.market_type == "inverse" and series.table != "funding_rates"
        # Futures leave out internal and insurance trades, which the order book did not match (binance-public-data #190,
        # #363, #378).
        return Facts("holes", 100, amounts="contracts" if in_contracts else "base")

    def feeds(self, series: Series) -> tuple[BinanceFiles | BinanceRest, ...]:
        rest = BinanceRest(series, self.facts(series), self.exchange_symbol, read_rows)
        return (*feeds_of(series), rest)

    def exchange_symbol(self, market_type: str, symbol: str) -> str:
        return exchange_name(market_type, symbol)

    def symbols(self, market_type: str, name: str) -> tuple[str, ...]:
        return symbols_of(market_type, name)

    def counted_weight(self, budget: str, headers: Mapping[str, str]) -> tuple[int, float] | None:
        used = headers.get("x-mbx-used-weight-1m", "")
        return (int(used), 60.0) if budget in self.limits and used.isascii() and used.isdigit() else None

    def instruments(self, market_type: str) -> BinanceInstruments | None:
        return BinanceInstruments(market_type) if market_type in ("spot", "linear", "inverse") else None


SOURCE = Binance()
