"""Ids run on across midnight: a proof that no trade lacks between two days, and with none lacking inside, of a whole day.

Binance numbers the trades and the aggregate trades of a symbol one after the other. Ids that lack between two days belong
to the side that is silent for longer at midnight, for that is what a file cut short looks like (daily files of 2025-04-22
ended at 07:36 with a right checksum, binance-public-data #412); so a day is blamed only for what lacks in itself.

Of futures some ids are hidden (internal and insurance trades, #190, #363, #378): as in `complete`, only many with a minute
of silence count there. Ids that stand in two adjacent days (ZILBTC, #353) are found on the later one.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from crypto_assets.model import Finding, Profile, SeamCheck, Series, Severity, not_judged

_HIDDEN = 100
_SILENCE = timedelta(minutes=1)
"""Futures: so many ids at one place may be hidden, and more where trading goes on meanwhile."""


def ids_continue(before: Profile | None, day: Profile, after: Profile | None, series: Series) -> Finding:
    """The first id follows the last one of the day before, the last one comes before the first of the day after.

    Evidence: `ids_before` and `ids_after` count the ids between the days (negative: ids that both have); `missing_ids`
    those that lack in this day at its ends, `repeated_ids` those that the day before has too (0 where the ids started
    over). `proven` says that every id of the day is there: none lacks inside, and both seams are closed.
    """
    if day.first_id is None:
        return not_judged("rows have no numbers")
    if before is None and after is None:
        return not_judged("neither the day before nor the day after is stored")
    evidence: dict[str, object] = {}
    missing = 0
    if before is not None:
        evidence["ids_before"] = between = _between(before, day)
        if between < 0:
            evidence["repeated_ids"] = _in_both(before, day)
        elif _counts(before, day, between, series) and not _blames_earlier(before, day):
            missing += between
    if after is not None:
        evidence["ids_after"] = between = _between(day, after)
        if _counts(day, after, between, series) and _blames_earlier(day, after):
            missing += between
    if before is None or after is None:
        evidence["not_stored"] = "day before" if before is None else "day after"
    if missing:
        evidence["missing_ids"] = missing
    closed = evidence.get("ids_before") == evidence.get("ids_after") == 0
    evidence["proven"] = closed and day.missing_ids == 0
    return Finding(not missing and "repeated_ids" not in evidence, evidence)


def _between(earlier: Profile, later: Profile) -> int:
    return (later.first_id or 0) - (earlier.last_id or 0) - 1


def _in_both(earlier: Profile, later: Profile) -> int:
    first = max(earlier.first_id or 0, later.first_id or 0)
    return max(0, min(earlier.last_id or 0, later.last_id or 0) - first + 1)


def _counts(earlier: Profile, later: Profile, between: int, series: Series) -> bool:
    """Whether ids that lack between two days are rows that lack."""
    if series.market_type == "spot":
        return between > 0
    return between > _HIDDEN and later.first_time - earlier.last_time >= _SILENCE


def _blames_earlier(earlier: Profile, later: Profile) -> bool:
    """Whether the earlier of two days is silent for longer at the midnight between them, or as long."""
    midnight = datetime.combine(later.day, time(), UTC)
    return midnight - earlier.last_time >= later.first_time - midnight


CHECK = SeamCheck(
    name="ids_continue",
    tables=("trades", "agg_trades"),
    severity=Severity.DEGRADE,
    description="Ids run on from the day before and to the day after.",
    judge=ids_continue,
)
