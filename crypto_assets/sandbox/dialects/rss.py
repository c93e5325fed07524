"""News feeds of the market: an entry for each hour of each symbol, with its closing price. No exchange.

/rest/www.coindesk.com/arc/outboundfeeds/rss/   RSS 2.0, every symbol, dates with a zone
/rest/cointelegraph.com/rss                     RSS 2.0, spot only, dates without a zone (UTC)
/rest/bitcoinops.org/feed.xml                   Atom, linear only, dates of RFC 3339

Each has its newest `ENTRIES` entries up to now, the newest first. As in real feeds, some entries stand in an answer twice
(those of hours that 4 divides), and some are edited two hours after they were published (those of hours that 6 divides).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.dialects import Dialect, Endpoint
from crypto_assets.sandbox.faults import Kind

ENTRIES = 60
_HOUR = timedelta(hours=1)
_LIMITS = {"rss.rest": Allowance(60)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of news."""

    time: datetime
    market: str
    symbol: str
    price: str
    edited: bool

    @property
    def uid(self) -> str:
        return f"https://news.example/{self.market}/{self.symbol}/{self.time:%Y-%m-%dT%H}"

    @property
    def title(self) -> str:
        return f'{self.symbol} <{self.market}> "closes" at {self.price}' + (", corrected" if self.edited else "")


class Rss(Dialect):
    """Three sites with a feed each, counted together."""

    name = "rss"
    limits = _LIMITS
    host = "www.coindesk.com"

    def urls(self, base: str) -> dict[str, str]:
        return {"rest_url": f"{base}{self.root}/rest"}

    def rest(self) -> Mapping[str, Endpoint]:
        def rss(markets: tuple[str, ...], *, zone: bool) -> Endpoint:
            return lambda request: _rss(self.newest(markets), zone)  # noqa: ARG005

        def atom(request: Request) -> Response:  # noqa: ARG001
            return _atom(self.newest(("linear",)))

        return {
            "/rest/www.coindesk.com/arc/outboundfeeds/rss/": rss(("spot", "linear", "inverse"), zone=True),
            "/rest/cointelegraph.com/rss": rss(("spot",), zone=False),
            "/rest/bitcoinops.org/feed.xml": atom,
        }

    def newest(self, markets: tuple[str, ...]) -> list[Entry]:
        """Return the newest entries of some markets."""
        found = [
            entry for market, symbol in self.world.listed if market in markets for entry in self._of(market, symbol)
        ]
        return sorted(found, key=lambda entry: (entry.time, entry.uid), reverse=True)[:ENTRIES]

    def _of(self, market: str, symbol: str) -> Iterator[Entry]:
        item, first, last = self.world.listed[market, symbol]
        end = datetime(last.year, last.month, last.day, tzinfo=UTC) + 24 * _HOUR
        hour = min(self.world.time, end).replace(minute=0, second=0, microsecond=0)
        for _ in range(ENTRIES):
            opens = hour - _HOUR
            if opens.date() < first:
                return
            close = int(self.world.market.bars(item, "1h", opens.date()).close[opens.hour])
            price = f"{close / 10**item.price_decimals:.{item.price_decimals}f}"
            edited = hour.hour % 6 == 0 and self.world.time >= hour + 2 * _HOUR
            yield Entry(hour, market, symbol, price, edited)
            hour = opens

    def failed(self, status: int, phrase: str, kind: Kind, key: str) -> tuple[str, str]:  # noqa: ARG002
        return f"<html><body>{status} {phrase}</body></html>", "text/html"

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:  # noqa: ARG002
        headers = {"retry-after": str(wait_s)}
        return Response("<html><body>Slow down</body></html>", 403 if status == 418 else status, headers, "text/html")


def _listed(entries: list[Entry]) -> Iterator[Entry]:
    for one in entries:
        yield from (one, one) if one.time.hour % 4 == 0 else (one,)


def _rss(entries: list[Entry], zone: bool) -> Response:
    write: Callable[[datetime], str] = (
        (lambda time: format_datetime(time, usegmt=True)) if zone else (lambda time: f"{time:%a, %d %b %Y %H:%M:%S}")
    )
    items = "".join(
        f"<item><title>{escape(one.title)}</title><link>{one.uid}</link><guid>{one.uid}</guid>"
        f"<description>{escape(one.title)}</description><pubDate>{write(one.time)}</pubDate></item>"
        for one in _listed(entries)
    )
    return _xml(f'<rss version="2.0"><channel><title>Sandbox</title><language>en-us</language>{items}</channel></rss>')


def _atom(entries: list[Entry]) -> Response:
    items = "".join(
        f'<entry><id>{one.uid}</id><title>{escape(one.title)}</title><link rel="self" href="{one.uid}.atom"/>'
        f'<link href="{one.uid}"/><published>{one.time:%Y-%m-%dT%H:%M:%SZ}</published></entry>'
        for one in _listed(entries)
    )
    return _xml(f'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>Sandbox</title>{items}</feed>')


def _xml(text: str) -> Response:
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', media_type="application/xml")


DIALECT = Rss
