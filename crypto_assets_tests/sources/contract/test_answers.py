"""Answers: the walk of a day that is over and of today, and a walk that was cut and goes on, for every feed that is asked."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.engine.rest.feed import RestRows, bar_end
from crypto_assets.engine.rest.merged_pages import merged
from crypto_assets.errors import PermanentError
from crypto_assets.model import DAY, Partition
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES
from crypto_assets.sources import Call, Page, Walk
from crypto_assets_tests.sources.contract.conftest import FIRST, LAST, NOW, Lab
from crypto_assets_tests.sources.contract.subjects import SPARSE, Subject, holds, skip
from crypto_assets_tests.sources.contract.truth import Columns, differences, instant_of, part


def past_day(lab: Lab, subject: Subject) -> date:
    """Return the latest day of the subject with rows that are final."""
    time = datasets.get(subject.series.table).time_column
    back = 1 if subject.series.timeframe not in LONG_TIMEFRAMES else 8
    days = [LAST - number * DAY for number in range(back, back + 7)] + [FIRST]
    return next(day for day in days if closed(subject, lab.true(subject, day))[time])


def answered(lab: Lab, subject: Subject, day: date, symbol: str = "") -> RestRows:
    return lab.rest.day(subject.series, Partition(symbol or subject.symbol, day), lab.nothing(subject), None)


def rows_are_right(lab: Lab, subject: Subject, day: date, found: RestRows, symbol: str = "") -> list[str]:
    """Return the differences of the rows from those of the market, from the first of them up to where they are complete."""
    time = datasets.get(subject.series.table).time_column
    true = closed(subject, lab.true(subject, day, symbol))
    partition = Partition("", day)
    since = partition.start
    if found.missing and found.rows.num_rows:
        since = instant_of(found.rows.column(time).cast(pa.int64())[0].as_py())
    until = partition.end if not found.rows.num_rows else max(found.until, _after_last(found.rows, time))
    return differences(subject.series, found.rows, part(subject.series, true, since, min(until, partition.end)))


def closed(subject: Subject, rows: Columns) -> Columns:
    """Return the rows without bars that are still open."""
    if subject.series.table != "ohlcv":
        return rows
    places = [
        place
        for place, time in enumerate(rows["open_time"])
        if bar_end(subject.series, instant_of(time)) <= NOW - subject.query.settle
    ]
    return {name: [values[place] for place in places] for name, values in rows.items()}


def _after_last(rows: pa.Table, time: str) -> datetime:
    return instant_of(rows.column(time).cast(pa.int64())[-1].as_py() + 1000)


@holds("past day")
def test_the_walk_of_a_day_that_is_over_gives_the_rows_of_the_market(lab: Lab, subject: Subject) -> None:
    subject.query  # noqa: B018  skips files
    day = past_day(lab, subject)
    try:
        found = answered(lab, subject, day)
    except PermanentError as error:
        _only_the_newest(lab, subject, str(error))
        return
    assert rows_are_right(lab, subject, day, found) == []
    if found.missing:
        _only_the_newest(lab, subject, found.missing)
    assert found.rows.num_rows
    assert found.ended
    assert found.until >= Partition("", day).end


def _only_the_newest(lab: Lab, subject: Subject, reason: str) -> None:
    """Skip a feed that has the newest rows only and says so: where these reach back to midnight, the day is whole."""
    assert "newest" in reason, reason
    found = answered(lab, subject, LAST, SPARSE[subject.series.market_type])
    assert found.missing == ""
    assert found.rows.num_rows
    skip("the feed has the newest rows only, and says so")


@holds("today")
def test_today_is_given_up_to_now(lab: Lab, subject: Subject) -> None:
    feed = subject.query
    subject.skip_if_heavy()
    for symbol in (subject.symbol, SPARSE[subject.series.market_type]):
        found: RestRows | None
        try:
            found = answered(lab, subject, LAST, symbol)
        except PermanentError as error:
            only_newest, found = str(error), None
        if found is None:
            assert "newest" in only_newest
            assert symbol == subject.symbol
            continue
        assert not found.ended
        assert rows_are_right(lab, subject, LAST, found, symbol) == []
        assert found.until <= NOW
        if found.missing and subject.series.timeframe not in LONG_TIMEFRAMES:
            assert "newest" in found.missing, found.missing
            assert symbol == subject.symbol
        time = datasets.get(subject.series.table).time_column
        if subject.series.timeframe in ("1m", "1h", None) and symbol == subject.symbol and not found.missing:
            last = max(found.rows.column(time).to_pylist())
            assert NOW - feed.settle - last < (NOW - Partition("", LAST).start)
            assert found.until > Partition("", LAST).start


def followed(lab: Lab, subject: Subject, walk: Walk, most: int | None = None) -> tuple[list[Call], list[Page]]:
    """Follow a walk to its end, or until it has given `most` pages."""
    calls: list[Call] = []
    pages: list[Page] = []
    answer: Any = None
    while most is None or len(pages) < most:
        try:
            step = walk.send(answer)
        except StopIteration:
            break
        answer = None
        if isinstance(step, Page):
            pages.append(step)
        else:
            calls.append(step)
            answer = lab.rest.ask(subject.series, step)
    walk.close()
    return calls, pages


@holds("resumed walk")
def test_a_walk_that_was_cut_asks_for_what_is_missing_only(lab: Lab, subject: Subject) -> None:
    feed = subject.query
    subject.skip_if_heavy()
    day = past_day(lab, subject)
    partition, now = Partition(subject.symbol, day), NOW - feed.settle
    instrument, nothing = lab.instrument(subject.track), lab.nothing(subject)
    try:
        calls, pages = followed(lab, subject, feed.walk(partition, nothing, None, now, instrument))
    except PermanentError as error:
        _only_the_newest(lab, subject, str(error))
        return
    if len(pages) < 2:
        skip("one answer has the day")
    key = feed.source_key(subject.symbol)
    whole = merged(subject.series, key, [page.rows for page in pages])
    _, (first,) = followed(lab, subject, feed.walk(partition, nothing, None, now, instrument), most=1)
    more, rest = followed(lab, subject, feed.walk(partition, first.rows, first.until, now, instrument))
    assert merged(subject.series, key, [first.rows, *(page.rows for page in rest)]).equals(whole)
    if first.until is None and len(more) == len(calls):
        skip("pages come from the end of the day: the next visit begins there again")
    assert len(more) < len(calls)
