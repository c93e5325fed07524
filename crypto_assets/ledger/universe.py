"""Find the symbols of a market that traded on a day, from the ledger: by stored rows, or by the reasons for no data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from crypto_assets.ledger.life_edges import cut_of
from crypto_assets.ledger.listed_symbols import ListedSymbol, listed_symbols
from crypto_assets.model import DAY, TIMEFRAME_LENGTHS, Series, State

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg


@dataclass(frozen=True, slots=True)
class Traded:
    """Whether a symbol was listed and traded on a day; None if the ledger does not know.

    `reason` is the evidence. `listed_from` and `listed_until` are set if its life begins or ends inside the day;
    `first_stored` and `last_stored` are the first and last day with a file, in any dataset.
    """

    symbol: str
    listed: bool | None
    traded: bool | None
    reason: str
    listed_from: datetime | None = None
    listed_until: datetime | None = None
    first_stored: date | None = None
    last_stored: date | None = None


_QUERY = """
SELECT p.symbol, min(p.day) FILTER (WHERE p.path IS NOT NULL), max(p.day) FILTER (WHERE p.path IS NOT NULL),
    max(p.day) FILTER (WHERE p.day > %(day)s AND p.state = 'no_data' AND p.evidence ->> 'life' = 'before'),
    coalesce(jsonb_agg(jsonb_build_object('dataset', p.dataset, 'state', p.state, 'reason', p.reason, 'evidence', p.evidence,
        'rows', CASE WHEN p.path IS NOT NULL THEN p.rows END, 'traded', f.traded) ORDER BY p.dataset)
        FILTER (WHERE p.day = %(day)s), '[]')
FROM collection.partitions p
LEFT JOIN collection.profiles f ON p.day = %(day)s
    AND (f.exchange, f.market_type, f.symbol, f.dataset, f.day) = (p.exchange, p.market_type, p.symbol, p.dataset, p.day)
WHERE (p.exchange, p.market_type) = (%(exchange)s, %(market_type)s)
GROUP BY 1 ORDER BY 1
"""


def universe(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, day: date, configured: Iterable[str] = ()
) -> list[Traded]:
    """Return every symbol of a market that is known, by symbol, with its status on a day.

    Known is what was ever collected, what the exchange was ever seen to list (`collection.universe`, delisted symbols
    included), and what the collection names. Stored rows decide before listings.

    Args:
        configured: symbols of the market in collection.yaml.
    """
    asked = {"exchange": exchange, "market_type": market_type, "day": day}
    found = {row[0]: _of_symbol(*row) for row in connection.execute(_QUERY, asked).fetchall()}
    for one in listed_symbols(connection, exchange, market_type):
        known = found.get(one.symbol)
        if known is None or known.listed is None:
            found[one.symbol] = _listed(one, day, known)
    for symbol in configured:
        found.setdefault(symbol, Traded(symbol, None, None, "not collected yet"))
    return [found[symbol] for symbol in sorted(found)]


def _of_symbol(
    symbol: str, first: date | None, last: date | None, not_before: date | None, records: list[Mapping[str, Any]]
) -> Traded:
    listed, traded, reason = _judged(records)
    if listed is None and not_before is not None:
        listed, traded, reason = False, False, f"not listed before {not_before}, a later day"
    if not records and listed is None:
        around = first is not None and last is not None
        reason = f"not collected yet; stored are days from {first} to {last}" if around else "not collected yet"
    edges = [cut_of(record["evidence"] or {}) for record in records]
    since = max((edge for edge, _ in edges if edge), default=None)
    until = min((edge for _, edge in edges if edge), default=None)
    return Traded(symbol, listed, traded, reason, since, until, first, last)


def _listed(one: ListedSymbol, day: date, known: Traded | None) -> Traded:
    """Return whether a symbol was listed on a day, by what its exchange lists; that alone never says whether it traded.

    An end that only the last file shows is no proof: files may be late, or a symbol may be listed again.
    """
    first, last = one.first_listed, one.last_listed
    whose = "the exchange says" if "instruments" in (*one.sources, *one.gone) else "the archive's files show"
    if first is not None and day < first:
        listed, reason = False, f"not listed before {first}, as {whose}"
    elif last is not None and day > last and one.ended:
        listed, reason = False, f"delisted: the last day was {last}, as the exchange says"
    elif last is not None and day > last:
        listed, reason = None, f"the archive's last file is of {last}; it may be delisted, or files may be late"
    elif first is not None and (last is not None or one.sources):
        listed, reason = True, f"listed from {first}" + (f" to {last}" if last else "") + f", as {whose}; not collected"
    else:
        listed, reason = (
            None,
            f"listed by {', '.join(one.sources or one.gone)}; its first and last day are not known yet",
        )
    if known is not None and known.reason:
        reason = f"{known.reason}; {reason}"
    stored = (None, None) if known is None else (known.first_stored, known.last_stored)
    return Traded(one.symbol, listed, False if listed is False else None, reason, None, None, *stored)


def _shows_trading(dataset: str) -> bool:
    """Return whether rows of a dataset show trading on their day: funding does not, nor a weekly bar."""
    series = Series.named("", "", dataset)
    if series.table != "ohlcv":
        return series.table in ("trades", "agg_trades")
    length = TIMEFRAME_LENGTHS.get(series.timeframe or "")
    return length is not None and length <= DAY


def _judged(records: Iterable[Mapping[str, Any]]) -> tuple[bool | None, bool | None, str]:
    """Return whether a symbol was listed and traded on a day, by the records of its datasets: rows first, then reasons."""
    stored = [record for record in records if record["rows"]]
    for record in stored:
        if record["traded"] and _shows_trading(record["dataset"]):
            return True, True, f"{record['dataset']} has {record['rows']:,} rows"
    silent = [record for record in stored if record["traded"] is False and _shows_trading(record["dataset"])]
    if silent:
        return True, False, f"nothing traded in any bar of {silent[0]['dataset']}"
    empty = [record for record in records if record["state"] == State.NO_DATA]
    for record in empty:
        evidence = record["evidence"] or {}
        if "life" in evidence:
            return False, False, record["reason"]
        if "ids" in evidence or "silent_bars" in evidence:
            return True, False, record["reason"]
    if stored:
        return (
            True,
            None,
            f"{stored[0]['dataset']} has {stored[0]['rows']:,} rows, which do not say whether anything traded",
        )
    for record in records:
        return None, None, f"{record['dataset']} is {record['state']}: {record['reason']}"
    return None, None, ""
