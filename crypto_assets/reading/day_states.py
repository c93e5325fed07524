"""Read the coverage of some days of a symbol without opening their files: from the ledger, or from the lake's listing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from crypto_assets.ledger.day_records import read_records
from crypto_assets.ledger.lakes import file_problem
from crypto_assets.model import State
from crypto_assets.reading.day_coverage import STORED, DayCoverage
from crypto_assets.reading.stored_days import no_ledger, not_collected, of_record

if TYPE_CHECKING:
    from crypto_assets.reading.question import Question
    from crypto_assets.storage.lake import Lake


def day_states(asked: Question, lake: Lake, url: str | None) -> list[DayCoverage]:
    """Return the coverage of each day of a question; a file with another size than in the ledger is missing.

    Args:
        url: of the database with the ledger; None without a ledger.
    """
    days = asked.days
    if not days:
        return []
    series, symbol = asked.series, asked.symbol
    known = read_records(url, series, symbol, days[0], days[-1], [series.dataset]) if url else None
    sizes = lake.sizes(series, symbol, days[0].isoformat(), days[-1].isoformat())
    if known is None or (not known.of and symbol not in known.symbols):
        return [_by_listing(lake, asked, day, sizes.get(day.isoformat()), has_ledger=known is not None) for day in days]
    records = known.of.get(series.dataset, {})
    until = None if asked.to_day_end else asked.after
    found = []
    for day in days:
        if (record := records.get(day)) is None:
            there = day.isoformat() in sizes
            found.append(not_collected(day, "its file is in the lake, the ledger does not know it" if there else ""))
            continue
        one = of_record(record, until if day == days[-1] else None)
        if record.path is not None:
            problem = file_problem(lake.url, sizes.get(day.isoformat()), record.size_bytes)
            if problem:
                one = replace(one, state=State.MISSING, reason=problem, rows=None, acknowledged=None, complete=False)
        found.append(one)
    return found


def _by_listing(lake: Lake, asked: Question, day: date, size: int | None, *, has_ledger: bool) -> DayCoverage:
    if size is not None:
        why = "the ledger does not know it" if has_ledger else "no ledger here"
        return DayCoverage(day, STORED, why, complete=True)
    return no_ledger(lake, asked.series, asked.symbol, day, has_ledger=has_ledger)
