"""What a collection lacks: every day that should be there, is not, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from crypto_assets.config import Collection, SeriesEntry
from crypto_assets.model import COMPLETE_STATES, Series, State, days_between

if TYPE_CHECKING:
    from crypto_assets.collection.records.ledger import Ledger

NEVER_COLLECTED = "never collected"


@dataclass(frozen=True, slots=True)
class Gap:
    """One day of one symbol that is not complete; `state` is None where it was never collected.

    `evidence` and `findings` are those of its record: `crypto_assets.quality.explaining` makes the cause of them.
    """

    entry: SeriesEntry
    series: Series
    symbol: str
    day: date
    state: State | None
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    findings: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def gaps(
    collection: Collection, ledger: Ledger, today: date, entries: Iterable[SeriesEntry] | None = None
) -> Iterator[Gap]:
    """Yield every day from an entry's start to its end or yesterday that is not complete, by entry, series, symbol and day.

    Args:
        today: the UTC day that has not ended; it is never a gap.
        entries: some of the collection's entries; all by default.
    """
    yesterday = today - timedelta(days=1)
    for entry in collection.series if entries is None else entries:
        last = entry.until(yesterday)
        days = days_between(entry.start, last)
        for series in entry.series:
            for symbol in entry.symbols:
                known = {
                    record.day: record
                    for record in ledger.partitions(
                        exchange=series.exchange,
                        market_type=series.market_type,
                        symbols=[symbol],
                        datasets=[series.dataset],
                        first=entry.start,
                        last=last,
                    )
                }
                for day in days:
                    record = known.get(day)
                    if record is None:
                        yield Gap(entry, series, symbol, day, None, NEVER_COLLECTED)
                    elif record.state not in COMPLETE_STATES:
                        yield Gap(
                            entry, series, symbol, day, record.state, record.reason, record.evidence, record.findings
                        )


def group_days(found: Iterable[Gap]) -> dict[tuple[date, ...], list[tuple[Series, str]]]:
    """Return the symbols that lack the very same days, by those days, so that they can be collected together."""
    by_symbol: dict[tuple[Series, str], list[date]] = {}
    for gap in found:
        by_symbol.setdefault((gap.series, gap.symbol), []).append(gap.day)
    return group_equal(by_symbol)


def group_equal(
    by_symbol: dict[tuple[Series, str], Sequence[date]] | dict[tuple[Series, str], list[date]],
) -> dict[tuple[date, ...], list[tuple[Series, str]]]:
    """Return the keys that have equal days, by those days (ascending)."""
    groups: dict[tuple[date, ...], list[tuple[Series, str]]] = {}
    for key, days in by_symbol.items():
        groups.setdefault(tuple(sorted(days)), []).append(key)
    return groups
