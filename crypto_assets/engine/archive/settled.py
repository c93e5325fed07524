"""Finds gaps that another attempt cannot close: the stored file is the archive's present file, and rows are missing in it.

Such a day becomes complete only when the archive publishes it again. The sensors notice that, and so does one look at the
listing; downloading all such days again every day would find nothing more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from crypto_assets import sources
from crypto_assets.checks import rules_of
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.files import holders_of, objects_of
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.ledger.gaps import Gap
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import ALL, Controls, of_exchange
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import DAY, TIMEFRAME_LENGTHS, ArchiveObject, Series, Severity, State, Track
from crypto_assets.model.provenance import same_file
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import EGRESS, Guard

SETTLED_WEEKDAY = 0

_SILENT_S = 3_600  # at an end of a day of trades, as in `complete`
_SPANS_NAMED = 20  # the most spans that `complete` names for bars; there may be more

_AT_ONCE = 8
_TIMEOUT_S = 10.0


def may_be_settled(gap: Gap) -> bool:
    """Return whether only another file of the archive can complete a day, as far as the ledger knows.

    The existing rows are right (no stored row breaks a rule, the file is in the lake), the last attempt to collect the day
    did not fail, and the missing rows are inside the day. At its ends the symbol may have begun or ended, and the exchange
    may say so when it is asked again.
    """
    if gap.state is not State.DEGRADED or gap.source != "archive" or gap.lost or gap.attempt_error:
        return False
    severities = {rule.name: rule.severity for rule in rules_of(gap.series)}
    failed = [name for name, finding in gap.findings.items() if not finding.get("passed", True)]
    if not all(severities.get(name) in (Severity.DEGRADE, Severity.WARN) for name in failed):
        return False
    return not _reaches_an_end(gap.series, gap.findings.get("complete", {}))


def _reaches_an_end(series: Series, finding: Mapping[str, Any]) -> bool:
    """Whether rows are missing at an end of the day, by the evidence of `complete`; if it does not say, they may be."""
    if finding.get("passed", True):
        return False
    if series.table in ("trades", "agg_trades"):
        return max(float(finding.get(f"silent_{end}_s") or 0) for end in ("before", "after")) > _SILENT_S
    spans = finding.get("unexplained") or finding.get("spans") or ()
    if not spans or len(spans) >= _SPANS_NAMED or series.timeframe not in TIMEFRAME_LENGTHS:
        return True
    clock = "%H:%M:%S" if str(series.timeframe).endswith("s") else "%H:%M"
    last = datetime.combine(date.min + DAY, time()) - TIMEFRAME_LENGTHS[str(series.timeframe)]
    return str(spans[0]).startswith(time().strftime(clock)) or str(spans[-1]).endswith(last.strftime(clock))


def due(found: Iterable[Gap], today: date) -> Iterator[Gap]:
    """Yield the gaps to request on a day: acknowledged ones never, those that may be settled on Mondays.

    On other days the sensors notice the files that would complete them.
    """
    for gap in found:
        if gap.is_open and (today.weekday() == SETTLED_WEEKDAY or not may_be_settled(gap)):
            yield gap


def unchanged(collection: Collection, ledger: Ledger, found: Sequence[Gap], *, egress: str = EGRESS) -> list[Gap]:
    """Return the gaps that the archive cannot close now: it lists the stored file, and none that is preferred to it.

    An unreadable listing settles nothing, and paused exchanges are not asked.
    """
    by_symbol: dict[Track, list[Gap]] = defaultdict(list)
    paused = {one.scope for one in Controls(ledger).read() if one.action == "pause"}
    for gap in found:
        if may_be_settled(gap) and not paused & {ALL, of_exchange(gap.series.exchange)}:
            by_symbol[gap.track].append(gap)
    if not by_symbol:
        return []
    with (
        Guard(ledger.url, collection, egress=egress, patience_s=_TIMEOUT_S) as guard,
        Client(guard, timeout_s=_TIMEOUT_S, attempts=1) as client,
        DaemonPool(_AT_ONCE, "settled") as pool,
    ):
        parts = pool.map(lambda found: _of_symbol(client, collection, found), by_symbol.values())
        return [gap for part in parts for gap in part]


def _of_symbol(client: Client, collection: Collection, found: Sequence[Gap]) -> list[Gap]:
    series, symbol = found[0].series, found[0].symbol
    name = sources.name_of(series, symbol)
    days = sorted(gap.day for gap in found)
    first: dict[date, ArchiveObject] = {}
    try:
        site = ArchiveSite.of(client, collection, series)
        for feed in reversed(sources.archives(series)):  # the preferred feed has the last word
            for holder in holders_of(feed, name, days, objects_of(site, feed, name, days)):
                first |= dict.fromkeys(holder.days, holder.obj)
    except OF_THIS_PROCESS:
        raise
    except CryptoAssetsError:
        return []
    return [gap for gap in found if gap.day in first and same_file(first[gap.day], gap.source_key, gap.source_etag)]
