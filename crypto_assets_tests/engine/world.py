"""A small exchange of the test's own: files that are written one by one, and a REST API that answers truthfully.

Everything trades at one price, three times a minute while it trades, so that only the existence of rows matters.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from crypto_assets.engine.archive.review import Review
from crypto_assets_tests.odd_server import OddServer
from crypto_assets_tests.published import checksum_of, key, zip_of
from crypto_assets_tests.sources.files import KLINES_HEADER as KLINES_NAMES
from crypto_assets_tests.workbench import Workbench

MINUTE = timedelta(minutes=1)
STEPS = {"1m": MINUTE, "1h": 60 * MINUTE, "1d": timedelta(days=1), "3d": timedelta(days=3), "1w": timedelta(days=7)}
_GRID = {"1w": datetime(2024, 1, 1, tzinfo=UTC)}  # a Monday
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KLINES_HEADER = f"{KLINES_NAMES}\n"
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate\n"


def at(text: str) -> datetime:
    """Return an instant by `2024-03-10 04:00` or `2024-03-10`, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def on(text: str) -> date:
    return date.fromisoformat(text)


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def opens(timeframe: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the bars that open in [start, end)."""
    if timeframe == "1M":
        months = (
            datetime(year, month, 1, tzinfo=UTC) for year in range(start.year, end.year + 1) for month in range(1, 13)
        )
        return [month for month in months if start <= month < end]
    step, grid = STEPS[timeframe], _GRID.get(timeframe, EPOCH)
    number = -((grid - start) // step)
    found = []
    while (bar := grid + number * step) < end:
        found.append(bar)
        number += 1
    return [bar for bar in found if bar >= start]


def bar(opened: datetime, timeframe: str = "1m") -> list[Any]:
    length = STEPS.get(timeframe, timedelta(days=28))
    return [ms(opened), "1.0", "1.0", "1.0", "1.0", "5.0", ms(opened + length) - 1, "5.0", 3, "1.0", "1.0", "0"]


def klines(bars: Iterable[datetime], timeframe: str = "1m") -> str:
    return KLINES_HEADER + "".join(",".join(map(str, bar(opened, timeframe))) + "\n" for opened in bars)


def minutes(start: str, end: str) -> str:
    """Return the 1m bars of [start, end) as CSV, without a header."""
    return klines(opens("1m", at(start), at(end))).removeprefix(KLINES_HEADER)


def trades(first_id: int, times: Iterable[datetime]) -> str:
    lines = (f"{first_id + n},1.0,5.0,5.0,{ms(time)},True,True\n" for n, time in enumerate(times))
    return "".join(lines)


def fundings(events: Iterable[datetime]) -> str:
    return FUNDING_HEADER + "".join(f"{ms(event)},8,0.0001\n" for event in events)


def eight_hours(start: str, end: str) -> list[datetime]:
    """Return the funding events of [start, end)."""
    found, event = [], at(start)
    while event < at(end):
        found.append(event)
        event += timedelta(hours=8)
    return found


@dataclass
class Life:
    """A symbol's life in the exchange's answers: its state (None: not listed), and the spans [start, end) with trading."""

    status: str | None = "TRADING"
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)


class World:
    """Files in a folder served by a sandbox, a REST API, and a workbench that collects from both."""

    def __init__(self, work: Workbench, folder: Path, rest: OddServer) -> None:
        self.work = work
        self.folder = folder
        self.lives: dict[str, Life] = {}
        self.rest = rest
        self.broken = False
        rest.answer = self._answer
        rest.requests.clear()
        work.rest_url = rest.url
        self.set_clock("2024-12-01 12:00")

    def set_clock(self, text: str) -> None:
        self.now = at(text)
        self.work.now = lambda: self.now

    # ---- the archive ------------------------------------------------------------------------------------------------

    def publish(self, of: str, text: str) -> None:
        path = self.folder / of
        path.parent.mkdir(parents=True, exist_ok=True)
        content = zip_of(of, text)
        path.write_bytes(content)
        path.with_name(path.name + ".CHECKSUM").write_bytes(checksum_of(of, content))
        os.utime(path, (self.now.timestamp(), self.now.timestamp()))

    def daily(
        self, symbol: str, day: str, text: str | None = None, market: str = "spot", timeframe: str = "1m"
    ) -> None:
        """Publish the bars of a day, all of them unless `text` has others."""
        if text is None:
            text = klines(opens(timeframe, at(day), at(day) + timedelta(days=1)), timeframe)
        self.publish(key(market, "klines", symbol, timeframe, day), text)

    def days(self, symbol: str, first: str, last: str, **more: Any) -> None:
        """Publish whole days, both included."""
        day = on(first)
        while day <= on(last):
            self.daily(symbol, str(day), **more)
            day += timedelta(days=1)

    def monthly(self, symbol: str, month: str, text: str, name: str, market: str = "spot") -> None:
        """Publish the file of a month; `name` is a timeframe, or the folder of other datasets."""
        folder = "klines" if name in {*STEPS, "1mo"} else name
        self.publish(key(market, folder, symbol, name, month, "monthly"), text)

    def hide(self, of: str) -> None:
        (self.folder / of).unlink()
        (self.folder / f"{of}.CHECKSUM").unlink()

    # ---- the exchange -----------------------------------------------------------------------------------------------

    def lives_from(self, symbol: str, *spans: tuple[str, str], status: str | None = "TRADING") -> None:
        self.lives[symbol] = Life(status, [(at(start), at(end)) for start, end in spans])

    @property
    def asked(self) -> list[tuple[str, dict[str, str]]]:
        """The REST requests so far, except those for its clock: the last part of the path, and the parameters."""
        found = ((r.url.path.rpartition("/")[2], dict(r.query_params)) for r in self.rest.requests)
        return [one for one in found if one[0] != "time"]

    async def _answer(self, request: Request) -> Response:
        if self.broken:
            return Response("{}", 503)
        name, query = request.url.path.rpartition("/")[2], request.query_params
        symbol, spot = query.get("symbol", ""), request.url.path.startswith("/api/")
        if name == "time":
            return _json({"serverTime": ms(self.now)})
        if name == "exchangeInfo":
            chosen = {symbol: self.lives[symbol]} if symbol in self.lives else {} if symbol else self.lives
            listed = [{"symbol": name, "status": life.status} for name, life in chosen.items() if life.status]
            return _json({"symbols": listed}) if listed or not spot else _unknown()
        if symbol not in self.lives:
            return _unknown()
        start, end = (int(query[name]) if name in query else None for name in ("startTime", "endTime"))
        rows, times = _rows(symbol, tuple(self.lives[symbol].spans), name, query.get("interval", ""))
        until = ms(self.now) if end is None else min(end, ms(self.now))
        inside = rows[0 if start is None else bisect_left(times, start) : bisect_right(times, until)]
        limit = int(query.get("limit", "500"))
        found = inside[-limit:] if start is None else inside[:limit]
        micro = request.headers.get("x-mbx-time-unit") == "MICROSECOND"
        return _json([[row[0] * 1000, *row[1:]] for row in found] if micro and name == "klines" else found)


@lru_cache(maxsize=8)  # months of minutes, requested in hundreds of pages
def _rows(
    symbol: str, spans: tuple[tuple[datetime, datetime], ...], name: str, interval: str
) -> tuple[list[Any], list[int]]:
    """Return all rows of a life, and the time of each."""
    if name == "fundingRate":
        events = sorted(e for start, end in spans for e in eight_hours(start.isoformat()[:16], end.isoformat()[:16]))
        times = [ms(event) for event in events]
        return [{"symbol": symbol, "fundingTime": time, "fundingRate": "0.0001"} for time in times], times
    found: list[datetime] = []
    for start, end in spans:
        if interval in ("1m", "1h"):
            found += opens(interval, start, end)
        else:  # the bar with the first trade opens before it
            length = STEPS.get(interval, timedelta(days=31))
            found += [one for one in opens(interval, start - length, end) if one + length > start]
    rows = [bar(opened, interval) for opened in sorted(set(found))]
    return rows, [row[0] for row in rows]


def _json(answer: Any) -> Response:
    return Response(json.dumps(answer), media_type="application/json")


def _unknown() -> Response:
    return Response(json.dumps({"code": -1121, "msg": "Invalid symbol."}), 400, media_type="application/json")


def days_of(outcomes: Sequence[Any]) -> list[str]:
    return [re.sub(r"^\d{4}-", "", str(outcome.partition.day)) for outcome in outcomes]


def not_looked_at(review: Review) -> int:
    """Return the number of days that stay as they were because they could not be checked."""
    return sum(one.days for one in review.skipped.values())
