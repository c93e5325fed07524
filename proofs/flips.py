"""Prove that a flipped bit of a stored file is never read as another price, and never ends a run.

    python -m proofs.flips [--flips 1000]

Collects bars and trades, then flips one random bit in each stored file, again and again, and runs every reader of
the lake: `crypto_assets.read` with and without the ledger, the IO manager, `crypto-assets collect` and
`crypto-assets validate`. A flip counts as seen if the day is then refused, reported, or collected again unchanged. Rows read
from a file with an unseen flip are compared with the collected ones: other rows are counted separately.

Exit code 1 if more than five flips gave other rows, a flip ended a run, or a file was not repaired.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd

from crypto_assets.client import read
from crypto_assets.defs.asset_keys import daily, lake_key
from crypto_assets.defs.io_managers import LakeIOManager
from crypto_assets.defs.resources import LakeResource
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.model import Partition, Series, days_between, unified_symbol
from crypto_assets.reading.stored_days import LakeQuestion, read_lake
from crypto_assets.rows.frames import to_frame
from crypto_assets.sandbox.selftest.store_damage import flip_bit
from crypto_assets.storage.lake import Lake
from proofs.world import COINS, FIRST, Home, sandbox, say, show

DATASETS = ("ohlcv_1m", "ohlcv_1h", "trades")
UNSEEN_AT_MOST = 5


@dataclass(frozen=True)
class Stored:
    """A stored day: its track, its file, its bytes and its rows."""

    series: Series
    symbol: str
    day: date
    file: Path
    content: bytes
    rows: pd.DataFrame


@dataclass
class Count:
    """The results of flips, for one reader."""

    seen: int = 0
    equal: int = 0
    other: int = 0
    ended: list[str] = field(default_factory=list)

    def add(self, rows: pd.DataFrame | None, wanted: pd.DataFrame) -> None:
        """Count the rows that a reader returned for a day with a flip; None if it refused the day."""
        if rows is None:
            self.seen += 1
        elif rows.equals(wanted):
            self.equal += 1
        else:
            self.other += 1

    def in_words(self) -> str:
        text = f"{self.seen} seen, {self.equal} gave the right rows, {self.other} gave other rows"
        return text + (f"; ENDED {len(self.ended)}: {self.ended[0]}" if self.ended else ", none ended a run")


Reader = Callable[[Stored], pd.DataFrame | None]


def readers(home: Home) -> dict[str, Reader]:
    """Return the readers of one day; they return None if they refuse it."""
    lake = Lake(str(home.lake))

    def with_ledger(day: Stored) -> pd.DataFrame | None:
        names = day.series.exchange, day.symbol, day.series.dataset
        frame = read(*names, day.day, day.day, day.series.market_type, missing="ignore")
        return frame if frame.attrs["coverage"][0]["complete"] else None

    def without(day: Stored) -> pd.DataFrame | None:
        columns = list(day.rows.columns)
        found = read_lake(lake, lambda: None, LakeQuestion(day.series, day.symbol, [day.day], columns))
        return to_frame(found.rows) if found.coverage[0].complete else None

    manager = LakeIOManager(lake=LakeResource(url=str(home.lake)), postgres_url=home.url, missing="ignore")

    def managed(day: Stored) -> pd.DataFrame | None:
        context = dg.build_input_context(
            asset_key=lake_key(day.series, day.symbol),
            asset_partitions_def=daily(FIRST),
            asset_partition_key_range=dg.PartitionKeyRange(str(day.day), str(day.day)),
        )
        frame = manager.load_input(context)
        return frame if frame.attrs["coverage"][0]["complete"] else None

    return {"crypto_assets.read": with_ledger, "the same without a ledger": without, "IO manager": managed}


def look(reader: Reader, days: Sequence[Stored], count: Count) -> None:
    """Run a reader on each day; any error counts as the end of a run, because one file must not raise."""
    for day in days:
        try:
            rows = reader(day)
        except (CryptoAssetsError, OSError, ValueError, MemoryError, dg.DagsterError) as error:
            count.ended.append(f"{type(error).__name__}: {error}")
            continue
        count.add(rows, day.rows)


def damage(days: Sequence[Stored], chance: random.Random) -> None:
    """Flip one bit in the file of each day."""
    for day in days:
        flip_bit(day.file, chance.randrange(len(day.content) * 8))


def collect(home: Home, days: Sequence[Stored], span: Sequence[str], count: Count) -> None:
    """Let `collect` check the days and repair them."""
    code = home.run("collect", *span)
    if code:
        count.ended.append(f"exit code {code}: {home.said()}")
    for day in days:
        count.add(None if day.file.read_bytes() == day.content else pd.DataFrame(), day.rows)


def validate(home: Home, days: Sequence[Stored], span: Sequence[str], count: Count) -> None:
    """Let `validate` check the days: it must continue to the last and report all of them."""
    code = home.run("validate", *span)
    missing = {
        (symbol, dataset, day)
        for symbol, dataset, day, reason in home.query(
            "SELECT symbol, dataset, day, reason FROM collection.partitions WHERE state = 'missing'"
        )
        if "/data.parquet: " in reason
    }
    if code != 1:
        count.ended.append(f"exit code {code}: {home.said()}")
    for day in days:
        named = (day.symbol, day.series.dataset, day.day) in missing
        count.add(None if named else pd.DataFrame(), day.rows)


def stored_days(home: Home, coins: Sequence[str], last: date) -> list[Stored]:
    """Return all collected days."""
    lake, found = Lake(str(home.lake)), []
    for name in DATASETS:
        for coin in coins:
            series, symbol = Series.named("binance", "spot", name), unified_symbol(f"{coin}/USDT", "spot")
            for day in days_between(FIRST, last):
                partition = Partition(symbol, day)
                file = home.lake / lake.path(series, partition)
                rows = to_frame(lake.read_partition(series, partition))
                found.append(Stored(series, symbol, day, file, file.read_bytes(), rows))
    return found


def prove(home: Home, coins: Sequence[str], last: date, flips: int, chance: random.Random) -> Mapping[str, Count]:
    """Flip bits until there are enough; return the results by reader."""
    span = ("--from", FIRST.isoformat(), "--to", last.isoformat())
    if home.run("collect", *span):
        raise SystemExit(home.said())
    days, by_reader = stored_days(home, coins, last), readers(home)
    counts = {name: Count() for name in (*by_reader, "crypto-assets collect", "crypto-assets validate")}
    for start in range(0, flips, len(days)):
        chosen = days[: flips - start]
        damage(chosen, chance)
        for name, reader in by_reader.items():
            look(reader, chosen, counts[name])
        collect(home, chosen, span, counts["crypto-assets collect"])
        damage(chosen, chance)
        validate(home, chosen, span, counts["crypto-assets validate"])
        collect(home, chosen, span, Count())
        if broken := [day.file for day in days if day.file.read_bytes() != day.content]:
            raise SystemExit(f"{len(broken)} files were not repaired, the first is {broken[0]}:\n{home.said()}")
        states = Counter(state for (state,) in home.query("SELECT state FROM collection.partitions"))
        if set(states) != {"available"}:
            raise SystemExit(f"expected all days to be available again, found {dict(states)}")
        say(f"{start + len(chosen)} flips")
    return counts


def main() -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.flips", description=__doc__)
    words.add_argument("--flips", type=int, default=1_000, help="for each reader")
    words.add_argument("--seed", type=int, default=1)
    given = words.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # the IO manager logs the rows of each day
    coins, last = COINS[:4], FIRST + timedelta(days=9)
    with sandbox(coins, last) as exchange, Home(exchange, coins) as home:
        home.configure(spot=DATASETS)
        os.environ |= {name: home.environment[name] for name in ("CRYPTO_ASSETS_HOME", "CRYPTO_ASSETS_CONFIG")}
        counts = prove(home, coins, last, given.flips, random.Random(given.seed))  # noqa: S311  no secret
    show(f"{given.flips} flipped bits each", [(name, count.in_words()) for name, count in counts.items()])
    if any(count.other > UNSEEN_AT_MOST or count.ended for count in counts.values()):
        sys.exit("flips were not seen, or ended a run")


if __name__ == "__main__":
    main()
