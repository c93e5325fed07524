"""Locating days: the object of a day, or the reason why there is none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from starlette.responses import Response

from crypto_assets import sources
from crypto_assets.engine.archive.files import first_listed_day
from crypto_assets.engine.archive.locate import Located, locate
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import ListingError, UnknownSymbol
from crypto_assets.model import Partition, State, Track, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.engine.archive.test_listing import xml
from crypto_assets_tests.synthetic import series_of

BINANCE = sources.get("binance")
DAILY = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-"
MONTHLY = "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-"
HOURS = series_of("ohlcv_1h")
NOW = datetime(2024, 4, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def running():
    """BTC from 2024-01-20, ETH the whole time; the last day is 2024-03-31."""
    last = date(2024, 3, 31)
    source = SyntheticArchive(
        {
            "spot": {"BTCUSDT": (date(2024, 1, 20), last), "ETHUSDT": (date(2024, 1, 1), last)},
            "linear": {"BTCUSDT": (date(2024, 1, 1), last), "BTCUSDT_240628": (date(2024, 1, 1), last)},
        },
        trades_per_day=50,
        now=NOW,
    )
    with SandboxServer(source) as server:
        yield server


@pytest.fixture
def sandbox(running):
    running.forget_requests()
    yield running
    running.app.state.overrides.clear()
    running.app.state.source.now = NOW


def find(sandbox, client, days, series=HOURS, symbol="BTC/USDT", now=NOW) -> Located:
    return locate(ArchiveSite(client, BINANCE, sandbox.listing_url), Track(series, symbol), days, now)


def first_of(client, sandbox, symbol: str) -> date | None:
    site, name = ArchiveSite(client, BINANCE, sandbox.listing_url), sources.name_of(HOURS, symbol)
    firsts = [first_listed_day(site, feed, name) for feed in sources.archives(HOURS)]
    return min((day for day in firsts if day), default=None)


def held(located: Located) -> dict[str, list[str]]:
    return {holder.obj.key: [day.isoformat() for day in holder.days] for holder in located.holders}


def states(located: Located) -> dict[str, State]:
    return {outcome.partition.day.isoformat(): outcome.state for outcome in located.absent}


def test_each_day_is_in_its_daily_file_found_with_one_request(sandbox, client):
    located = find(sandbox, client, days_between(date(2024, 2, 28), date(2024, 3, 2)))
    assert held(located) == {
        f"{DAILY}{day}.zip": [day] for day in ("2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02")
    }
    assert located.absent == []
    assert len(sandbox.requests()) == 1
    for obj in (holder.obj for holder in located.holders):
        info = sandbox.app.state.source.info(obj.key)
        assert (obj.size_bytes, obj.etag, obj.last_modified) == (info.size, info.etag, info.last_modified)


def test_days_with_gaps_between_them_are_found_and_no_others(sandbox, client):
    days = [date(2024, 1, 25), date(2024, 2, 14), date(2024, 3, 31)]
    assert held(find(sandbox, client, days)) == {f"{DAILY}{day}.zip": [day.isoformat()] for day in days}


def test_a_day_without_a_daily_file_is_taken_from_the_monthly_one(sandbox, client):
    for day in ("2024-02-10", "2024-02-11", "2024-03-05"):
        sandbox.app.state.overrides[f"{DAILY}{day}.zip"] = None
    located = find(sandbox, client, days_between(date(2024, 2, 9), date(2024, 3, 6)))
    found = held(located)
    assert found[f"{MONTHLY}2024-02.zip"] == ["2024-02-10", "2024-02-11"]
    assert found[f"{MONTHLY}2024-03.zip"] == ["2024-03-05"]
    assert found[f"{DAILY}2024-02-09.zip"] == ["2024-02-09"]
    assert sorted(day for days in found.values() for day in days) == [
        day.isoformat() for day in days_between(date(2024, 2, 9), date(2024, 3, 6))
    ]
    assert located.absent == []


def test_a_checksum_alone_is_no_file(sandbox, client):
    sandbox.app.state.overrides[f"{DAILY}2024-01-25.zip"] = None
    assert f"{DAILY}2024-01-25.zip.CHECKSUM" in list(sandbox.app.state.source.keys(DAILY))
    assert states(find(sandbox, client, [date(2024, 1, 25)])) == {"2024-01-25": State.MISSING}


def test_days_before_the_first_file_have_no_data_and_the_listing_is_the_evidence(sandbox, client):
    located = find(sandbox, client, days_between(date(2024, 1, 18), date(2024, 1, 21)))
    assert held(located) == {f"{DAILY}{day}.zip": [day] for day in ("2024-01-20", "2024-01-21")}
    assert states(located) == {"2024-01-18": State.NO_DATA, "2024-01-19": State.NO_DATA}
    first = located.absent[0]
    assert first.series == HOURS
    assert first.partition == Partition("BTC/USDT", date(2024, 1, 18))
    assert first.reason == "not listed before 2024-01-20: the archive's first file"
    assert first.evidence == {
        "first_listed": "2024-01-20",
        "listing": sandbox.listing_url,
        "life": "before",
        "inferred": True,
        "looked_at": NOW.isoformat(),
    }


def test_a_day_that_should_be_there_and_is_not_is_missing_by_its_key(sandbox, client):
    sandbox.app.state.overrides[f"{DAILY}2024-02-10.zip"] = None
    sandbox.app.state.overrides[f"{MONTHLY}2024-02.zip"] = None
    located = find(sandbox, client, days_between(date(2024, 2, 9), date(2024, 2, 11)))
    assert states(located) == {"2024-02-10": State.MISSING}
    (outcome,) = located.absent
    assert outcome.reason == f"expected {DAILY}2024-02-10.zip by 2024-02-14, the archive does not list it"


@pytest.mark.parametrize(
    ("now", "state", "reason"),
    [
        (datetime(2024, 3, 10, 0, 0, tzinfo=UTC), State.PENDING, "the day has not ended"),
        (datetime(2024, 3, 10, 23, 59, 59, tzinfo=UTC), State.PENDING, "the day has not ended"),
        (
            datetime(2024, 3, 11, tzinfo=UTC),
            State.PENDING,
            "not published yet; expected by 2024-03-14 00:00 UTC",
        ),
        (
            datetime(2024, 3, 13, 23, 59, 59, tzinfo=UTC),
            State.PENDING,
            "not published yet; expected by 2024-03-14 00:00 UTC",
        ),
        (
            datetime(2024, 3, 14, tzinfo=UTC),
            State.MISSING,
            f"expected {DAILY}2024-03-10.zip by 2024-03-14, the archive does not list it",
        ),
    ],
)
def test_a_day_is_pending_until_its_tolerance_has_passed_and_missing_from_then_on(sandbox, client, now, state, reason):
    sandbox.app.state.overrides[f"{DAILY}2024-03-10.zip"] = None
    sandbox.app.state.overrides[f"{MONTHLY}2024-03.zip"] = None
    (outcome,) = find(sandbox, client, [date(2024, 3, 10)], now=now).absent
    assert (outcome.state, outcome.reason) == (state, reason)


def test_whether_a_day_has_ended_is_judged_in_utc_wherever_the_clock_stands(sandbox, client):
    from zoneinfo import ZoneInfo

    sandbox.app.state.overrides[f"{DAILY}2024-03-10.zip"] = None
    sandbox.app.state.overrides[f"{MONTHLY}2024-03.zip"] = None
    tokyo = datetime(2024, 3, 11, 8, 59, tzinfo=ZoneInfo("Asia/Tokyo"))  # 23:59 UTC of the day before
    (outcome,) = find(sandbox, client, [date(2024, 3, 10)], now=tokyo).absent
    assert outcome.reason == "the day has not ended"
    (outcome,) = find(sandbox, client, [date(2024, 3, 10)], now=tokyo + timedelta(minutes=1)).absent
    assert outcome.reason.startswith("not published yet")


def test_a_future_day_is_pending_beside_days_that_are_there(sandbox, client):
    located = find(sandbox, client, [date(2024, 3, 31), date(2024, 4, 19), date(2024, 4, 20), date(2024, 4, 21)])
    assert held(located) == {f"{DAILY}2024-03-31.zip": ["2024-03-31"]}
    assert states(located) == dict.fromkeys(("2024-04-19", "2024-04-20", "2024-04-21"), State.PENDING)


def test_a_file_published_meanwhile_is_found_by_the_next_look(sandbox, client):
    sandbox.app.state.source.now = datetime(2024, 3, 31, 7, 59, tzinfo=UTC)
    now = sandbox.app.state.source.now
    assert states(find(sandbox, client, [date(2024, 3, 30)], now=now)) == {"2024-03-30": State.PENDING}
    sandbox.app.state.source.now = now + timedelta(minutes=1)
    assert held(find(sandbox, client, [date(2024, 3, 30)], now=now)) == {f"{DAILY}2024-03-30.zip": ["2024-03-30"]}


def test_an_unknown_symbol_is_refused_with_those_that_are_like_it(sandbox, client):
    with pytest.raises(UnknownSymbol) as caught:
        find(sandbox, client, [date(2024, 2, 1)], symbol="BTCC/USDT")
    message = str(caught.value)
    assert message.startswith(
        "binance spot ohlcv_1h: the archive lists nothing for BTCC/USDT "
        "(expected keys under data/spot/daily/klines/BTCCUSDT/1h/); did you mean BTC/USDT"
    )
    assert "Check `symbols` in collection.yaml" in message
    assert caught.value.evidence == {"symbol": "BTCC/USDT"}


def test_a_symbol_like_no_other_is_refused_with_how_many_are_listed(sandbox, client):
    with pytest.raises(UnknownSymbol, match=r"lists nothing for QQQ/ZZZ .*; it lists 2 symbols. Check `symbols`"):
        find(sandbox, client, [date(2024, 2, 1)], symbol="QQQ/ZZZ")


def test_a_symbol_that_only_begins_like_another_is_unknown(sandbox, client):
    with pytest.raises(UnknownSymbol):
        find(sandbox, client, [date(2024, 2, 1)], symbol="BTC/USD")


def test_a_dated_future_is_not_mixed_with_the_perpetual(sandbox, client):
    series, day = series_of("ohlcv_1h", "linear"), date(2024, 2, 1)
    folder = "data/futures/um/daily/klines"
    assert held(find(sandbox, client, [day], series, "BTC/USDT:USDT-240628")) == {
        f"{folder}/BTCUSDT_240628/1h/BTCUSDT_240628-1h-2024-02-01.zip": ["2024-02-01"]
    }
    assert held(find(sandbox, client, [day], series, "BTC/USDT:USDT")) == {
        f"{folder}/BTCUSDT/1h/BTCUSDT-1h-2024-02-01.zip": ["2024-02-01"]
    }


def test_funding_rates_of_many_days_are_in_one_monthly_file_each_month(sandbox, client):
    series = series_of("funding_rates", "linear")
    days = days_between(date(2024, 1, 30), date(2024, 2, 2))
    folder = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-"
    located = find(sandbox, client, days, series, "BTC/USDT:USDT")
    assert held(located) == {
        f"{folder}2024-01.zip": ["2024-01-30", "2024-01-31"],
        f"{folder}2024-02.zip": ["2024-02-01", "2024-02-02"],
    }
    assert located.absent == []
    april = find(sandbox, client, [date(2024, 4, 1)], series, "BTC/USDT:USDT")
    assert states(april) == {"2024-04-01": State.PENDING}
    assert april.absent[0].reason == "not published yet; expected by 2024-06-05 00:00 UTC"


def test_the_first_listed_day_is_the_earlier_of_daily_and_monthly_files(sandbox, client):
    first = first_of(client, sandbox, "BTC/USDT")
    assert first == date(2024, 1, 20)
    for day in days_between(date(2024, 1, 1), date(2024, 2, 15)):
        sandbox.app.state.overrides[f"data/spot/daily/klines/ETHUSDT/1h/ETHUSDT-1h-{day}.zip"] = None
    first = first_of(client, sandbox, "ETH/USDT")
    assert first == date(2024, 1, 1)
    assert first_of(client, sandbox, "NO/USDT") is None


def test_a_key_that_is_no_data_does_not_hide_the_first_day(sandbox, client):
    sandbox.app.state.overrides["data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-0.zip"] = b"x"
    assert first_of(client, sandbox, "BTC/USDT") == date(2024, 1, 20)


def test_no_days_need_no_request(sandbox, client):
    assert find(sandbox, client, []) == Located([], [])
    assert sandbox.requests() == []


def test_a_listing_that_cannot_be_read_is_an_error_and_not_a_missing_day(serve, client):
    async def answer(request):
        return Response("<html>")

    with pytest.raises(ListingError):
        locate(ArchiveSite(client, BINANCE, serve(answer).url), Track(HOURS, "BTC/USDT"), [date(2024, 2, 1)], NOW)


def test_an_empty_archive_knows_no_symbol(serve, client):
    async def answer(request):
        return Response(xml())

    with pytest.raises(UnknownSymbol, match="it lists 0 symbols"):
        locate(ArchiveSite(client, BINANCE, serve(answer).url), Track(HOURS, "BTC/USDT"), [date(2024, 2, 1)], NOW)
