"""What a day is worth: the examples of docs/concepts/quality.md, every state, and what holds for any day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.checks import rules_of
from crypto_assets.checks._minutes import MINUTES, to_bits
from crypto_assets.config.collection import WeightsConfig
from crypto_assets.errors import REFUSALS
from crypto_assets.model import (
    Check,
    Comparison,
    Finding,
    Partition,
    Rule,
    SeamCheck,
    Series,
    Severity,
    State,
)
from crypto_assets.quality import scores
from crypto_assets.quality.scores import SCORES, Facts, Scores, completeness, score, total
from crypto_assets.rows.frames import to_frame
from crypto_assets_tests.synthetic import day_of

DAY = date(2024, 3, 5)
BARS = Series("binance", "spot", "ohlcv", "1m")
TRADES = Series("binance", "spot", "trades")
FUNDING = Series("binance", "linear", "funding_rates")
WEIGHTS = WeightsConfig().model_dump()

WHOLE = {"passed": True, "expected": 1440, "found": 1440}
LACKING = {"passed": False, "expected": 1440, "found": 1421, "missing": 19, "spans": ["08:34–08:52"]}
OK = {"passed": True}
GOOD = Facts(BARS, "BTC/USDT", DAY, State.AVAILABLE, 1440, {"complete": WHOLE, "unique_key": OK}, profiled=True)


def minutes(*spans: tuple[int, int]) -> np.ndarray:
    found = np.zeros(MINUTES, dtype=bool)
    for first, end in spans:
        found[first:end] = True
    return found


def cut() -> Facts:
    """Nineteen bars from 08:34 on lack."""
    return replace(
        GOOD, rows=1421, state=State.DEGRADED, findings={"complete": LACKING}, absent=to_bits(minutes((514, 533)))
    )


def rated(facts: Facts, outage: np.ndarray | None = None) -> Scores:
    return score(facts, WEIGHTS, outage)


def _never(*_: Any) -> Any:
    raise AssertionError("no check is run here")


def _rule(kind: type[Rule], name: str, **more: Any) -> Any:
    given = {"name": name, "severity": Severity.WARN, "description": name}
    return kind(**{**given, "words": _never, **more})


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checks of each kind that matters, beside those that there are."""
    comparison = {"source": "lake", "counterparts": _never, "gather": _never, "run": _never}
    mine = (
        _rule(Check, "value_wrong", run=_never, counts_wrong_rows=True),
        _rule(Check, "value_absurd", run=_never, counts_wrong_rows=True),
        _rule(Check, "value_odd", run=_never),
        _rule(Comparison, "like_one", **comparison),
        _rule(Comparison, "like_two", **comparison),
        _rule(SeamCheck, "seam", judge=_never),
    )
    scores._kinds.cache_clear()
    monkeypatch.setattr(scores, "rules_of", lambda series: (*rules_of(series), *mine))
    yield
    scores._kinds.cache_clear()


# ---- the examples of docs/concepts/quality.md ------------------------------------------------------------------------


def test_a_whole_day_with_nothing_to_compare_with_is_worth_1() -> None:
    assert rated(GOOD) == Scores(1.0, 1.0, None, None, 1.0)


def test_bars_that_lack_lower_completeness_and_an_outage_excuses_them() -> None:
    found = rated(cut())
    assert (found.accuracy, found.completeness) == (1.0, pytest.approx(1421 / 1440))
    assert found.total == pytest.approx((0.4 * 1421 / 1440 + 0.3) / 0.7) == pytest.approx(0.99246, abs=5e-6)
    assert rated(cut(), minutes((514, 533))) == Scores(1.0, 1.0, None, None, 1.0)


def test_bars_that_differ_from_the_trades_lower_agreement(rules: None) -> None:
    compared = {"passed": False, "compared": 1440, "agree": 1437}
    found = rated(replace(GOOD, findings={**GOOD.findings, "like_one": compared}))
    assert found.agreement == pytest.approx(1437 / 1440)
    assert found.total == pytest.approx((0.7 + 0.2 * 1437 / 1440) / 0.9) == pytest.approx(0.99954, abs=5e-6)


def test_a_file_that_came_late_lowers_timeliness() -> None:
    found = rated(replace(GOOD, delay=timedelta(days=6), allowed=timedelta(days=3)))
    assert found == Scores(1.0, 1.0, 0.5, None, pytest.approx((0.7 + 0.1 * 0.5) / 0.8))
    assert found.total == pytest.approx(0.9375)
    assert rated(replace(GOOD, delay=timedelta(days=3), allowed=timedelta(days=3))).timeliness == 1.0


def test_a_missing_day_and_a_refused_file_are_worth_0() -> None:
    missing = Facts(BARS, "BTC/USDT", DAY, State.MISSING)
    assert rated(missing) == Scores(completeness=0.0, total=0.0)
    assert rated(replace(missing, error="ChecksumMismatch")) == Scores(accuracy=0.0, completeness=0.0, total=0.0)
    for ours in ("HostUnreachable", "SourceFault"):  # they say nothing about the file
        assert rated(replace(missing, error=ours)) == Scores(completeness=0.0, total=0.0)


# ---- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.PENDING, State.NO_DATA])
def test_a_day_of_which_nothing_is_expected_is_not_judged(state: State) -> None:
    assert rated(Facts(BARS, "BTC/USDT", DAY, state)) == Scores()


def test_a_day_that_was_never_collected_is_0_once_the_deadline_has_passed() -> None:
    never = Facts(BARS, "BTC/USDT", DAY)
    assert rated(never) == Scores(completeness=0.0, total=0.0)
    assert rated(replace(never, overdue=False)) == Scores()


@pytest.mark.parametrize("state", [State.MISSING, None])
def test_a_missing_day_of_a_whole_outage_is_not_judged_and_one_of_part_of_it_is(state: State | None) -> None:
    missing = Facts(BARS, "BTC/USDT", DAY, state)
    assert rated(missing, minutes((0, 1440))).completeness is None
    assert rated(missing, minutes((0, 1439))).completeness == 0.0


def test_a_stored_day_whose_new_version_was_refused_is_not_accurate() -> None:
    found = rated(replace(GOOD, state=State.CORRECTED, error=REFUSALS[0]))
    assert (found.accuracy, found.completeness) == (0.0, 1.0)


# ---- completeness -----------------------------------------------------------------------------------------------------


def test_only_minutes_of_the_outage_itself_are_excused() -> None:
    assert completeness(cut(), minutes((514, 524))) == pytest.approx(1 - 9 / 1430)
    assert completeness(cut(), minutes((0, 60))) == pytest.approx(1 - 19 / 1380)


def test_an_hour_that_lacks_while_the_exchange_was_down_for_part_of_it_counts_with_the_rest() -> None:
    hours = replace(
        GOOD,
        series=Series("binance", "spot", "ohlcv", "1h"),
        rows=23,
        findings={"complete": {"passed": False, "expected": 24, "found": 23, "missing": 1}},
        absent=to_bits(minutes((480, 540))),
    )
    assert completeness(hours) == pytest.approx(23 / 24)
    assert completeness(hours, minutes((480, 500))) == pytest.approx(1 - 40 / 1420)
    assert completeness(hours, minutes((480, 540))) == 1.0


def test_without_a_profile_as_many_bars_as_the_outage_has_are_excused() -> None:
    assert completeness(replace(cut(), profiled=False, absent=None)) == pytest.approx(1421 / 1440)
    assert completeness(replace(cut(), profiled=False, absent=None), minutes((0, 10))) == pytest.approx(1 - 9 / 1430)
    seconds = {"passed": False, "expected": 86_400, "found": 86_300, "missing": 100}
    of_seconds = replace(cut(), series=Series("binance", "spot", "ohlcv", "1s"), findings={"complete": seconds})
    assert completeness(of_seconds, minutes((514, 515))) == pytest.approx(1 - 40 / 86_340)


def test_a_day_that_is_not_over_is_measured_until_then() -> None:
    noon = {"passed": False, "expected": 720, "found": 710, "missing": 10}
    half = replace(GOOD, state=State.PROVISIONAL, findings={"complete": noon}, absent=to_bits(minutes((700, 710))))
    assert completeness(half) == pytest.approx(710 / 720)
    assert completeness(half, minutes((705, 800))) == pytest.approx(1 - 5 / 705)


@pytest.mark.parametrize(
    ("timeframe", "found", "worth"), [("1d", 1, 1.0), ("1d", 0, 0.0), ("1w", 0, 0.0), ("1mo", 1, 1.0)]
)
def test_a_bar_of_a_day_or_more_is_there_or_not(timeframe: str, found: int, worth: float) -> None:
    finding = {"passed": found == 1, "expected": 1, "found": found, **({} if found else {"missing": 1})}
    facts = replace(GOOD, series=Series("binance", "spot", "ohlcv", timeframe), findings={"complete": finding})
    assert completeness(facts) == worth


TRADED = {"passed": True, "silent_before_s": 2.0, "silent_after_s": 3.0, "longest_silence_inside_s": 20.0}


def trades(complete: Mapping[str, Any], rows: int = 900, **findings: Mapping[str, Any]) -> Facts:
    return Facts(TRADES, "BTC/USDT", DAY, State.AVAILABLE, rows, {"complete": complete, **findings})


def test_trades_that_lack_inside_and_at_the_ends_are_counted_by_their_ids(rules: None) -> None:
    lacking = {**TRADED, "passed": False, "missing_ids": 60, "places": 2}
    assert completeness(trades(TRADED)) == 1.0
    assert completeness(trades(lacking)) == pytest.approx(900 / 960)
    assert completeness(trades(lacking, seam={"passed": False, "missing_ids": 40})) == pytest.approx(900 / 1000)
    assert completeness(trades(TRADED, seam={"passed": False, "missing_ids": 100})) == pytest.approx(0.9)
    assert completeness(trades(TRADED, seam={"passed": True, "ids_before": 7})) == 1.0


def test_a_file_of_trades_cut_short_is_worth_the_part_of_the_day_that_it_has(rules: None) -> None:
    short = {**TRADED, "passed": False, "silent_after_s": 6 * 3600.0}
    assert completeness(trades(short)) == pytest.approx(18 / 24)
    assert completeness(trades(short), minutes((1200, 1440))) == pytest.approx(18 / 20), (
        "the exchange was down from 20:00"
    )
    assert completeness(trades(short, seam={"passed": False, "missing_ids": 900})) == 0.5, "ids say that it is worse"
    quiet = {**short, "longest_silence_inside_s": 3 * 3600.0, "missing_ids": 1}
    assert completeness(trades(quiet)) == pytest.approx(900 / 901), "so long it is silent inside as well"


def test_funding_events_that_lack_are_counted_by_place() -> None:
    def facts(**complete: Any) -> Facts:
        return Facts(FUNDING, "BTC/USDT:USDT", DAY, State.AVAILABLE, 2, {"complete": complete})

    assert completeness(facts(passed=True, events=3, hours="00 08 16")) == 1.0
    assert completeness(facts(passed=False, events=2, hours="00 08", missing="after 08:00")) == pytest.approx(2 / 3)
    assert completeness(facts(passed=False, events=1, hours="08", missing="at 00:00, after 08:00")) == pytest.approx(
        1 / 3
    )


@pytest.mark.parametrize("findings", [{}, {"complete": {"passed": True, "not_judged": "why"}}])
def test_a_day_that_nobody_checked_is_not_judged(findings: Mapping[str, Any]) -> None:
    assert completeness(replace(GOOD, findings=findings)) is None


@pytest.mark.parametrize(
    ("dataset", "lost"), [("ohlcv_1m", slice(514, 533)), ("trades", slice(100, 200)), ("funding_rates", slice(0, 1))]
)
def test_the_evidence_of_the_real_check_is_understood(dataset: str, lost: slice) -> None:
    """What `complete` says of a day and of one with some rows lost, not what this test thinks that it says."""
    market_type = "linear" if dataset == "funding_rates" else "spot"
    partition, table = day_of(dataset, DAY, market_type)
    series = Series.named("binance", market_type, dataset)
    [check] = [rule for rule in rules_of(series) if rule.name == "complete" and isinstance(rule, Check)]
    frame = to_frame(table)

    def worth(rows: Any) -> float | None:
        finding: Finding = check.run(rows, Partition(partition.symbol, DAY), series)
        stored = {"complete": {**finding.evidence, "passed": bool(finding.passed)}}
        return completeness(Facts(series, partition.symbol, DAY, State.AVAILABLE, len(rows), stored))

    assert worth(frame) == 1.0
    left = frame.drop(frame.index[lost]).reset_index(drop=True)
    assert worth(left) == pytest.approx(len(left) / len(frame))


# ---- accuracy and agreement -------------------------------------------------------------------------------------------


def test_rows_with_wrong_values_count_against_accuracy_and_odd_ones_do_not(rules: None) -> None:
    def accuracy(**findings: Mapping[str, Any]) -> float | None:
        return rated(replace(GOOD, findings={**GOOD.findings, **findings})).accuracy

    assert accuracy(value_wrong={"passed": False, "rows": 36}) == pytest.approx(1 - 36 / 1440)
    assert accuracy(value_wrong={"passed": False, "rows": 36}, value_absurd={"passed": False, "rows": 36}) == 0.95
    assert accuracy(value_wrong={"passed": True, "rows": 36}) == 1.0
    assert accuracy(value_odd={"passed": False, "rows": 36}) == 1.0
    assert accuracy(value_wrong={"passed": False, "rows": 9_999}) == 0.0
    assert accuracy(value_wrong={"passed": False}) == pytest.approx(1 - 1 / 1440), "no number: one at least"
    assert accuracy(of_a_former_version={"passed": False, "rows": 5}) == 1.0
    assert accuracy(unique_key={"passed": False, "doubles": 1}) == 0.0, "a blocking check of today"


def test_agreement_is_the_mean_of_the_comparisons_that_were_judged(rules: None) -> None:
    def agreement(**findings: Mapping[str, Any]) -> float | None:
        return rated(replace(GOOD, findings={**GOOD.findings, **findings})).agreement

    one, two = {"passed": True, "compared": 1440, "agree": 1440}, {"passed": False, "compared": 24, "agree": 18}
    assert agreement(like_one=one, like_two=two) == pytest.approx((1 + 0.75) / 2)
    assert agreement(like_two=two) == 0.75
    assert agreement(like_one=one, like_two={"passed": True, "not_judged": "no counterpart is stored"}) == 1.0
    assert agreement(like_one={"passed": True, "compared": 0, "agree": 0}) is None
    assert agreement(value_odd=two) is None


def test_comparisons_that_count_what_differs_agree_in_the_rest(rules: None) -> None:
    def agreement(**like_one: Any) -> float | None:
        return rated(replace(GOOD, findings={**GOOD.findings, "like_one": like_one})).agreement

    assert agreement(passed=True, compared=100, only_here=0, only_there=0, changed=0) == 1.0
    assert agreement(passed=False, compared=100, only_here=1, only_there=2, changed=7, columns={"close": 7}) == 0.9
    assert agreement(passed=False, compared=100, outside=5) == 0.95
    assert agreement(passed=False, compared=100, changed=999) == 0.0


def test_the_evidence_of_real_comparisons_is_understood() -> None:
    """A day of bars against itself, and against itself with three bars gone and five of another volume."""
    partition, table = day_of("ohlcv_1m", DAY)
    [check] = [rule for rule in rules_of(BARS) if isinstance(rule, Comparison) and rule.source == "monthly"]

    def agreement(other: pa.Table) -> float | None:
        finding = check.run(check.gather(BARS, [table]), other, partition, BARS)
        stored = {check.name: {**finding.evidence, "passed": bool(finding.passed)}}
        return rated(replace(GOOD, findings={**GOOD.findings, **stored})).agreement

    assert agreement(table) == 1.0
    rows = table.to_pylist()
    for row in rows[100:105]:
        row["volume"] += 1
    assert agreement(pa.Table.from_pylist(rows[3:], schema=table.schema)) == pytest.approx(1432 / 1440)


# ---- what holds for any day -------------------------------------------------------------------------------------------

_SHARES = st.one_of(st.none(), st.floats(0, 1))
_NUMBERS = st.integers(0, 100_000)
_FINDING = st.fixed_dictionaries(
    {"passed": st.booleans()},
    optional={
        "expected": st.sampled_from([0, 1, 24, 720, 1440, 86_400]),
        "found": _NUMBERS,
        "missing": st.one_of(_NUMBERS, st.just("at 00:00, after 08:00")),
        "missing_ids": _NUMBERS,
        "events": _NUMBERS,
        "rows": _NUMBERS,
        "compared": _NUMBERS,
        "agree": _NUMBERS,
        "silent_before_s": st.floats(0, 86_400),
        "silent_after_s": st.floats(0, 86_400),
        "longest_silence_inside_s": st.floats(0, 86_400),
        "not_judged": st.just("why"),
    },
)
_SPAN = st.tuples(st.integers(0, 1440), st.integers(0, 1440)).map(sorted).map(tuple)
_NAMES = [rule.name for series in (BARS, TRADES, FUNDING) for rule in rules_of(series)]


@given(
    series=st.sampled_from([BARS, TRADES, FUNDING, replace(BARS, timeframe="1h"), replace(BARS, timeframe="1mo")]),
    state=st.sampled_from([None, *State]),
    rows=_NUMBERS,
    findings=st.dictionaries(st.sampled_from(_NAMES), _FINDING),
    error=st.sampled_from([None, REFUSALS[0], "HostUnreachable"]),
    absent=st.one_of(st.none(), _SPAN.map(lambda span: to_bits(minutes(span)))),
    delay=st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(days=99))),
    outage=st.one_of(st.none(), _SPAN.map(lambda span: minutes(span))),
)
def test_every_score_of_any_day_is_from_0_to_1_or_none(
    series: Series, outage: np.ndarray | None, **given_: Any
) -> None:
    facts = Facts(series, "BTC/USDT", DAY, profiled=True, allowed=timedelta(days=3), **given_)
    found = rated(facts, outage)
    values = [getattr(found, name) for name in SCORES]
    assert all(value is None or 0 <= value <= 1 for value in [*values, found.total])
    judged = [value for value in values if value is not None]
    assert (found.total is None) == (not judged)
    if judged:
        assert min(judged) - 1e-12 <= found.total <= max(judged) + 1e-12


@given(lost=_SPAN, down=_SPAN)
def test_an_outage_excuses_exactly_the_bars_in_it(lost: tuple[int, int], down: tuple[int, int]) -> None:
    absent, outage = minutes(lost), minutes(down)
    missing = int(absent.sum())
    finding = {"passed": not missing, "expected": 1440, "found": 1440 - missing, "missing": missing}
    facts = replace(GOOD, rows=1440 - missing, findings={"complete": finding}, absent=to_bits(absent))
    expected = [minute for minute in range(MINUTES) if not outage[minute]]
    there = [minute for minute in expected if not absent[minute]]
    if missing:
        worth = len(there) / len(expected) if expected else None
        assert completeness(facts, outage) == (None if worth is None else pytest.approx(worth))
    else:
        assert completeness(facts, outage) == 1.0


@given(
    st.fixed_dictionaries(dict.fromkeys(SCORES, _SHARES)),
    st.fixed_dictionaries({n: st.floats(0, 9) for n in SCORES}),
)
def test_the_total_is_the_weighted_mean_of_what_was_judged(
    values: dict[str, float | None], weights: dict[str, float]
) -> None:
    found = total(values, weights)
    parts = [(weights[name], value) for name, value in values.items() if value is not None]
    weight = sum(part for part, _ in parts)
    if weight == 0:
        assert found is None
    else:
        assert found == pytest.approx(sum(part * value for part, value in parts) / weight, abs=1e-9)


def test_a_weight_of_0_leaves_a_score_out() -> None:
    assert total({"accuracy": 0.0, "completeness": 1.0}, {"completeness": 0.4, "accuracy": 0.0}) == 1.0
    assert total({"accuracy": 0.5}, {"completeness": 0.4}) is None
