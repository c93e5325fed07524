"""Incidents in a real PostgreSQL, made from profiles; gaps with their causes; the command that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from crypto_assets.causes.incidents import Incident, read_incidents, refresh_incidents
from crypto_assets.causes.market_outages import outage_minutes
from crypto_assets.cli import cli
from crypto_assets.config.collection import SeriesEntry
from crypto_assets.ledger.gaps import Gap
from crypto_assets.ledger.minutes import StoredDay, moment
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.model import DAY, Outcome, Partition, Series, State, StoredFile
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.gap_causes import as_json, explain
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.quality.stored import days, flags, profile, published, published_5m, put_files, stored
from crypto_assets_tests.workbench import entry

FIRST = date(2024, 3, 4)
SPOT, LINEAR = ("binance", "spot"), ("binance", "linear")
BTC, ETH = "BTC/USDT", "ETH/USDT"
AVAX, FIL = "AVAX/USDT:USDT", "FIL/USDT:USDT"


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


def keep(ledger: Ledger, stored_days: Iterable[StoredDay], market: tuple[str, str] = SPOT) -> None:
    by_dataset: dict[str, list[StoredDay]] = {}
    for one in stored_days:
        by_dataset.setdefault(one.dataset, []).append(one)
    with ledger.transaction() as connection:
        for dataset, mine in by_dataset.items():
            write_profiles(connection, Series.named(*market, dataset), [profile(one) for one in mine])


def pair(spans: dict[date, Any], count: int = 3, absent: bool = False) -> list[StoredDay]:
    what = "absent" if absent else "silent"
    return [
        stored(symbol, day, **{what: spans.get(day, ())})
        for symbol in (BTC, ETH)
        for day in days(FIRST - DAY, count + 1)
    ]


def kept(ledger: Ledger, **given: Any) -> list[Incident]:
    with ledger.transaction() as connection:
        return read_incidents(connection, **given)


def versions(ledger: Ledger) -> list[Any]:
    with ledger.transaction() as connection:
        return connection.execute("SELECT incident_id, xmin FROM collection.incidents ORDER BY 1").fetchall()


def brief(found: Iterable[Incident]) -> list[tuple[Kind, str | None, str, str]]:
    return [(one.kind, one.symbol, f"{one.start_time:%d %H:%M}", f"{one.end_time:%d %H:%M}") for one in found]


# ---- refreshing -------------------------------------------------------------------------------------------------------


def test_an_outage_is_kept_with_its_evidence_and_not_written_twice(ledger: Ledger) -> None:
    keep(ledger, pair({FIRST: [(500, 520)]}))
    (one,) = refresh_incidents(ledger, SPOT, FIRST, FIRST)
    assert (one.exchange, one.market_type, one.symbol, one.dataset) == (*SPOT, None, None)
    assert (one.kind, one.start_time, one.end_time) == (Kind.EXCHANGE_OUTAGE, moment(FIRST, 500), moment(FIRST, 520))
    assert (one.symbols, one.source, one.reference) == ((BTC, ETH), "found", None)
    assert one.evidence["silent_symbols"] == 2
    assert one.evidence["chance"] < 1e-9
    assert kept(ledger) == [one]
    before = versions(ledger)
    assert len(before) == 1
    assert refresh_incidents(ledger, Series.named(*SPOT, "ohlcv_1m"), FIRST, FIRST) == [one]
    assert refresh_incidents(ledger, SPOT, FIRST - DAY, FIRST + DAY) == [one]
    assert versions(ledger) == before


def test_an_outage_that_grows_over_midnight_stays_one_row(ledger: Ledger) -> None:
    keep(ledger, pair({FIRST: [(1400, 1440)]}, count=1))
    assert brief(refresh_incidents(ledger, SPOT, FIRST, FIRST)) == [
        (Kind.EXCHANGE_OUTAGE, None, "04 23:20", "05 00:00")
    ]
    before = versions(ledger)
    keep(ledger, pair({FIRST: [(1400, 1440)], FIRST + DAY: [(0, 30)]}))
    assert brief(refresh_incidents(ledger, SPOT, FIRST + DAY, FIRST + DAY)) == [
        (Kind.EXCHANGE_OUTAGE, None, "04 23:20", "05 00:30")
    ]
    assert [number for number, _ in versions(ledger)] == [number for number, _ in before]


def test_an_incident_that_no_longer_holds_is_removed_and_others_stay(ledger: Ledger) -> None:
    keep(ledger, pair({FIRST: [(500, 520)], FIRST + DAY: [(600, 640)]}))
    assert len(refresh_incidents(ledger, SPOT, FIRST, FIRST + DAY)) == 2
    keep(ledger, [stored(ETH, FIRST), stored(ETH, FIRST + DAY)])
    left = refresh_incidents(ledger, SPOT, FIRST, FIRST)
    assert [one for one in left if one.kind is Kind.EXCHANGE_OUTAGE] == []
    assert (Kind.EXCHANGE_OUTAGE, None, "05 10:00", "05 10:40") in brief(kept(ledger)), "not asked about"
    refresh_incidents(ledger, SPOT, FIRST + DAY, FIRST + DAY)
    assert kept(ledger, kinds=[Kind.EXCHANGE_OUTAGE]) == []


def test_a_part_of_a_long_incident_can_end_without_losing_the_rest(ledger: Ledger) -> None:
    long = {day: [(0, 1440)] for day in days(FIRST, 3)} | {FIRST - DAY: [(1000, 1440)], FIRST + 3 * DAY: [(0, 100)]}

    def around(spans: dict[date, Any]) -> list[StoredDay]:
        return [stored(s, day, spans.get(day, ())) for s in (BTC, ETH) for day in days(FIRST - 2 * DAY, 8)]

    keep(ledger, around(long))
    assert brief(refresh_incidents(ledger, SPOT, FIRST + DAY, FIRST + DAY)) == [
        (Kind.EXCHANGE_OUTAGE, None, "03 16:40", "07 01:40")
    ]
    keep(ledger, around(long | {FIRST + DAY: []}))
    assert refresh_incidents(ledger, SPOT, FIRST + DAY, FIRST + DAY) == []
    assert brief(kept(ledger)) == [
        (Kind.EXCHANGE_OUTAGE, None, "03 16:40", "05 00:00"),
        (Kind.EXCHANGE_OUTAGE, None, "06 00:00", "07 01:40"),
    ]


def test_rows_that_lack_in_one_symbol_are_an_incident_of_its_dataset(ledger: Ledger) -> None:
    keep(ledger, [stored(BTC, FIRST, absent=[(700, 716), (900, 903)]), stored(ETH, FIRST)])
    (one,) = refresh_incidents(ledger, SPOT, FIRST, FIRST)
    assert brief([one]) == [(Kind.UPSTREAM_PARTIAL_FILE, BTC, "04 11:40", "04 11:56")]
    assert (one.dataset, one.symbols) == ("ohlcv_1m", (BTC,))
    assert one.evidence == {"symbols_trading_meanwhile": 1, "missing": True}


def test_only_silences_that_are_rare_for_the_symbol_have_a_row(ledger: Ledger) -> None:
    ordinary = [(minute, minute + 6) for minute in range(0, 1440, 12)]
    keep(
        ledger,
        [
            stored(BTC, FIRST, silent=[(300, 304), (700, 740)]),
            stored(BTC, FIRST, silent=[(300, 304), (700, 740)], dataset="ohlcv_5m"),
            stored(BTC, FIRST, silent=[(300, 304), (700, 740)], dataset="trades", missing_ids=0),
            stored(ETH, FIRST, silent=ordinary),
        ],
    )
    (one,) = refresh_incidents(ledger, SPOT, FIRST, FIRST)
    assert brief([one]) == [(Kind.UNEXPLAINED, BTC, "04 11:40", "04 12:20")]
    assert one.dataset is None
    assert one.evidence["chance"] < 1e-6
    assert one.evidence["symbols_trading_meanwhile"] == 1


def test_a_known_outage_is_kept_with_its_source_for_a_single_symbol(ledger: Ledger) -> None:
    day = date(2020, 2, 19)
    keep(ledger, [stored(BTC, day, absent=[(696, 1050)])])
    (one,) = refresh_incidents(ledger, SPOT, day, day)
    assert (one.kind, one.symbol, one.source) == (Kind.EXCHANGE_OUTAGE, None, "known")
    assert one.reference == "https://github.com/binance/binance-public-data/issues/84"
    assert one.start_time == datetime(2020, 2, 19, 11, 35, 33, tzinfo=UTC)
    assert one.evidence["precision"] == "second"
    assert one.symbols == ()


def test_markets_do_not_mix(ledger: Ledger) -> None:
    keep(ledger, [stored(BTC, FIRST, silent=[(500, 520)])])
    keep(ledger, [stored("BTC/USDT:USDT", FIRST, silent=[(500, 520)])], LINEAR)
    assert [one.kind for one in refresh_incidents(ledger, SPOT, FIRST, FIRST)] == [Kind.UNEXPLAINED]
    assert [one.symbol for one in refresh_incidents(ledger, LINEAR, FIRST, FIRST)] == ["BTC/USDT:USDT"]
    assert len(kept(ledger)) == 2


def test_incidents_are_found_by_everything_that_is_given(ledger: Ledger) -> None:
    spans = {FIRST: [(500, 520)], FIRST + DAY: [(1430, 1440)], FIRST + 2 * DAY: [(0, 10)]}
    keep(ledger, [*pair(spans, count=4), stored("X/USDT", FIRST + 4 * DAY, silent=[(100, 180)])])
    keep(ledger, [stored("X/USDT", FIRST, silent=[(500, 520)])])
    refresh_incidents(ledger, SPOT, FIRST, FIRST + 4 * DAY)

    def found(**given: Any) -> list[str]:
        return [f"{one.start_time:%d} {one.kind}" for one in kept(ledger, **given)]

    assert found() == ["04 exchange_outage", "05 exchange_outage", "08 unexplained"]
    assert found(first=FIRST + 2 * DAY) == ["05 exchange_outage", "08 unexplained"]
    assert found(last=FIRST) == ["04 exchange_outage"]
    assert found(symbols=["X/USDT"]) == found(), "an outage of the market is one of the symbol too"
    assert found(symbols=[BTC], kinds=[Kind.UNEXPLAINED]) == []
    assert found(kinds=[Kind.UNEXPLAINED]) == ["08 unexplained"]
    assert (found(exchange="okx"), found(market_type="linear"), len(found(limit=1))) == ([], [], 1)


def test_the_minutes_of_outages_are_given_by_day(ledger: Ledger) -> None:
    keep(ledger, pair({FIRST: [(500, 520), (1430, 1440)], FIRST + DAY: [(0, 15)]}))
    refresh_incidents(ledger, SPOT, FIRST, FIRST + DAY)
    with ledger.transaction() as connection:
        found = outage_minutes(connection, *SPOT, FIRST, FIRST + 2 * DAY)
        unseen = outage_minutes(connection, *SPOT, date(2020, 2, 19), date(2020, 2, 20))
        other = outage_minutes(connection, *LINEAR, FIRST, FIRST + 2 * DAY)
    assert sorted(found) == [FIRST, FIRST + DAY]
    np.testing.assert_array_equal(found[FIRST], flags([(500, 520), (1430, 1440)]))
    np.testing.assert_array_equal(found[FIRST + DAY], flags([(0, 15)]))
    assert found[FIRST].dtype == bool
    assert list(unseen) == [date(2020, 2, 19)]
    np.testing.assert_array_equal(unseen[date(2020, 2, 19)], flags([(696, 1050)]))
    assert other == {}


def test_an_outage_is_found_among_a_thousand_symbols_over_a_month(ledger: Ledger) -> None:
    random = np.random.default_rng(3)
    month = days(FIRST, 30)
    made = []
    for number in range(1000):
        quiet = random.uniform(0, 0.6) ** 4
        for day in month:
            minutes = random.random(1440) < quiet
            minutes[700:730] |= day == FIRST + 9 * DAY
            made.append(stored(f"S{number}/USDT", day))
            object.__setattr__(made[-1], "silent", np.packbits(minutes).tobytes() if minutes.any() else None)
    keep(ledger, made)
    found = refresh_incidents(ledger, SPOT, FIRST, month[-1])
    outages = [one for one in found if one.kind is Kind.EXCHANGE_OUTAGE]
    assert brief(outages) == [(Kind.EXCHANGE_OUTAGE, None, "13 11:40", "13 12:10")]
    assert len(outages[0].symbols) == 1000
    assert len(found) < 200


# ---- gaps -------------------------------------------------------------------------------------------------------------


def gap(state: State | None, day: date = FIRST, evidence: dict[str, Any] | None = None, symbol: str = BTC) -> Gap:
    one = SeriesEntry.model_validate(entry("spot", ["ohlcv_1m"], [BTC, ETH], FIRST))
    return Gap(one, Series.named(*SPOT, "ohlcv_1m"), symbol, day, state, "it lacks", evidence or {})


def test_gaps_have_causes_and_the_minutes_that_lack(ledger: Ledger) -> None:
    keep(ledger, pair({FIRST: [(500, 520)]}, absent=True))
    keep(ledger, [stored(BTC, FIRST, absent=[(500, 520), (600, 603)], silent=[(100, 101)])])
    degraded, bad, never = explain(
        ledger,
        [
            gap(State.DEGRADED),
            gap(State.MISSING, FIRST + DAY, {"error": "BadContainer"}),
            gap(None, FIRST + 2 * DAY),
        ],
    )
    assert [one.cause.kind for one in (degraded, bad, never)] == [
        Kind.UPSTREAM_PARTIAL_FILE,  # the outage is excused; three other minutes keep the day partial
        Kind.UPSTREAM_BAD_FILE,
        Kind.NOT_COLLECTED,
    ]
    answer = as_json(degraded)
    assert (answer["symbol"], answer["day"], answer["cause"]) == (BTC, "2024-03-04", "upstream_partial_file")
    assert answer["cause_evidence"] == {"minutes": {"exchange_outage": 20, "upstream_partial_file": 3}}
    assert [(one["start"][11:16], one["end"][11:16], one["cause"], one["missing"]) for one in answer["minutes"]] == [
        ("08:20", "08:40", "exchange_outage", True),
        ("10:00", "10:03", "upstream_partial_file", True),
    ]
    assert json.loads(json.dumps(answer)) == answer
    assert (as_json(bad)["minutes"], as_json(never)["cause_evidence"]) == ([], {})
    assert explain(ledger, []) == []


def test_a_first_day_that_begins_late_is_told_by_the_ledger(ledger: Ledger) -> None:
    keep(ledger, [stored(BTC, FIRST, absent=[(0, 600)]), stored(ETH, FIRST)])
    series = Series.named(*SPOT, "ohlcv_1m")
    ledger.record_outcomes([Outcome(series, Partition(BTC, FIRST - DAY), State.NO_DATA, "not listed before")])
    (one,) = explain(ledger, [gap(State.DEGRADED)])
    assert one.cause.kind is Kind.BEFORE_LISTING
    assert brief(refresh_incidents(ledger, SPOT, FIRST, FIRST)) == [(Kind.BEFORE_LISTING, BTC, "04 00:00", "04 10:00")]


# ---- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_incidents(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", ledger.url)

    def run(*words: str) -> str:
        answer = CliRunner().invoke(cli, ["incidents", *words], catch_exceptions=False)
        assert answer.exit_code == 0
        return answer.output

    assert "no incidents are known" in run()
    keep(ledger, [*pair({FIRST: [(500, 520)]}), stored(BTC, date(2023, 3, 24))])
    refresh_incidents(ledger, SPOT, FIRST, FIRST)
    refresh_incidents(ledger, SPOT, date(2023, 3, 24), date(2023, 3, 24))
    known, found = run().splitlines()
    assert known == (
        "binance spot 2023-03-24 11:27 – 14:00 UTC (153 min): exchange_outage, known: the matching engine stopped at a "
        "trailing stop order, https://www.binance.com/en/blog/from-cz/"
        "a-look-behind-the-scenes-at-why-spot-trading-temporarily-stopped-6789340645608890113"
    )
    assert found.startswith("binance spot 2024-03-04 08:20 – 08:40 UTC (20 min): exchange_outage, found: chance ")
    assert run("--from", "2024-01-01").splitlines() == [found]
    assert run("--to", "2024-01-01", "--symbol", "BTC-USDT").splitlines() == [known]
    assert "no incidents" in run("--kind", "illiquid")
    (one,) = json.loads(run("--from", "2024-01-01", "--json"))
    assert (one["kind"], one["start_time"], one["symbols"]) == (
        "exchange_outage",
        "2024-03-04T08:20:00+00:00",
        [BTC, ETH],
    )
    assert CliRunner().invoke(cli, ["incidents", "--kind", "holiday"]).exit_code == 2


def test_gaps_for_people_name_the_minutes_that_lack_and_their_causes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "collection.yaml").write_text(
        yaml.safe_dump({"series": [entry("spot", ["ohlcv_1m"], [BTC], date(2023, 3, 24), warehouse=False)]})
    )
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", ledger.url)
    day = date(2023, 3, 24)
    keep(ledger, [stored(BTC, day, absent=[(760, 840), (900, 902)])])
    series, file = Series.named(*SPOT, "ohlcv_1m"), StoredFile("x.parquet", 1358, 1, "c" * 64)
    outcome = Outcome(series, Partition(BTC, day), State.DEGRADED, "complete: missing 82", stored=file)
    ledger.record_outcomes([outcome])
    put_files(tmp_path / "lake", [outcome])
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    answer = CliRunner().invoke(cli, ["gaps", "--to", str(day)], catch_exceptions=False)
    assert answer.exit_code == 1
    first, outage, unknown = answer.output.splitlines()
    assert first == "binance spot BTC/USDT ohlcv_1m 2023-03-24: partial: complete: missing 82 [unexplained]"
    assert outage.startswith("  2023-03-24 12:40–13:59: missing [exchange_outage]: known the matching engine stopped")
    assert "source https://www.binance.com/en/blog/" in outage
    assert unknown == "  2023-03-24 15:00–15:01: missing [unexplained]: symbols trading meanwhile 0"


# ---- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_outage_of_2023_09_12_is_an_incident_from_two_symbols_and_without_the_list(
    ledger: Ledger, realdata: Path
) -> None:
    keep(ledger, published(realdata, "AVAXUSDT", AVAX) + published(realdata, "FILUSDT", FIL), LINEAR)
    start, end = datetime(2023, 9, 12, 8, 34, tzinfo=UTC), datetime(2023, 9, 12, 8, 53, tzinfo=UTC)
    september = date(2023, 9, 1), date(2023, 9, 30)
    (one,) = refresh_incidents(ledger, LINEAR, *september, known=())
    assert (one.kind, one.start_time, one.end_time, one.source) == (Kind.EXCHANGE_OUTAGE, start, end, "found")
    assert one.symbols == (AVAX, FIL)
    (both,) = refresh_incidents(ledger, LINEAR, *september)
    assert (both.start_time, both.end_time, both.source) == (start, end, "known")
    assert str(both.reference).startswith("https://u.today/")
    assert both.evidence["silent"][0]["chance"] == one.evidence["chance"]
    assert kept(ledger) == [both]


@pytest.mark.realdata
def test_the_outage_of_2023_03_24_is_known_and_446_empty_bars_are_no_incident(ledger: Ledger, realdata: Path) -> None:
    keep(ledger, published_5m(realdata))
    (one,) = refresh_incidents(ledger, SPOT, date(2023, 3, 23), date(2023, 3, 25))
    assert (one.kind, one.source, one.end_time - one.start_time) == (
        Kind.EXCHANGE_OUTAGE,
        "known",
        timedelta(hours=2, minutes=33),
    )
    (explained,) = explain(ledger, [gap(State.DEGRADED, date(2023, 3, 24))])
    assert list(explained.spans) == [], "5m bars are another dataset"
    keep(ledger, published(realdata, "ALGOUSDT", "ALGO/USDT:USDT"), LINEAR)
    assert refresh_incidents(ledger, LINEAR, date(2024, 9, 1), date(2024, 9, 30)) == []
