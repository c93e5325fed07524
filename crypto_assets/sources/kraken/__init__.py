"""Kraken (spot).

No archive can be listed: files are downloads from a drive that a person fetches (`files.py`). The REST API (`rest.py`) has
every trade since the first one, and the newest 720 bars; a day from it is final. Older bars come from the files, or are built
from trades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crypto_assets.model import Series
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.feeds import ArchiveFeed, QueryFeed
from crypto_assets.sources.kraken.files import KrakenFiles
from crypto_assets.sources.kraken.instruments import KrakenInstruments
from crypto_assets.sources.kraken.rest import KrakenRest
from crypto_assets.sources.kraken.symbols import exchange_symbol, symbols_of
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.source_defaults import SourceDefaults

# Those of REST (1, 5, 15, 30, 60, 240, 1440 minutes); its weeks begin on Thursdays, and 15 days are no timeframe of ours.
_TIMEFRAMES = ("1m", "5m", "15m", "30m", "1h", "4h", "1d")

_NOT_IN_BARS = dict.fromkeys(
    ("quote_volume", "taker_buy_volume", "taker_buy_quote_volume"),
    "Kraken's bars have the volume in base and the number of trades only",
)
_NOT_IN_TRADES = {"quote_amount": "Kraken's trades have price and volume in base only"}


class Kraken(SourceDefaults):
    """The spot market. Kraken's futures are another exchange (ccxt: krakenfutures)."""

    name = "kraken"
    reads_files = True
    rest_url = "https://api.kraken.com"
    hosts = frozenset({"api.kraken.com"})
    # Public requests are counted by address, about one a second (support.kraken.com, API rate limits); ccxt takes 1.2 s for
    # Trades and OHLC, because one a second is refused at times.
    limits: Mapping[str, Sequence[Limit]] = {"public": (Limit(1, 1.2, "requests"),)}
    # Cloudflare, in front of Kraken, refuses an address with 403; Kraken's own refusals are inside a 200.
    # A lockout lasts some 15 minutes without any request (support.kraken.com 209234858; krakenfx/kraken-cli#34). `EAPI:Rate
    # limit exceeded` restricts for some seconds only, longer if requests go on (Kraken's REST guide, "Rate limits").
    ban_words = ("EGeneral:Temporary lockout",)
    # Errors of the service and internal ones (support.kraken.com 360001491786). ccxt knows some, as whole texts only:
    # `EService:Throttled: 1700000000` and `EGeneral:Internal error[12]` are others.
    passing_words = (
        "EService:Unavailable",
        "EService:Busy",
        "EService:Throttled",
        "EService:Timeout",
        "EGeneral:Internal error",
    )
    first_ban_s = 900.0
    unknown_symbol_words = ("EQuery:Unknown asset pair",)

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        if market_type != "spot":
            return ()
        return (*(f"ohlcv_{timeframe}" for timeframe in _TIMEFRAMES), "trades")

    def facts(self, series: Series) -> Facts:
        if series.table == "ohlcv":
            return Facts(silent_bars="absent", exponents=True, without=_NOT_IN_BARS)
        return Facts(numbering="contiguous", exponents=True, without=_NOT_IN_TRADES)

    def feeds(self, series: Series) -> tuple[ArchiveFeed | QueryFeed, ...]:
        """Return a person's files, then REST: who downloads years of files wants them used."""
        return KrakenFiles(series), KrakenRest(series)

    def exchange_symbol(self, market_type: str, symbol: str) -> str:  # noqa: ARG002  there is one
        return exchange_symbol(symbol)

    def symbols(self, market_type: str, name: str) -> tuple[str, ...]:
        return symbols_of(name) if market_type == "spot" else ()

    def instruments(self, market_type: str) -> KrakenInstruments | None:
        return KrakenInstruments() if market_type == "spot" else None


SOURCE = Kraken()
