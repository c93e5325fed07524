"""Run the product on the stores of a case: collect, fill, name gaps, read."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.review import review
from crypto_assets.engine.pipeline import Pipeline, Target
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.engine.timing import Timing
from crypto_assets.errors import IncompleteData, Stopped
from crypto_assets.ledger.day_records import read_records
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import lost_days, remember_lake
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import COMPLETE_STATES, Outcome
from crypto_assets.quality.after_run import close_run
from crypto_assets.reading.day_coverage import settle
from crypto_assets.reading.stored_days import LakeQuestion, read_lake
from crypto_assets.sandbox.selftest import evidence
from crypto_assets.sandbox.selftest.case import Case
from crypto_assets.sandbox.selftest.scenes import Scene, Where
from crypto_assets.sandbox.selftest.verdict import Found
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets.transport.body import Pace

LONGEST_RUN_S = 30.0
"""Seconds after which a run of some days counts as hanging."""

IMPATIENT = Timing(
    timeout_s=2.0,
    attempts=3,
    pace=Pace(bytes_per_s=1_000.0, span_s=1.5, deadline_s=10.0),
    patience_s=5.0,
    first_open_s=0.3,
)
"""Seconds for waits of half a minute and more; all other settings are as usual."""


@dataclass(frozen=True, slots=True)
class StorePlaces:
    """The lake and the database of a case, and the only folder it may write to."""

    home: Path
    lake: Path
    url: str


def collect(collection: Collection, case: Case, stores: StorePlaces, *, fill: bool = False) -> Found:
    """Collect all days as the product does, or with `fill` the days that it would fill; then read all stores."""
    scene = case.scene
    targets = _targets(collection, scene, named_gaps(collection, scene, stores, look_again=True) if fill else None)
    problems: dict[Where, str] = {}

    def note(outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:  # noqa: ARG001
        for outcome in outcomes:
            if outcome.state not in COMPLETE_STATES:
                where = Where(outcome.partition.symbol, outcome.series.dataset, outcome.partition.day)
                problems[where] = outcome.reason

    stop = threading.Event()
    timer = threading.Timer(LONGEST_RUN_S, stop.set)
    timer.start()
    started, error = time.monotonic(), ""
    try:
        with Warehouse(stores.url) as warehouse, Ledger(stores.url) as ledger:
            lake = Lake(str(stores.lake))
            context = RunContext(stop=stop, now=lambda: _now(scene), timing=IMPATIENT)
            Pipeline(collection, Stores(lake, warehouse, ledger), context, downloads=4, on_batch=note).run(targets)
            close_run(collection, lake, ledger, targets)
    except Stopped:
        error = f"nothing for {LONGEST_RUN_S:.0f} seconds: it hangs"
    except Exception as raised:
        # Any exception breaks a promise; the other cases continue.
        place = traceback.extract_tb(raised.__traceback__)[-1]
        error = f"{type(raised).__name__} ({Path(place.filename).name}:{place.lineno}): {raised}"
    finally:
        timer.cancel()
    return Found(
        evidence.in_lake(scene, stores.lake),
        evidence.in_warehouse(scene, stores.url),
        evidence.in_ledger(stores.url),
        problems,
        evidence.foreign_files(stores.home),
        named_gaps(collection, scene, stores),
        incomplete_days(collection, scene, stores),
        evidence.incidents(stores.url),
        error,
        time.monotonic() - started,
    )


def accept_lake(stores: StorePlaces) -> None:
    """Accept the present lake, as `fill --new-lake` does."""
    with Ledger(stores.url) as ledger:
        remember_lake(ledger, Lake(str(stores.lake)))


def _targets(collection: Collection, scene: Scene, wanted: dict[Where, str] | None) -> list[Target]:
    """Return the days to collect: all, or the wanted ones."""
    (entry,) = collection.series
    targets = []
    for series, symbol in entry.tracks:
        days = [day for day in scene.days if wanted is None or Where(symbol, series.dataset, day) in wanted]
        if days:
            targets.append(Target(series, symbol, tuple(days), entry.tables_of(series)))
    return targets


def named_gaps(
    collection: Collection, scene: Scene, stores: StorePlaces, *, look_again: bool = False
) -> dict[Where, str]:
    """Return the gaps and their reasons as the commands see them; with `look_again` after asking first, as `fill` does."""
    now = _now(scene)
    (entry,) = collection.series
    with Ledger(stores.url) as ledger:
        if look_again:
            review(collection, ledger, [(entry, entry.tracks)], now=now)
        lost = lost_days(ledger, Lake(str(stores.lake)), collection=collection).reasons
        found = list(gaps(collection, ledger, now.date(), lost=lost))
    return {Where(gap.symbol, gap.series.dataset, gap.day): gap.reason for gap in found if gap.is_open}


def incomplete_days(collection: Collection, scene: Scene, stores: StorePlaces) -> dict[Where, str]:
    """Return the days that `crypto_assets.read` refuses as incomplete, and why."""
    (entry,) = collection.series
    lake = Lake(str(stores.lake))
    found: dict[Where, str] = {}
    for series in entry.series:
        time_column = datasets.get(series.table).time_column
        for symbol in entry.symbols:
            records = partial(read_records, stores.url, series, symbol, scene.first, scene.last, [series.dataset])
            read = read_lake(lake, records, LakeQuestion(series, symbol, scene.days, [time_column]))
            try:
                settle(f"{symbol} {series}", "the lake", read.coverage, max(read.rows.num_rows, 1), "raise")
            except IncompleteData as error:
                found |= {
                    Where(symbol, series.dataset, date.fromisoformat(day["day"])): day["reason"]
                    for day in error.coverage
                    if not day["complete"]
                }
    return found


def _now(scene: Scene) -> datetime:
    return scene.now or datetime.now(UTC)
