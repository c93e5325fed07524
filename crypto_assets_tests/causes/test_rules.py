"""Why days and minutes are not there."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.causes.known_outages import KnownOutage, known_outages
from crypto_assets.causes.outages import JointSilence, find_outages
from crypto_assets.causes.rules import Cause, Market, MarketIncident, MinuteSpan, cause_of_day, of_market
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.errors import BAD_FILES
from crypto_assets.ledger.minutes import StoredDay, moment
from crypto_assets.model import DAY, State
from crypto_assets.model.kinds import Kind
from crypto_assets_tests.quality.stored import Spans, published, published_5m, stored

TODAY = date(2024, 3, 4)
BTC, ETH = "BTC/USDT", "ETH/USDT"
OUTAGE = Cause(Kind.EXCHANGE_OUTAGE, {"chance": 1e-9})


def incident(first: int, end: int, cause: Cause = OUTAGE) -> MarketIncident:
    return MarketIncident(moment(TODAY, first), moment(TODAY, end), cause)


def shown(spans: list[MinuteSpan]) -> list[tuple[int, int, bool, Kind]]:
    """Return spans as minutes of the day."""
    minute = timedelta(minutes=1)
    return [
        ((one.start - moment(TODAY, 0)) // minute, (one.end - moment(TODAY, 0)) // minute, one.missing, one.cause.kind)
        for one in spans
    ]


def judged(
    *days: StoredDay, dataset: str = "ohlcv_1m", market_type: str = "spot", **more: Any
) -> list[tuple[int, int, bool, Kind]]:
    return shown(Market("binance", market_type, days, **more).spans(BTC, dataset, TODAY))


# ---- days -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "evidence", "kind"),
    [
        (None, {}, Kind.NOT_COLLECTED),
        (State.PENDING, {"first_listed": "2020-01-01"}, Kind.NOT_YET_PUBLISHED),
        (State.NO_DATA, {"first_listed": "2024-03-05"}, Kind.BEFORE_LISTING),
        (State.NO_DATA, {"first_listed": "2020-01-01", "last_listed": "2024-02-01"}, Kind.DELISTED),
        (State.NO_DATA, {"first_listed": "2020-01-01"}, Kind.ILLIQUID),
        (State.MISSING, {"first_listed": "2020-01-01", "asked_by_name": "404"}, Kind.UPSTREAM_ABSENT_FILE),
        (State.MISSING, {"error": "NotPublished"}, Kind.UPSTREAM_ABSENT_FILE),
        (State.MISSING, {"error": "UnknownSymbol"}, Kind.UPSTREAM_ABSENT_FILE),
        (State.MISSING, {"error": "HostRefused", "status": 410, "listed": "a.zip"}, Kind.UPSTREAM_ABSENT_FILE),
        (State.MISSING, {"error": "HostRefused", "status": 403, "listed": "a.zip"}, Kind.OUR_FAILURE),
        *((State.MISSING, {"error": error, "quarantine": "q"}, Kind.UPSTREAM_BAD_FILE) for error in BAD_FILES),
        *((State.CORRECTED, {"error": error}, Kind.UPSTREAM_BAD_FILE) for error in BAD_FILES),
        (State.MISSING, {"error": "SourceFault", "quarantine": "q"}, Kind.OUR_FAILURE),
        (State.CORRECTED, {"error": "SourceFault"}, Kind.OUR_FAILURE),
        *(
            (State.MISSING, {"error": error}, Kind.OUR_FAILURE)
            for error in ("HostUnreachable", "HostRefused", "CircuitOpen", "Stopped", "ListingError", "StoredDataError")
        ),
        (State.CORRECTED, {}, Kind.UNEXPLAINED),
        (State.DEGRADED, {"missing": "REST gave rows up to 12:00:00 UTC: stopped"}, Kind.OUR_FAILURE),
        (State.DEGRADED, {}, Kind.UPSTREAM_PARTIAL_FILE),
    ],
)
def test_a_day_has_the_cause_of_its_outcome(state: State | None, evidence: dict[str, Any], kind: Kind) -> None:
    assert cause_of_day(TODAY, state, evidence).kind is kind


def test_the_evidence_of_a_day_says_what_was_seen() -> None:
    absent = cause_of_day(TODAY, State.MISSING, {"first_listed": "2020-01-01", "asked_by_name": "404", "listing": "u"})
    assert absent.evidence == {"first_listed": "2020-01-01", "asked_by_name": "404"}
    refused = cause_of_day(TODAY, State.MISSING, {"error": "ChecksumMismatch", "quarantine": "q/x", "expected": "a"})
    assert refused.evidence == {"error": "ChecksumMismatch", "quarantine": "q/x"}
    findings = {"complete": {"passed": False, "missing": 3}, "unique_key": {"passed": True}}
    short = cause_of_day(TODAY, State.DEGRADED, {}, findings=findings)
    assert short.evidence == {"failed_checks": {"complete": {"passed": False, "missing": 3}}}


@pytest.mark.parametrize(
    ("evidence", "kind"),
    [
        ({"life": "before", "inferred": True, "first_listed": "2024-05-01"}, Kind.BEFORE_LISTING),
        ({"life": "after", "expired": "2024-03-29T08:00:00+00:00"}, Kind.DELISTED),
        ({"life": "between"}, Kind.DELISTED),
        (
            {"outage": {"what": "https://x"}, "inferred": True, "first_listed": "2020-01-01"},
            Kind.EXCHANGE_OUTAGE,
        ),
    ],
)
def test_a_day_without_data_has_the_cause_that_its_evidence_names(evidence: dict[str, Any], kind: Kind) -> None:
    assert cause_of_day(TODAY, State.NO_DATA, evidence).kind is kind


def test_a_day_that_lies_wholly_in_a_known_outage_lacks_for_that_reason() -> None:
    one = KnownOutage(
        "x", "spot", moment(TODAY, 0), moment(TODAY + DAY, 0), Kind.EXCHANGE_OUTAGE, "minute", "all", "https://x"
    )
    cause = cause_of_day(TODAY, State.MISSING, {}, known=[one])
    assert (cause.kind, cause.evidence["source"]) == (Kind.EXCHANGE_OUTAGE, "https://x")
    later = cause_of_day(TODAY + DAY, State.MISSING, {}, known=[one])
    assert later.kind is Kind.UPSTREAM_ABSENT_FILE
    assert cause_of_day(TODAY, State.MISSING, {"error": "BadContainer"}, known=[one]).kind is Kind.UPSTREAM_BAD_FILE


def test_a_partial_day_has_the_cause_of_most_of_the_minutes_that_no_outage_explains() -> None:
    market = Market("binance", "spot", [stored(BTC, TODAY, absent=[(100, 110), (500, 580)])], [incident(480, 600)])
    cause = cause_of_day(TODAY, State.DEGRADED, {}, market.spans(BTC, "ohlcv_1m", TODAY))
    assert cause == Cause(Kind.UNEXPLAINED, {"minutes": {"unexplained": 10, "exchange_outage": 80}})
    explained = Market("binance", "spot", [stored(BTC, TODAY, absent=[(500, 580)])], [incident(480, 600)])
    cause = cause_of_day(TODAY, State.DEGRADED, {}, explained.spans(BTC, "ohlcv_1m", TODAY))
    assert cause == Cause(Kind.EXCHANGE_OUTAGE, {"minutes": {"exchange_outage": 80}})


# ---- minutes of bars --------------------------------------------------------------------------------------------------


def test_an_empty_bar_is_illiquid_and_lacks_no_row() -> None:
    market = Market("binance", "spot", [stored(BTC, TODAY, silent=[(5, 6), (90, 95)]), stored(ETH, TODAY)])
    spans = market.spans(BTC, "ohlcv_1m", TODAY)
    assert shown(spans) == [(5, 6, False, Kind.ILLIQUID), (90, 95, False, Kind.ILLIQUID)]
    assert [one.cause.evidence for one in spans] == [{"bars_without_trades": 1}, {"bars_without_trades": 5}]
    assert not any(one.misses_rows for one in spans)


def test_a_bar_that_is_not_there_while_others_traded_lacks_from_the_file() -> None:
    one = stored(BTC, TODAY, absent=[(700, 716)])
    market = Market("binance", "spot", [one, stored(ETH, TODAY), stored("X/USDT", TODAY, silent=[(600, 800)])])
    (span,) = market.spans(BTC, "ohlcv_1m", TODAY)
    assert shown([span]) == [(700, 716, True, Kind.UPSTREAM_PARTIAL_FILE)]
    assert span.cause.evidence == {"symbols_trading_meanwhile": 1}
    assert span.misses_rows


def test_a_bar_that_is_not_there_has_no_cause_where_nothing_can_be_compared() -> None:
    one = stored(BTC, TODAY, absent=[(700, 716)])
    assert judged(one) == [(700, 716, True, Kind.UNEXPLAINED)]
    hourly = stored(ETH, TODAY, dataset="ohlcv_1h")  # its bar of 11:00 traded; in which minutes is not known
    assert judged(one, hourly) == [(700, 716, True, Kind.UNEXPLAINED)]


def test_rows_that_are_not_there_yet_are_no_proof_that_others_traded() -> None:
    one = stored(BTC, TODAY, absent=[(700, 716)])
    until_ten = StoredDay(ETH, "ohlcv_1m", TODAY, moment(TODAY, 600))
    assert judged(one, until_ten) == [(700, 716, True, Kind.UNEXPLAINED)]


def test_an_outage_explains_what_lies_in_it_and_no_more() -> None:
    one = stored(BTC, TODAY, silent=[(480, 500)], absent=[(500, 520)])
    assert judged(one, stored(ETH, TODAY, silent=[(490, 510)]), incidents=[incident(490, 510)]) == [
        (480, 490, False, Kind.ILLIQUID),
        (490, 500, False, Kind.EXCHANGE_OUTAGE),
        (500, 510, True, Kind.EXCHANGE_OUTAGE),
        (510, 520, True, Kind.UPSTREAM_PARTIAL_FILE),
    ]


def test_trades_of_the_symbol_contradict_an_outage() -> None:
    one = stored(BTC, TODAY, silent=[(480, 500)], absent=[(500, 510)])
    trades = stored(BTC, TODAY, dataset="trades", silent=[(480, 490)])
    market = Market("binance", "spot", [one, trades], [incident(480, 510)])
    spans = market.spans(BTC, "ohlcv_1m", TODAY)
    assert shown(spans) == [
        (480, 490, False, Kind.EXCHANGE_OUTAGE),
        (490, 500, False, Kind.UPSTREAM_PARTIAL_FILE),
        (500, 510, True, Kind.UPSTREAM_PARTIAL_FILE),
    ]
    assert spans[1].cause.evidence == {"traded_in": "trades"}


def test_a_five_minute_bar_is_judged_as_a_whole() -> None:
    one = stored(BTC, TODAY, absent=[(500, 510)], dataset="ohlcv_5m")
    minutes = stored(BTC, TODAY, silent=[(501, 510)])
    assert judged(one, minutes, dataset="ohlcv_5m", incidents=[incident(501, 510)]) == [
        (500, 505, True, Kind.UPSTREAM_PARTIAL_FILE),
        (505, 510, True, Kind.EXCHANGE_OUTAGE),
    ]


def test_minutes_before_the_first_and_after_the_last_trade_of_a_symbol_are_no_gap() -> None:
    one = stored(BTC, TODAY, absent=[(0, 600), (1000, MINUTES)])
    unlisted = {(BTC, "ohlcv_1m", TODAY - DAY), (BTC, "ohlcv_1m", TODAY + DAY)}
    assert judged(one, stored(ETH, TODAY), unlisted=unlisted) == [
        (0, 600, True, Kind.BEFORE_LISTING),
        (1000, MINUTES, True, Kind.DELISTED),
    ]
    assert judged(one, stored(ETH, TODAY))[0] == (0, 600, True, Kind.UPSTREAM_PARTIAL_FILE)


def test_files_that_were_cut_together_lack_rows() -> None:
    days = [
        stored(symbol, day, absent=[(456, MINUTES)] if day == TODAY else ())
        for symbol in (BTC, ETH)
        for day in (TODAY - DAY, TODAY, TODAY + DAY)
    ]
    found = find_outages(days)
    assert of_market(found, []) == []
    market = Market("binance", "spot", days, cuts=found)
    (span,) = market.spans(BTC, "ohlcv_1m", TODAY)
    assert shown([span]) == [(456, MINUTES, True, Kind.UPSTREAM_PARTIAL_FILE)]
    assert span.cause.evidence == {"files_that_end_there_together": 2}


# ---- minutes of trades ------------------------------------------------------------------------------------------------


def trades(silent: Spans = (), day: date = TODAY, **ids: int) -> StoredDay:
    return stored(BTC, day, silent, dataset="trades", **ids)


def test_silence_between_trades_whose_ids_run_on_is_illiquid() -> None:
    assert judged(trades([(700, 706)], missing_ids=0), dataset="trades") == [(700, 706, False, Kind.ILLIQUID)]
    assert judged(trades([(700, 706)], missing_ids=9), dataset="trades") == [(700, 706, False, Kind.UNEXPLAINED)]
    # Futures hide ids every day.
    hidden = judged(trades([(700, 706)], missing_ids=9), dataset="trades", market_type="linear")
    assert hidden == [(700, 706, False, Kind.ILLIQUID)]


def test_a_silence_that_is_too_long_for_the_symbol_is_unexplained_and_misses_no_rows() -> None:
    for one in (trades([(700, 760)], missing_ids=0), stored(BTC, TODAY, [(700, 760)], dataset="trades")):
        (span,) = Market("binance", "spot", [one]).spans(BTC, "trades", TODAY)
        assert shown([span]) == [(700, 760, False, Kind.UNEXPLAINED)]
        assert (span.only_silent, span.misses_rows) == (True, False)
        assert span.cause.evidence["chance"] < 1e-9
        assert span.cause.evidence["symbols_trading_meanwhile"] == 0
    # Ids that are missing on the same day may be of just these minutes.
    (span,) = Market("binance", "spot", [trades([(700, 760)], missing_ids=9)]).spans(BTC, "trades", TODAY)
    assert (span.only_silent, span.misses_rows, span.cause.evidence) == (False, True, {"missing_ids_of_the_day": 9})


@pytest.mark.parametrize(
    ("market_type", "first_id", "kind"),
    [
        ("spot", 501, Kind.ILLIQUID),
        ("spot", 502, Kind.UPSTREAM_PARTIAL_FILE),
        ("linear", 601, Kind.ILLIQUID),
        ("linear", 602, Kind.UPSTREAM_PARTIAL_FILE),
    ],
)
def test_ids_over_midnight_tell_whether_a_file_was_cut(market_type: str, first_id: int, kind: Kind) -> None:
    yesterday = trades(day=TODAY - DAY, first_id=1, last_id=500)
    today = trades([(0, 8)], first_id=first_id, last_id=9000, missing_ids=0)
    assert judged(yesterday, today, dataset="trades", market_type=market_type) == [(0, 8, False, kind)]
    # Ten hours without a trade are no thin trading of a busy symbol, and yet no row is missing where the ids run on.
    longer = trades([(0, 600)], first_id=first_id, last_id=9000, missing_ids=0)
    (span,) = Market("binance", market_type, [yesterday, longer]).spans(BTC, "trades", TODAY)
    assert span.cause.kind is (Kind.UNEXPLAINED if kind is Kind.ILLIQUID else kind)
    assert span.misses_rows is (kind is not Kind.ILLIQUID)


def test_ids_after_midnight_tell_whether_the_end_was_cut() -> None:
    today = trades([(1000, MINUTES)], first_id=1, last_id=500, missing_ids=0)
    cut = judged(today, trades(day=TODAY + DAY, first_id=900, last_id=999), dataset="trades")
    assert cut == [(1000, MINUTES, False, Kind.UPSTREAM_PARTIAL_FILE)]


def test_a_silent_edge_without_ids_beside_it_is_told_by_other_symbols() -> None:
    today = trades([(0, 1434)])
    assert judged(today, dataset="trades") == [(0, 1434, False, Kind.UNEXPLAINED)]
    assert judged(today, stored(ETH, TODAY), dataset="trades") == [(0, 1434, False, Kind.UPSTREAM_PARTIAL_FILE)]
    assert judged(trades([(0, 8)]), stored(ETH, TODAY), dataset="trades") == [(0, 8, False, Kind.ILLIQUID)]
    hour = Market("binance", "spot", [trades([(0, 60)]), stored(ETH, TODAY)]).spans(BTC, "trades", TODAY)
    assert shown(hour) == [(0, 60, False, Kind.UNEXPLAINED)]
    assert (hour[0].misses_rows, hour[0].cause.evidence["symbols_trading_meanwhile"]) == (False, 1)


# ---- outages of a market ----------------------------------------------------------------------------------------------


def test_a_known_outage_and_the_silence_that_touches_it_are_one() -> None:
    known = KnownOutage(
        "x", "spot", moment(TODAY, 500), moment(TODAY, 560), Kind.EXCHANGE_OUTAGE, "minute", "upgrade", "https://x"
    )
    touching = JointSilence(moment(TODAY, 510), moment(TODAY, 570), (BTC, ETH), 1e-9)
    other = JointSilence(moment(TODAY, 900), moment(TODAY, 930), (BTC, ETH), 1e-8)
    one, two = of_market([other, touching], [known])
    assert (one.start, one.end, one.reference, one.symbols) == (
        moment(TODAY, 500),
        moment(TODAY, 570),
        "https://x",
        (BTC, ETH),
    )
    assert one.cause.evidence["silent"] == [
        {"start": "2024-03-04T08:30:00+00:00", "end": "2024-03-04T09:30:00+00:00", "chance": 1e-9}
    ]
    assert (two.start, two.end, two.reference, two.cause.kind) == (other.start, other.end, None, Kind.EXCHANGE_OUTAGE)


def test_a_silence_that_is_known_to_be_a_defect_of_the_bars_is_no_outage() -> None:
    (known, _) = known_outages(
        "binance", "linear", datetime(2025, 1, 29, tzinfo=UTC), datetime(2025, 1, 30, tzinfo=UTC)
    )
    silence = JointSilence(known.start, known.end, (BTC, ETH), 1e-9)
    (one,) = of_market([silence], [known])
    assert one.cause.kind is Kind.UPSTREAM_PARTIAL_FILE
    assert str(one.reference).endswith("/395")


@given(
    silent=st.lists(st.tuples(st.integers(0, 1400), st.integers(1, 40)), max_size=6),
    absent=st.lists(st.tuples(st.integers(0, 1400), st.integers(1, 40)), max_size=6),
    outage=st.tuples(st.integers(0, 1400), st.integers(1, 40)),
    others=st.booleans(),
)
def test_every_minute_has_exactly_one_cause(
    silent: list[tuple[int, int]], absent: list[tuple[int, int]], outage: tuple[int, int], others: bool
) -> None:
    one = stored(BTC, TODAY, [(a, a + n) for a, n in silent], [(a, a + n) for a, n in absent])
    beside = [stored(ETH, TODAY)] if others else []
    market = Market("binance", "spot", [one, *beside], incidents=[incident(outage[0], sum(outage))])
    all_spans = market.spans(BTC, "ohlcv_1m", TODAY)
    assert market.spans(BTC, "ohlcv_1m", TODAY, 5) == [s for s in all_spans if s.end - s.start >= timedelta(minutes=5)]
    spans = shown(all_spans)
    minutes = [minute for first, end, *_ in spans for minute in range(first, end)]
    assert len(minutes) == len(set(minutes)) == one.untraded.bit_count()
    assert all(one.untraded >> (MINUTES - 1 - minute) & 1 for minute in minutes)


# ---- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_446_empty_bars_of_a_thin_market_are_illiquid(realdata: Path) -> None:
    days = published(realdata, "ALGOUSDT", "ALGO/USDT:USDT")
    market = Market("binance", "linear", days)
    spans = [span for one in days for span in market.spans(one.symbol, one.dataset, one.day)]
    assert len(spans) == 415
    assert sum(span.cause.evidence["bars_without_trades"] for span in spans) == 446
    assert {(span.cause.kind, span.missing, span.misses_rows) for span in spans} == {(Kind.ILLIQUID, False, False)}
    assert max(span.end - span.start for span in spans) == timedelta(minutes=5)


@pytest.mark.realdata
def test_the_bars_that_lack_on_2023_03_24_are_a_known_outage(realdata: Path) -> None:
    days = published_5m(realdata)
    assert [one.day.day for one in days] == [23, 24, 25]
    known = known_outages("binance", "spot", moment(days[0].day, 0), moment(days[-1].day, MINUTES))
    market = Market("binance", "spot", days, of_market(find_outages(days), known))
    empty, lacking = market.spans("BTC/USDT", "ohlcv_5m", date(2023, 3, 24))
    noon = datetime(2023, 3, 24, 12, tzinfo=UTC)
    assert (empty.start, empty.end) == (noon - timedelta(minutes=30), noon + timedelta(minutes=40))
    assert (lacking.start, lacking.end) == (noon + timedelta(minutes=40), noon + timedelta(hours=2))
    assert (empty.missing, lacking.missing) == (False, True)
    assert (lacking.end - lacking.start) // timedelta(minutes=5) == 16
    for span in (empty, lacking):
        assert span.cause.kind is Kind.EXCHANGE_OUTAGE
        assert span.cause.evidence["known"] == "the matching engine stopped at a trailing stop order"
        assert str(span.cause.evidence["source"]).startswith("https://www.binance.com/en/blog/")
    assert market.spans("BTC/USDT", "ohlcv_5m", date(2023, 3, 23)) == []
    assert market.spans("BTC/USDT", "ohlcv_5m", date(2023, 3, 25)) == []
