"""The base of a source that is no exchange: a class with a dataset, a first request, and a way to read an answer.

    class Weather(Collector):
        name, rest_url, hosts, dataset = "weather", "https://api.example", frozenset({"api.example"}), DATASET
        names = ("LONDON",)

        def first(self, partition: Partition) -> Call:
            return self.call("v1/history", {"day": f"{partition.day}"})

        def read(self, partition: Partition, call: Call, answer: Any) -> tuple[pa.Table, Call | None]:
            return pa.Table.from_pylist(answer["rows"], self.dataset.bare_schema), None      # None: this was the last page

It is a source (`crypto_assets.sources.Source`) and its own query feed, so the engine can give it what exchanges have: days,
checks, limits, circuit breakers, the ledger, quarantine of bad answers. Its rows stand where an exchange's would:
`exchange=weather/market_type=news/dataset=…/symbol=LONDON`; `kind` takes the place of a market type, one of `names` that
of a symbol. Days are final.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import Dataset, Partition, Series
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.feeds import ArchiveFeed, Call, Page, QueryFeed, Walk
from crypto_assets.sources.limits import Endpoint, Limit
from crypto_assets.sources.source_defaults import SourceDefaults

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

MOST_CALLS = 1_000
"""The most requests for one day; a source with more pages has an endless one."""


class Collector(SourceDefaults, ABC):
    """A source of one dataset, which is asked for. A subclass states the facts and has `first` and `read`."""

    name: ClassVar[str]
    rest_url: str
    hosts: frozenset[str]
    dataset: ClassVar[Dataset]
    kind: ClassVar[str] = "news"
    """What stands in the place of a market type: one of `model.series.OTHER_TYPES`."""
    names: Sequence[str]
    """The names that stand in the place of symbols, of capital letters."""
    limits: Mapping[str, Sequence[Limit]] = {"rest": (Limit(1, 1.0, "requests"),)}

    final = True
    settle = timedelta(seconds=30)
    ccxt_id = ""
    key_advice = "this source needs no key"
    json = True
    """Whether answers are JSON; else `read` gets text."""

    # ---- what a subclass says -----------------------------------------------------------------------------------------

    @abstractmethod
    def first(self, partition: Partition) -> Call:
        """Return the first request for a day."""

    @abstractmethod
    def read(self, partition: Partition, call: Call, answer: Any) -> tuple[pa.Table, Call | None]:
        """Return the rows of an answer, in the dataset's columns and of any day, and the next request; None: it was the last.

        Raises:
            BadContent: the answer is not what the source documents.
        """

    def known_from(self, partition: Partition, tables: Sequence[pa.Table]) -> datetime | None:
        """Return the instant since which the answers to all requests have every row; None: they prove nothing.

        A source whose answers are cut returns what their order proves, never the minimum of their times: one odd row would
        make days complete that nobody read.
        """
        del tables
        return partition.start

    def call(self, path: str, params: Mapping[str, str | int] | None = None) -> Call:
        """Return a request below `rest_url`, counted as one of the budget `rest`."""
        return Call("", params or {}, Endpoint(self.name, "rest", self.dataset.table), path=path, json=self.json)

    # ---- the feed -----------------------------------------------------------------------------------------------------

    def walk(
        self,
        partition: Partition,
        stored: pa.Table,
        until: datetime | None,
        now: datetime,
        instrument: Instrument | None = None,  # noqa: ARG002  no amounts
    ) -> Walk:
        """Return the requests of a day; see `QueryFeed.walk`. A row that is stored or came before is left out,
        one that differs from the stored one is another version of it.

        Rows count up to the clock, but the day is known to `now` at most, which is `settle` earlier: if the answers reach
        back to its beginning or to `until`. Meanwhile a row may come late, or change.
        """
        before = {self._identity(row): row for row in stored.to_pylist()}
        seen: set[tuple[Any, ...]] = set()
        tables: list[pa.Table] = []
        call: Call | None = self.first(partition)
        while call is not None:
            if len(tables) == MOST_CALLS:
                raise BadContent(f"{self.name} {partition}: expected at most {MOST_CALLS} requests, found more")
            answer = yield call
            table, call = self.read(partition, call, answer)
            tables.append(table)
            rows = self._news(self._of_day(table, partition, now + self.settle), before, seen)
            if rows.num_rows:
                yield Page(rows)
        begin = self.known_from(partition, tables)
        if begin is not None and begin <= max(partition.start, until or partition.start):
            yield Page(self.dataset.bare_schema.empty_table(), min(now, partition.end))
        elif not before and not seen:
            count = sum(table.num_rows for table in tables)
            found = f"rows in its answer: {count}" if count else "its answer has no row"
            raise PermanentError(
                f"{self.name} {partition.symbol}: it has nothing any more of {partition.day}; its rows reach back to "
                f"{begin:%Y-%m-%d %H:%M} UTC only, and there is no other source of older ones"
                if begin
                else f"{self.name} {partition.symbol}: {found}, which proves nothing about {partition.day}",
                gone=begin is not None and begin >= partition.end,
            )
        else:
            yield Page(self.dataset.bare_schema.empty_table(), problem=_hole(partition, until, begin, now))

    def _of_day(self, table: pa.Table, partition: Partition, now: datetime) -> pa.Table:
        times = table.column(self.dataset.time_column).to_pylist()
        end = min(partition.end, now)
        chosen = table.filter(pa.array([partition.start <= time < end for time in times], pa.bool_()))
        return chosen.take(pc.sort_indices(chosen, [(self.dataset.time_column, "ascending")]))

    def _news(
        self, table: pa.Table, before: Mapping[tuple[Any, ...], Mapping[str, Any]], seen: set[tuple[Any, ...]]
    ) -> pa.Table:
        """Return the rows that are new or another version of a stored one; of two in one walk the first counts."""
        place = set(self.dataset.unnumbered_key) - {self.dataset.time_column}
        chosen = []
        for row in table.to_pylist():
            identity = self._identity(row)
            was = before.get(identity)
            chosen.append(
                identity not in seen
                and (was is None or any(row[name] != was[name] for name in row if name not in place))
            )
            seen.add(identity)
        return table.filter(pa.array(chosen, pa.bool_()))

    def _identity(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        names = (self.dataset.text_id,) if self.dataset.text_id else self.dataset.key
        return tuple(row[name] for name in names)

    # ---- the source ---------------------------------------------------------------------------------------------------

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        return (self.dataset.table,) if market_type == self.kind else ()

    def facts(self, series: Series) -> Facts:  # noqa: ARG002  there is one
        return Facts(numbering="text", revised=True) if self.dataset.text_id else Facts()

    def feeds(self, series: Series) -> Sequence[ArchiveFeed | QueryFeed]:  # noqa: ARG002
        return (self,)

    def exchange_symbol(self, market_type: str, symbol: str) -> str:  # noqa: ARG002
        return symbol

    def symbols(self, market_type: str, name: str) -> tuple[str, ...]:
        return (name,) if market_type == self.kind and name in self.names else ()

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"public": rest_url}

    def source_key(self, symbol: str) -> str:
        return f"rest/{self.name}/{symbol}"

    def clock(self) -> Call | None:
        return None

    def clock_time(self, answer: Any) -> datetime:
        raise NotImplementedError(f"{self.name} has no clock that is asked for; found {str(answer)[:60]}")

    def status(self, symbol: str) -> Call | None:  # noqa: ARG002  nobody lists it
        return None

    def status_of(self, symbol: str, answer: Any) -> str | None:  # noqa: ARG002
        return None

    def has_ended(self, status: str | None) -> bool:  # noqa: ARG002
        return False

    def first_row(self, symbol: str) -> Call | None:  # noqa: ARG002
        return None

    def latest_row(self, symbol: str) -> Call | None:  # noqa: ARG002
        return None

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call | None:  # noqa: ARG002
        return None

    def row_time(self, symbol: str, answer: Any) -> datetime | None:  # noqa: ARG002
        return None


def _hole(partition: Partition, until: datetime | None, begin: datetime | None, now: datetime) -> str:
    """Return which instants of a day are not proven, in words; `begin` is where the proof begins, None: there is none."""
    first, last = max(partition.start, until or partition.start), min(begin or now, now, partition.end)
    ends = "24:00:00" if last == partition.end else f"{last:%H:%M:%S}"
    reach = (
        f"its answer reaches back to {begin:%Y-%m-%d %H:%M:%S} UTC only" if begin else "its answer proves no instant"
    )
    return f"it is not proven that all rows from {first:%H:%M:%S} to {ends} UTC are here; {reach}"
