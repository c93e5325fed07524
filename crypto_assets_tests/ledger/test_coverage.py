"""What `status` counts is what `gaps` shows, whatever states the days are in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.ledger.acknowledgements import Acknowledged, add_acknowledgements
from crypto_assets.ledger.coverage import Coverage, coverage
from crypto_assets.ledger.coverage_tables import shown_counts, status_json, status_table
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Partition, Series, State, StoredFile
from crypto_assets.model.day_counts import DAY_COUNTS
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.workbench import entry

BARS = Series("binance", "spot", "ohlcv", "1m")
FIRST, TODAY = date(2024, 1, 1), date(2024, 1, 11)


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


def collection_of(**more: Any) -> Collection:
    return parse_collection(
        {"series": [entry("spot", ["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], **{"start": FIRST, **more})]}
    )


def outcome(day: date, state: State, symbol: str = "BTC/USDT") -> Outcome:
    stored = state in (State.AVAILABLE, State.PROVISIONAL, State.DEGRADED)
    file = StoredFile(f"{symbol}/{day}", 1440, 1000, f"{symbol}{day}") if stored else None
    return Outcome(BARS, Partition(symbol, day), state, f"is {state}", stored=file)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


STATES = [State.AVAILABLE, State.DEGRADED, State.MISSING, State.NO_DATA, State.PENDING, State.PROVISIONAL]


def counted(ledger: Ledger, collection: Collection) -> list[Coverage]:
    return coverage(collection, ledger, gaps(collection, ledger, TODAY), TODAY)


def test_every_day_is_in_one_count_and_the_counts_are_those_of_the_gaps(ledger: Ledger) -> None:
    ledger.record_outcomes([outcome(day(n), state) for n, state in enumerate(STATES)])
    collection = collection_of()
    first, second = counted(ledger, collection)
    assert (first.days, first.complete, first.partial, first.missing) == (10, 2, 1, 1)
    assert (first.provisional, first.not_collected, first.no_data, first.pending) == (1, 4, 1, 1)
    assert (first.rows, first.first_day, first.last_day) == (3 * 1440, day(0), day(5))
    assert (second.days, second.not_collected, second.complete, second.first_day) == (10, 10, 0, None)
    found = list(gaps(collection, ledger, TODAY))
    for one in (first, second):
        mine = [gap for gap in found if gap.symbol == one.symbol]
        by_state = {state: sum(gap.state is state for gap in mine) for state in (None, *State)}
        assert one.partial == by_state[State.DEGRADED]
        assert one.missing == by_state[State.MISSING]
        assert one.not_collected == by_state[None]
        assert not one.is_complete
        assert one.days - one.complete - one.no_data == len(mine)


def test_an_acknowledged_day_is_counted_apart(ledger: Ledger) -> None:
    ledger.record_outcomes([outcome(day(n), State.AVAILABLE) for n in range(9)] + [outcome(day(9), State.MISSING)])
    ledger.record_outcomes([outcome(day(n), State.AVAILABLE, "ETH/USDT") for n in range(10)])
    with ledger.transaction() as connection:
        what = Acknowledged("binance", "spot", "BTC/USDT", "ohlcv_1m", day(9), "unexplained")
        add_acknowledgements(connection, [what], reason="nobody has it", by="ann")
    first, second = counted(ledger, collection_of())
    assert (first.complete, first.missing, first.acknowledged, first.is_complete) == (9, 0, 1, True)
    assert (second.complete, second.is_complete) == (10, True)


def test_today_counts_where_something_of_it_is_stored(ledger: Ledger) -> None:
    ledger.record_outcomes([outcome(TODAY, State.PROVISIONAL), outcome(TODAY, State.PENDING, "ETH/USDT")])
    first, second = counted(ledger, collection_of())
    assert (first.days, first.complete, first.not_collected) == (11, 1, 10)
    assert (second.days, second.complete, second.not_collected) == (10, 0, 10)


@pytest.mark.parametrize("state", list(State))
def test_today_is_a_day_only_where_it_is_complete_so_far_whatever_its_record_says(ledger: Ledger, state: State) -> None:
    ledger.record_outcomes([outcome(day(n), State.AVAILABLE) for n in range(10)])
    if state is State.CORRECTED:
        ledger.record_outcomes([outcome(TODAY, State.AVAILABLE)])
        with ledger.transaction() as connection:
            connection.execute("UPDATE collection.partitions SET state = 'corrected' WHERE day = %s", (TODAY,))
    else:
        ledger.record_outcomes([outcome(TODAY, state)])
    one = counted(ledger, collection_of())[0]
    no_data, whole = state is State.NO_DATA, state in (State.AVAILABLE, State.PROVISIONAL)
    assert (one.complete, one.no_data, one.days) == (10 + whole, int(no_data), 10 + whole + no_data)
    assert one.provisional == (state is State.PROVISIONAL)
    assert one.is_complete
    assert one.states[state] == 1 + 10 * (state is State.AVAILABLE)


def test_what_the_collection_does_not_have_is_shown_beside_it_and_no_gap(ledger: Ledger) -> None:
    ledger.record_outcomes([outcome(day(n), State.MISSING) for n in range(3)])
    ledger.record_outcomes(
        [outcome(day(0), State.AVAILABLE, "DOGE/USDT"), outcome(day(1), State.DEGRADED, "DOGE/USDT")]
    )
    found = counted(ledger, collection_of(start=day(2), end=day(3)))
    assert [(one.symbol, one.in_collection, one.days, one.missing, one.not_collected) for one in found] == [
        ("BTC/USDT", True, 2, 1, 1),
        ("ETH/USDT", True, 2, 0, 2),
        ("BTC/USDT", False, 2, 2, 0),
        ("DOGE/USDT", False, 2, 0, 0),
    ]
    assert (found[-1].complete, found[-1].partial) == (1, 1)


def test_every_state_has_one_count_and_provisional_days_are_counted_twice(ledger: Ledger) -> None:
    alone = [state for count in DAY_COUNTS.values() if count.within is None for state in count.states]
    assert sorted(alone) == sorted(State)
    ledger.record_outcomes([outcome(day(n), State.PROVISIONAL) for n in range(3)])
    ledger.record_outcomes([outcome(day(n), State.PROVISIONAL, "DOGE/USDT") for n in range(2)])
    first, second, beside = counted(ledger, collection_of())
    found = [status_json(one) for one in (first, second, beside)]
    assert [(one["complete"], one["provisional"], one["not_collected"]) for one in found] == [
        (3, 3, 7),
        (0, 0, 10),
        (2, 2, 0),
    ]
    for one in found:
        assert sum(one[name] for name, count in DAY_COUNTS.items() if count.within is None) == one["days"]
    titles = ["complete", "of these provisional", "partial", "missing", "not collected yet", "no data"]
    assert list(shown_counts([first]).values()) == titles
    assert list(shown_counts([second]).values()) == [title for title in titles if title != "of these provisional"]
    table = status_table([first, second])
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["of these provisional"] == ["3", "0"]


def test_an_entry_that_begins_after_today_has_no_days(ledger: Ledger) -> None:
    found = counted(ledger, collection_of(start=TODAY + timedelta(days=5)))
    assert [(one.days, one.complete, one.not_collected) for one in found] == [(0, 0, 0), (0, 0, 0)]
