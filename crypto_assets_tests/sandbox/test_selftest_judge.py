"""The judge of the selftest alone: it finds each lie, and no lie where there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from crypto_assets.model import COMPLETE_STATES, State
from crypto_assets.sandbox.selftest import store_damage
from crypto_assets.sandbox.selftest.case import BAD, Case
from crypto_assets.sandbox.selftest.evidence import Said
from crypto_assets.sandbox.selftest.scenes import THREE_DAYS, Where
from crypto_assets.sandbox.selftest.verdict import Found, Truth, judge, judge_after, judge_looked_again, judge_noticed

EVERYTHING = THREE_DAYS.everything
ROWS = {where: [(number, 1), (number, 2)] for number, where in enumerate(EVERYTHING)}
OTHER = [(9, 9), (9, 9)]
WHERE = Where("BTC/USDT", "trades", BAD)
CASE = Case("a case", (), frozenset({State.MISSING}), ("the cause",))


def found_of(state: State, reason: str, rows: list[Any] | None, named: bool = True, **said: Any) -> Found:
    """Return the result of a run that is right except for one dataset of the bad day."""
    ledger = {where: Said(State.AVAILABLE, "") for where in EVERYTHING}
    ledger[WHERE] = Said(state, reason, **said)
    stored = {where: kept for where, kept in ROWS.items() if where != WHERE} | ({WHERE: rows} if rows else {})
    gaps = {WHERE: reason} if state not in COMPLETE_STATES else {}
    return Found(stored, dict(stored), ledger, {WHERE: reason} if named else {}, [], gaps, dict(gaps))


ONLY_TRADES = replace(CASE, datasets=("trades",))


def test_the_judge_is_content_with_a_day_that_is_missing_for_a_reason() -> None:
    assert judge(ONLY_TRADES, found_of(State.MISSING, "here is the cause", None), Truth(ROWS, ROWS)) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (found_of(State.AVAILABLE, "", ROWS[WHERE]), "expected missing, reported available"),
        (found_of(State.MISSING, "here is the cause", ROWS[WHERE]), "missing: the rows in the lake"),
        (found_of(State.MISSING, "", None), "expected a reason of one line"),
        (found_of(State.MISSING, "the cause\nTraceback", None), "expected a reason of one line"),
        (found_of(State.MISSING, "another one", None), "expected the cause in the reason"),
        (found_of(State.MISSING, "the cause", None, named=False), "the run itself did not name the day"),
        (replace(found_of(State.MISSING, "the cause", None), error="KeyError"), "the run ended with KeyError"),
        (replace(found_of(State.MISSING, "the cause", None), foreign=["x.csv"]), "a file where none may be: x.csv"),
        (replace(found_of(State.MISSING, "the cause", None), ledger={}), "a silent loss"),
        (replace(found_of(State.MISSING, "the cause", None), warehouse=ROWS), "missing: the rows in the warehouse"),
        (replace(found_of(State.MISSING, "the cause", None), gaps={}), "missing: `gaps` calls it no gap"),
        (replace(found_of(State.MISSING, "the cause", None), incomplete={}), "missing: `read` calls it complete"),
        (
            replace(found_of(State.MISSING, "the cause", None), incomplete={WHERE: "a", EVERYTHING[0]: "b"}),
            f"{EVERYTHING[0]}, available: `read` calls it incomplete: b",
        ),
        (
            replace(found_of(State.MISSING, "the cause", None), gaps={WHERE: "a", EVERYTHING[0]: "b"}),
            f"{EVERYTHING[0]}, available: `gaps` calls it a gap: b",
        ),
    ],
)
def test_the_judge_finds_each_lie(found: Found, says: str) -> None:
    assert any(says in line for line in judge(ONLY_TRADES, found, Truth(ROWS, ROWS)))


NOTHING = {where: rows for where, rows in ROWS.items() if where != WHERE}
"""Rows of an exchange without rows of one day."""


def test_a_day_of_which_the_exchange_has_nothing_is_no_data_with_evidence() -> None:
    case = replace(ONLY_TRADES, first=date.max)
    right = found_of(State.NO_DATA, "not listed", None)
    assert judge(case, right, Truth(NOTHING, NOTHING)) == []
    assert judge_after(THREE_DAYS, right, Truth(NOTHING, NOTHING)) == []
    for wrong, says in (
        (found_of(State.NO_DATA, "", None), "expected a reason and evidence"),
        (found_of(State.NO_DATA, "not listed", None, evidence=False), "expected a reason and evidence"),
        (found_of(State.NO_DATA, "not listed", ROWS[WHERE]), "no_data: the rows in the lake"),
        (found_of(State.MISSING, "not listed", None), "expected no_data, reported missing"),
        (found_of(State.AVAILABLE, "", None), "expected no_data, reported available"),
    ):
        assert any(says in line for line in judge(case, wrong, Truth(NOTHING, NOTHING))), says


def test_no_data_is_never_the_last_word_on_a_day_that_the_exchange_has() -> None:
    case = replace(ONLY_TRADES, states=frozenset({State.MISSING, State.NO_DATA}))
    final = found_of(State.NO_DATA, "delisted", None)
    assert any("permanently no_data" in line for line in judge(case, final, Truth(ROWS, ROWS)))
    inferred = found_of(State.NO_DATA, "delisted", None, inferred=True)
    assert judge(case, inferred, Truth(ROWS, ROWS)) == []


def test_what_is_odd_about_a_complete_day_must_be_marked() -> None:
    case = replace(ONLY_TRADES, states=frozenset({State.AVAILABLE}), marks=frozenset({"file_order"}))
    marked = found_of(State.AVAILABLE, "", ROWS[WHERE], failed=frozenset({"file_order", "outliers"}))
    assert judge(case, marked, Truth(ROWS, ROWS)) == []
    silent = found_of(State.AVAILABLE, "", ROWS[WHERE], failed=frozenset({"outliers"}))
    (line,) = judge(case, silent, Truth(ROWS, ROWS))
    assert "expected the failed checks file_order, found outliers" in line


def test_what_happens_to_our_stores_must_be_named_as_a_gap_and_nothing_else() -> None:
    case = replace(ONLY_TRADES, happens=store_damage.lose_files)
    lost = {WHERE: "the cause"}
    assert judge_noticed(case, lost, lost) == []
    assert judge_noticed(replace(case, says=()), {}, {}) == []
    assert judge_noticed(replace(case, happens=store_damage.empty_warehouse), lost, {}) == []
    for gaps, incomplete, says in (
        ({}, lost, f"{WHERE}: a silent loss"),
        ({WHERE: "not collected yet"}, lost, f"{WHERE}: expected the cause as the reason"),
        ({**lost, EVERYTHING[0]: "the cause"}, lost, f"{EVERYTHING[0]}: expected no gap"),
        (lost, {}, f"{WHERE}: it is read as complete"),
        (lost, {**lost, EVERYTHING[0]: "the cause"}, f"{EVERYTHING[0]}: it cannot be read"),
    ):
        (line,) = judge_noticed(case, gaps, incomplete)
        assert line.startswith(says)


def test_a_second_look_at_what_has_not_changed_must_find_the_same() -> None:
    assert judge_looked_again({WHERE: "the cause"}, {WHERE: "the cause, in other words"}) == []
    (line,) = judge_looked_again({}, {WHERE: "it has files"})
    assert line == f"{WHERE}: no data at first, and a gap at the second look: it has files"


def test_what_stands_still_must_be_told_with_its_kind_and_its_hours() -> None:
    case = replace(ONLY_TRADES, first=date.max, incidents=frozenset({("unexplained", "BTC/USDT")}))
    good = found_of(State.AVAILABLE, "", ROWS[WHERE])

    def told(*incidents: tuple[str, str, int, int]) -> list[str]:
        found = {(kind, symbol, at(first), at(last)) for kind, symbol, first, last in incidents}
        return judge(case, replace(good, incidents=frozenset(found)), Truth(ROWS, ROWS))

    def at(hour: int) -> datetime:
        return datetime(2024, 1, 2, hour, tzinfo=UTC)

    assert told(("unexplained", "BTC/USDT", 8, 11)) == []
    assert "expected the incidents unexplained BTC/USDT, found none" in told()[0]
    assert "found exchange_outage" in told(("exchange_outage", "", 8, 11))[0]
    assert "found illiquid BTC/USDT" in told(("illiquid", "BTC/USDT", 8, 11))[0]
    assert (
        "found unexplained BTC/USDT, unexplained ETH/USDT"
        in told(("unexplained", "BTC/USDT", 8, 11), ("unexplained", "ETH/USDT", 8, 11))[0]
    )
    assert "expected it from 2024-01-02 08:00" in told(("unexplained", "BTC/USDT", 9, 11))[0]


def test_the_judge_compares_every_value_of_every_day() -> None:
    good = found_of(State.AVAILABLE, "", ROWS[WHERE])
    assert judge_after(THREE_DAYS, good, Truth(ROWS, ROWS)) == []
    for where in EVERYTHING:
        for rows in (OTHER, ROWS[where][:1], []):
            for place in ("lake", "warehouse"):
                wrong = replace(good, **{place: ROWS | {where: rows}})
                lines = judge_after(THREE_DAYS, wrong, Truth(ROWS, ROWS))
                assert len(lines) == 1, (where, rows, place)
                assert lines[0].startswith(f"{where}, available: the rows in the {place}")


def test_a_corrected_day_keeps_the_former_rows_and_a_renewed_one_has_the_new_ones() -> None:
    case = replace(ONLY_TRADES, states=frozenset({State.CORRECTED, State.AVAILABLE}), publishes="republished")
    truth = Truth(ROWS | {WHERE: OTHER}, ROWS)
    assert judge(case, found_of(State.CORRECTED, "the cause", ROWS[WHERE]), truth) == []
    assert judge(case, found_of(State.AVAILABLE, "", OTHER), truth) == []
    assert judge(case, found_of(State.CORRECTED, "the cause", OTHER), truth) != []
    assert judge(case, found_of(State.AVAILABLE, "", ROWS[WHERE]), truth) != []
