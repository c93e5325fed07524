"""Many problems become few sentences, and no day is lost."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.engine.problems import Problem, lines, sentences, spans, word_of
from crypto_assets.model import Series, State, days_between

BARS = Series("binance", "spot", "ohlcv", "1m")
TRADES = Series("binance", "spot", "trades")
JANUARY = days_between(date(2024, 1, 1), date(2024, 1, 31))


def missing(day: date, reason: str, symbol: str = "BTC/USDT", series: Series = BARS) -> Problem:
    return Problem(series, symbol, day, State.MISSING, reason)


def test_one_bad_month_is_one_line_with_the_reason_of_its_first_day() -> None:
    found = spans(missing(day, f"x/BTCUSDT-1m-{day}.zip: sha256 {day.day:064x}, expected another") for day in JANUARY)

    assert [str(span) for span in found] == [
        (
            "binance spot BTC/USDT ohlcv_1m 2024-01-01 … 2024-01-31 (31 days): "
            f"missing: x/BTCUSDT-1m-2024-01-01.zip: sha256 {1:064x}, expected another"
        )
    ]


def test_milliseconds_of_a_url_do_not_make_two_failures() -> None:
    found = spans(
        missing(day, f"https://host/klines?startTime={1704067200000 + 86_400_000 * n}: 451")
        for n, day in enumerate(JANUARY[:2])
    )

    assert [(span.first, span.last) for span in found] == [(JANUARY[0], JANUARY[1])]


def test_another_reason_state_or_cause_ends_a_span() -> None:
    days = JANUARY[:5]
    found = spans(
        [
            missing(days[0], "404"),
            missing(days[1], "403"),
            Problem(BARS, "BTC/USDT", days[2], State.DEGRADED, "403"),
            Problem(BARS, "BTC/USDT", days[3], State.DEGRADED, "403", "exchange_outage"),
            Problem(BARS, "BTC/USDT", days[4], None),
        ]
    )

    assert [str(span).partition("ohlcv_1m ")[2] for span in found] == [
        "2024-01-01: missing: 404",
        "2024-01-02: missing: 403",
        "2024-01-03: partial: 403",
        "2024-01-04: partial: 403 [exchange_outage]",
        "2024-01-05: not collected yet",
    ]


def test_one_failure_of_many_symbols_is_one_sentence() -> None:
    symbols = [f"S{n:03}/USDT" for n in range(200)]
    found = sentences(missing(day, "cannot resolve host", symbol) for symbol in symbols for day in JANUARY)

    assert len(found) == 1
    assert found[0].days == 200 * 31
    assert str(found[0]) == (
        "binance spot S000/USDT ohlcv_1m, binance spot S001/USDT ohlcv_1m, binance spot S002/USDT ohlcv_1m and 197 more "
        "2024-01-01 … 2024-01-31 (31 days) each: missing: cannot resolve host"
    )


def test_days_here_and_there_with_one_reason_are_one_sentence() -> None:
    found = sentences(missing(day, "404") for day in JANUARY[::2])

    assert [str(one) for one in found] == [
        "binance spot BTC/USDT ohlcv_1m 2024-01-01 … 2024-01-31 (16 days in 16 spans): missing: 404"
    ]


def test_the_largest_failure_comes_first_and_the_rest_is_counted() -> None:
    problems = [missing(day, f"reason {chr(97 + day.day)}") for day in JANUARY]
    problems += [missing(day, "404", series=TRADES) for day in JANUARY]

    found = lines(problems, 3, "--verbose shows them")

    assert found[0].startswith("binance spot BTC/USDT trades 2024-01-01 … 2024-01-31 (31 days): missing")
    assert found[1].startswith("binance spot BTC/USDT ohlcv_1m 2024-01-01: ")
    assert found[2:] == ["… and 30 more days in 30 more lines: --verbose shows them"]


def test_there_is_one_word_for_each_absence() -> None:
    assert [word_of(state) for state in (None, State.MISSING, State.DEGRADED, State.NO_DATA)] == [
        "not collected yet",
        "missing",
        "partial",
        "no data",
    ]


@given(
    st.sets(
        st.tuples(
            st.sampled_from([BARS, TRADES]),
            st.sampled_from(["A/USDT", "B/USDT", "C/USDT"]),
            st.integers(0, 40),
            st.sampled_from([None, State.MISSING, State.DEGRADED]),
            st.sampled_from(["", "404", "at {}"]),
        ),
        max_size=60,
    )
)
def test_every_day_is_in_exactly_one_span_and_counted_once(drawn: set[tuple[Series, str, int, State, str]]) -> None:
    days = {(s, symbol, n): (s, symbol, n, state, reason) for s, symbol, n, state, reason in drawn}.values()
    first = date(2024, 1, 1)
    problems = [
        Problem(series, symbol, first + timedelta(n), state, reason.format(first + timedelta(n)))
        for series, symbol, n, state, reason in days
    ]

    found = [
        (span.series, span.symbol, day, span.state)
        for span in spans(problems)
        for day in days_between(span.first, span.last)
    ]

    assert sorted(map(str, found)) == sorted(str((p.series, p.symbol, p.day, p.state)) for p in problems)
    assert sum(one.days for one in sentences(problems)) == len(problems)
