"""Trade ids continue across midnight: this proves that no trade is missing between two days.

With no id missing inside the day either, the whole day is proven complete.

Binance numbers the trades and the aggregate trades of a symbol consecutively. Ids missing between two days are blamed on
the day that is silent for longer at midnight, because a file cut short is silent there (daily files of 2025-04-22 ended at
07:36 with a correct checksum, binance-public-data #412).

Where ids have holes (`Facts` of the series), as in `complete`, only many ids together with a minute of silence count.

The last aggregate of a day and the first of the next may share an id although they are different trades (ZILBTC
2021-02-28, #353). Aggregates also give the ids of their first and last trade, and these decide whether a trade is missing;
a repeated aggregate id alone is no gap. Continuous aggregate ids are no proof either if the trade ids jump: an exchange
that lost trades may number the remaining aggregates consecutively. (-1 marks removed trades; a day that begins or ends with
such a row has no trade id there.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

from crypto_assets import sources
from crypto_assets.checks._words import counted, row_of, verb
from crypto_assets.model import Finding, Profile, SeamCheck, Series, Severity, not_judged
from crypto_assets.sources.facts import HIDDEN_SILENCE


def ids_continue(before: Profile | None, day: Profile, after: Profile | None, series: Series) -> Finding:
    """The first id follows the last one of the day before; the last one precedes the first of the day after.

    Evidence: `ids_before` and `ids_after` count the ids between the days (negative: both days have these ids, or the ids
    started over). `trades_before` and `trades_after` count the trades between aggregates where aggregate ids prove nothing.
    `missing_ids` counts the ids missing at the ends of this day. `repeated_ids` counts ids that the day before has too (0
    if the ids started over), and `repeated` lists them. `proven`: no id is missing inside the day or at either midnight.
    """
    if day.first_id is None:
        return not_judged("rows have no numbers")
    if before is None and after is None:
        return not_judged("neither the day before nor the day after is stored")
    evidence: dict[str, object] = {}
    missing, closed = 0, before is not None and after is not None
    for side, earlier, later in (("before", before, day), ("after", day, after)):
        if earlier is None or later is None:
            continue
        evidence[f"ids_{side}"] = between = _between(earlier, later)
        trades = _trades_between(earlier, later)
        if trades is not None and (between < 0 or (between > 0 >= trades)):
            evidence[f"trades_{side}"] = trades
        if between < 0 and side == "before":
            evidence |= _repeated(earlier, later)
        wanted = _missing(earlier, later, series, between, trades)
        if between == 0 and wanted:
            evidence[f"trades_{side}"] = trades
        closed &= (between == 0 and not wanted) or trades == 0
        if _blames_earlier(earlier, later) == (side == "after"):
            missing += wanted
    if before is None or after is None:
        evidence["not_stored"] = "day before" if before is None else "day after"
    if missing:
        evidence["missing_ids"] = missing
    evidence["proven"] = closed and day.missing_ids == 0
    return Finding(not missing, evidence)


def _between(earlier: Profile, later: Profile) -> int:
    return (later.first_id or 0) - (earlier.last_id or 0) - 1


def _trades_between(earlier: Profile, later: Profile) -> int | None:
    """Return the number of trades between the last aggregate of a day and the first of the next; None without trade ids."""
    if earlier.last_trade_id is None or later.first_trade_id is None:
        return None
    return later.first_trade_id - earlier.last_trade_id - 1


def _missing(earlier: Profile, later: Profile, series: Series, between: int, trades: int | None) -> int:
    """Return how many ids are missing between two days: row ids, or trade ids if those contradict the row ids."""
    if trades is not None and trades <= 0:
        return 0
    wanted = between if between > 0 else trades or 0
    facts = sources.facts(series)
    if facts.contiguous:
        return wanted
    return wanted if wanted > facts.hidden_ids and later.first_time - earlier.last_time >= HIDDEN_SILENCE else 0


def _repeated(earlier: Profile, later: Profile) -> dict[str, object]:
    """Return how many ids are in both days, and which."""
    first = max(earlier.first_id or 0, later.first_id or 0)
    last = min(earlier.last_id or 0, later.last_id or 0)
    if last < first:
        return {"repeated_ids": 0}
    return {"repeated_ids": last - first + 1, "repeated": f"{first}" if first == last else f"{first}–{last}"}


def _blames_earlier(earlier: Profile, later: Profile) -> bool:
    """Return whether the earlier day is silent at least as long as the later one at the midnight between them."""
    midnight = datetime.combine(later.day, time(), UTC)
    return midnight - earlier.last_time >= later.first_time - midnight


def words(evidence: Mapping[str, Any], series: Series) -> str:
    """Return the finding as a sentence: `the id 699 is in both days, for different trades; no trade is missing`."""
    parts, noun = [], row_of(series.table)
    if "repeated_ids" in evidence:
        parts.append(_repeated_in_words(evidence))
    if missing := evidence.get("missing_ids"):
        where = [end for side, end in _ENDS.items() if 0 < max(_gaps(evidence, side)) <= missing]
        of_trades = all(evidence.get(f"ids_{side}", 0) == 0 for side in _ENDS)
        noun = "trade" if of_trades else "id"
        text = f"{counted(missing, noun)} {verb(missing)} missing at the {' and the '.join(where)} of the day"
        parts.append(f"{text}, although the row ids are continuous" if noun == "trade" else text)
    elif not parts and _run_on(evidence):
        parts.append(f"the ids continue, no {noun} is missing" if evidence["proven"] else "the ids continue")
    elif not parts:
        parts.append(f"ids are left out between the days, and no {noun} is missing from this one")
    if "not_stored" in evidence:
        parts.append(f"the {evidence['not_stored']} is not stored")
    return "; ".join(parts)


_ENDS = {"before": "beginning", "after": "end"}


def _gaps(evidence: Mapping[str, Any], side: str) -> tuple[int, int]:
    return evidence.get(f"ids_{side}", 0), evidence.get(f"trades_{side}", 0)


def _run_on(evidence: Mapping[str, Any]) -> bool:
    return not any(evidence.get(f"ids_{side}", 0) or evidence.get(f"trades_{side}", 0) for side in _ENDS)


def _repeated_in_words(evidence: Mapping[str, Any]) -> str:
    ids, trades = evidence.get("repeated"), evidence.get("trades_before")
    if ids is None:
        text = "the ids start over after the day before"
    else:
        text = f"the id {ids} is in both days" if evidence["repeated_ids"] == 1 else f"the ids {ids} are in both days"
    if trades is None:
        return f"{text}; they do not say whether a trade is missing"
    if trades < 0:
        return f"{text}, for {counted(-trades, 'trade')} that both days have; no trade is missing"
    missing = "no trade is missing" if trades == 0 else f"{counted(trades, 'trade')} {verb(trades)} missing"
    if "missing_ids" in evidence or trades:  # the sentence already gives the end of the day
        missing += " between the two days"
    return f"{text}, for different trades; {missing}"


CHECK = SeamCheck(
    name="ids_continue",
    columns=("trade_id",),
    or_columns=(("agg_trade_id",),),
    severity=Severity.DEGRADE,
    description="Ids continue from the day before and to the day after.",
    words=words,
    judge=ids_continue,
)
