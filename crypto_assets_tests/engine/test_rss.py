"""News from the sandbox's feeds, end to end: polls, duplicates, edited entries, failures, days that no feed reaches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.corrections import find_corrections
from crypto_assets.model import Series, State, Track
from crypto_assets.quality.query import Query
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.workbench import Workbench

DAY = date(2024, 1, 3)
NOON = datetime(2024, 1, 3, 12, 30, tzinfo=UTC)
NEWS = Series.named("rss", "news", "news")
FEEDS = ("BITCOINOPS", "COINDESK", "COINTELEGRAPH")
MARKETS = {
    "BITCOINOPS": [("linear", "ETHUSDT")],
    "COINDESK": [("linear", "ETHUSDT"), ("spot", "BTCUSDT")],
    "COINTELEGRAPH": [("spot", "BTCUSDT")],
}


class NewsBench(Workbench):
    """Collects the feeds from the sandbox."""

    feeds: dict[str, str] | None = None

    @property
    def collection(self) -> Collection:
        limits = {name.lower(): ["1000/s"] for name in (*FEEDS, *(self.feeds or ()))}
        rss = {**self.sandbox.urls("rss"), "limits": limits, "feeds": self.feeds or {}}
        return parse_collection({"exchanges": {"rss": rss}, "series": self.entries})

    def at(self, now: datetime) -> NewsBench:
        self.sandbox.app.state.source.now = now
        self.now = lambda: now
        return self

    def stored(self, feed: str, day: date = DAY) -> list[dict[str, Any]]:
        return self.lake.read(NEWS, feed, day, day).to_pylist()


def entry(*feeds: str) -> dict[str, Any]:
    return {
        "exchange": "rss",
        "market_type": "news",
        "datasets": ["news"],
        "symbols": list(feeds),
        "start": date(2024, 1, 1),
    }


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    world = SyntheticArchive(
        {"spot": ["BTCUSDT"], "linear": ["ETHUSDT"]}, last_day=date(2024, 1, 8), trades_per_day=1_500, now=NOON
    )
    with SandboxServer(world) as server:
        yield server


@pytest.fixture
def bench(running: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Callable[..., NewsBench]]:
    running.app.state.limits.weights["rss.rest"] = 1_000_000
    running.app.state.limits.forget()
    running.forget_requests()

    def opened(*feeds: str) -> NewsBench:
        return NewsBench(running, postgres_url, tmp_path / "lake", entry(*(feeds or FEEDS))).at(NOON)

    yield opened
    running.app.state.faults.off()


def expected(bench: NewsBench, feed: str, hours: range, edited: range) -> list[tuple[Any, ...]]:
    """Return time, place, id and title of the entries of the day, from the sandbox's bars."""
    world, found = bench.sandbox.app.state.source, []
    for hour in hours:
        for place, (market, symbol) in enumerate(sorted(MARKETS[feed], reverse=True)):
            closes = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(hours=hour)
            opens = closes - timedelta(hours=1)
            bars = world.market.bars(world.listed[market, symbol][0], "1h", opens.date())
            title = f'{symbol} <{market}> "closes" at {int(bars.close[opens.hour]) / 100:.2f}'
            found.append(
                (
                    closes,
                    place,
                    f"https://news.example/{market}/{symbol}/{closes:%Y-%m-%dT%H}",
                    title + (", corrected" if hour in edited and hour % 6 == 0 else ""),
                )
            )
    return found


def shown(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["published_time"], row["news_place"], row["news_uid"], row["title"]) for row in rows]


def test_each_feed_gives_today_up_to_now_with_each_entry_once(bench) -> None:
    made = bench()
    result = made.collect(DAY, DAY)
    for feed in FEEDS:
        outcome = result.of(DAY, "news", feed, "news")
        assert outcome.state is State.PROVISIONAL, outcome
        assert shown(made.stored(feed)) == expected(made, feed, range(13), range(11))
        assert made.records()[feed, "news", DAY].source == "rest"
    (row,) = made.stored("COINTELEGRAPH")[-1:]
    assert (row["summary"], row["link"], row["language"]) == (row["title"], row["news_uid"], "en-us")
    assert made.stored("BITCOINOPS")[-1]["language"] == "en"


def test_a_second_poll_adds_what_is_new_and_keeps_the_newest_version_of_what_was_edited(bench) -> None:
    made = bench("COINTELEGRAPH")
    made.collect(DAY, DAY)
    made.at(NOON + timedelta(hours=9)).collect(DAY, DAY)
    assert shown(made.stored("COINTELEGRAPH")) == expected(made, "COINTELEGRAPH", range(22), range(20))
    with psycopg.connect(made.url) as connection:
        (correction,) = find_corrections(connection, {"symbol = %s": "COINTELEGRAPH", "day = %s": DAY}, None)
    assert (correction.rows_added, correction.rows_removed, correction.rows_changed) == (9, 0, 1)
    assert list(correction.columns) == ["title", "summary"]


def test_a_day_that_is_over_is_available_and_is_not_asked_for_again(bench) -> None:
    made = bench("COINTELEGRAPH")
    made.collect(DAY, DAY)
    result = made.at(NOON + timedelta(hours=24)).collect(DAY, DAY)
    outcome = result.of(DAY, "news", "COINTELEGRAPH", "news")
    assert (outcome.state, outcome.reason) == (State.AVAILABLE, "")
    assert shown(made.stored("COINTELEGRAPH")) == expected(made, "COINTELEGRAPH", range(24), range(24))
    made.sandbox.forget_requests()
    made.at(NOON + timedelta(hours=30)).collect(DAY, DAY)
    assert made.sandbox.requests() == []


def test_a_day_is_asked_for_again_until_an_hour_after_its_end(bench) -> None:
    made, midnight = bench("COINTELEGRAPH"), datetime(2024, 1, 4, tzinfo=UTC)
    found = []
    for minutes in (30, 90, 150):
        made.sandbox.forget_requests()
        outcome = (
            made.at(midnight + timedelta(minutes=minutes)).collect(DAY, DAY).of(DAY, "news", "COINTELEGRAPH", "news")
        )
        found.append((outcome.state, len(made.sandbox.requests())))
        assert shown(made.stored("COINTELEGRAPH")) == expected(made, "COINTELEGRAPH", range(24), range(24))
    assert found == [(State.PROVISIONAL, 1), (State.AVAILABLE, 1), (State.AVAILABLE, 0)]


def test_a_feed_that_fails_does_not_stop_the_others_and_recovers(bench) -> None:
    made = bench()
    made.sandbox.app.state.faults.on("http-404", exchange="rss", pattern="*cointelegraph*")
    result = made.collect(DAY, DAY)
    states = {feed: result.of(DAY, "news", feed, "news").state for feed in FEEDS}
    assert states == {
        "BITCOINOPS": State.PROVISIONAL, "COINDESK": State.PROVISIONAL, "COINTELEGRAPH": State.PENDING,
    }  # fmt: skip
    assert "found 404" in result.of(DAY, "news", "COINTELEGRAPH", "news").reason
    made.sandbox.app.state.faults.off()
    again = made.collect(DAY, DAY)
    assert again.of(DAY, "news", "COINTELEGRAPH", "news").state is State.PROVISIONAL
    assert shown(made.stored("COINTELEGRAPH")) == expected(made, "COINTELEGRAPH", range(13), range(11))


def test_a_day_that_the_feed_does_not_reach_any_more_is_missing_with_that_reason(bench) -> None:
    made = bench("COINTELEGRAPH").at(datetime(2024, 1, 8, 6, tzinfo=UTC))
    outcome = made.collect(DAY, DAY).of(DAY, "news", "COINTELEGRAPH", "news")
    assert outcome.state is State.MISSING, outcome
    assert "it has nothing any more of 2024-01-03; its rows reach back to 2024-01-05 20:00 UTC only" in outcome.reason


def test_a_poll_that_comes_too_late_leaves_the_day_partial(bench) -> None:
    made = bench("COINTELEGRAPH")
    made.collect(DAY, DAY)
    outcome = made.at(datetime(2024, 1, 8, 6, tzinfo=UTC)).collect(DAY, DAY).of(DAY, "news", "COINTELEGRAPH", "news")
    assert outcome.state is State.DEGRADED, outcome
    assert "it is not proven that all rows from 11:30:00 to 24:00:00 UTC are here" in outcome.reason
    assert shown(made.stored("COINTELEGRAPH")) == expected(made, "COINTELEGRAPH", range(13), range(11))


def test_feeds_have_the_addresses_of_the_collection_and_names_of_their_own(bench) -> None:
    made = bench("COINDESK", "MYBLOG")
    made.feeds = {"MYBLOG": "https://bitcoinops.org/feed.xml", "COINDESK": "https://cointelegraph.com/rss"}
    result = made.collect(DAY, DAY)
    for feed, content in (("MYBLOG", "BITCOINOPS"), ("COINDESK", "COINTELEGRAPH")):
        outcome = result.of(DAY, "news", feed, "news")
        assert outcome.state is State.PROVISIONAL, outcome
        assert shown(made.stored(feed)) == expected(made, content, range(13), range(11))
        assert outcome.source.key == f"rest/{made.feeds[feed].removeprefix('https://')}"


def test_a_feed_of_the_collection_is_chosen_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "collection.yaml"
    feeds = {"MYBLOG": "https://blog.example/feed.xml"}
    path.write_text(json.dumps({"exchanges": {"rss": {"feeds": feeds}}, "series": [entry("MYBLOG")]}, default=str))
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(path))
    tracks = [Track(NEWS, "COINDESK"), Track(NEWS, "MYBLOG")]
    assert Query(symbols=("myblog",)).choose(tracks) == tracks[1:]
    assert Query(symbols=("COINDESK",)).choose(tracks) == tracks[:1]
    with pytest.raises(ConfigError, match="symbol 'OTHER': expected the form"):
        Query(symbols=("OTHER",))


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"my blog": "https://a.example/f"}, "expected a name of capital letters, digits and _, such as MYBLOG"),
        ({"MYBLOG": "http://a.example/f"}, "MYBLOG: expected an address that begins with https://"),
        ({"MYBLOG": "blog"}, "http"),
    ],
)
def test_addresses_of_feeds_are_checked_when_the_collection_is_read(feeds: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_collection({"exchanges": {"rss": {"feeds": feeds}}, "series": [entry("COINDESK")]})


@pytest.mark.parametrize(
    ("feeds", "used", "names"),
    [
        ({"A": "https://x.example/f", "B": "https://X.example:443/f"}, ["A"], "A and B"),
        ({"MYBLOG": "https://bitcoinops.org/feed.xml"}, ["MYBLOG", "BITCOINOPS"], "BITCOINOPS and MYBLOG"),
        ({"COINDESK": "https://bitcoinops.org/feed.xml"}, ["COINDESK", "BITCOINOPS"], "BITCOINOPS and COINDESK"),
    ],
)
def test_a_feed_has_one_name(feeds: dict[str, str], used: list[str], names: str) -> None:
    with pytest.raises(ConfigError, match=f"expected one name for the feed .*, found {names}; keep one of them"):
        parse_collection({"exchanges": {"rss": {"feeds": feeds}}, "series": [entry(*used)]})
    feeds = {"A": "https://x.example/f", "B": "https://x.example/F", "MYBLOG": "https://bitcoinops.org/feed.xml"}
    parse_collection({"exchanges": {"rss": {"feeds": feeds}}, "series": [entry("A", "B", "MYBLOG")]})


def test_each_feed_of_the_collection_has_a_limit_of_its_own_and_only_news_has_feeds() -> None:
    feeds = {"MYBLOG": "https://blog.example/feed.xml"}
    found = parse_collection({"exchanges": {"rss": {"feeds": feeds}}, "series": [entry("MYBLOG")]})
    assert [str(limit) for limit in found.urls("rss").limits["myblog"]] == ["1 requests/s"]
    with pytest.raises(ConfigError, match="binance has no feeds of news"):
        parse_collection({"exchanges": {"binance": {"feeds": feeds}}, "series": [entry("COINDESK")]})
    limits = {"other": ["1/s"]}
    with pytest.raises(ConfigError, match="'other' is not a budget"):
        parse_collection({"exchanges": {"rss": {"feeds": feeds, "limits": limits}}, "series": [entry("MYBLOG")]})


def test_names_of_feeds_are_checked_when_the_collection_is_read() -> None:
    with pytest.raises(ConfigError, match="expected a name of letters and digits such as COINDESK"):
        parse_collection({"series": [entry("BTC/USDT")]})
    with pytest.raises(ConfigError, match=r"rss has no NOBODY.*COINDESK"):
        parse_collection({"series": [entry("NOBODY")]})
