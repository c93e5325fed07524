"""IO managers for your own assets that use the collected ones.

The collecting op writes as it goes (a year of days does not fit in one output). These IO managers give your assets the
collected rows as a DataFrame, for exactly the partitions of the run. They store what your assets return: in the lake under
`assets/{key}/date={day}/data.parquet`, or in Postgres as `assets.{key joined by __}`, one day replaced in one transaction.

    @dg.asset(partitions_def=daily(date(2024, 1, 1)), io_manager_key="warehouse_io_manager",
              backfill_policy=dg.BackfillPolicy.single_run(),
              ins={"bars": dg.AssetIn(key=["binance", "spot", "ohlcv_1m", "BTC-USDT"])})
    def volatility(bars: pd.DataFrame) -> pd.DataFrame: ...

A DataFrame returned for several partitions needs a `date` column of days, or one UTC time column.

If a day of an input is not complete (missing, partial, not collected yet, a file that does not match the ledger), the run
ends with IncompleteData, which names days and reasons; `missing: warn` or `ignore` in the resource lets it continue. The
state of each day is in `attrs["coverage"]` of the frame, as from `crypto_assets.read`, and in the log.
"""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from crypto_assets.config.environment import settings
from crypto_assets.defs.asset_keys import WAREHOUSE, day_of
from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.errors import ConfigError, IncompleteDataWarning, PostgresUnavailable, StoredDataError
from crypto_assets.ledger.asset_days import asset_days, write_asset_day
from crypto_assets.ledger.day_records import DayRecords, database_that_is_there, read_records
from crypto_assets.model import Partition, Series, State, unified_symbol
from crypto_assets.reading.day_coverage import STORED, DayCoverage, Missing, settle
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.reader import readable

# pandas takes 0.3 CPU seconds to import, and only your own assets need it here. Its names are quoted: Dagster reads the
# annotations of resources, so they cannot be postponed.
if TYPE_CHECKING:
    import pandas as pd


def _days(context: dg.InputContext | dg.OutputContext) -> list[date]:
    if not context.has_asset_partitions:
        raise ConfigError(
            f"{context.asset_key.to_user_string()}: expected a daily partitioned asset; give it "
            "partitions_def=crypto_assets.defs.asset_keys.daily(start)"
        )
    return sorted(day_of(key) for key in context.asset_partition_keys)


def _by_day(context: dg.OutputContext, frame: "pd.DataFrame") -> "Iterator[tuple[date, pd.DataFrame]]":
    """Yield the rows of each partition of the run; days without rows yield an empty frame, which replaces old rows."""
    import pandas as pd

    days = _days(context)
    if len(days) == 1:
        yield days[0], frame
        return
    if "date" in frame.columns:
        row_days = pd.to_datetime(frame["date"]).dt.date
    else:
        times = [name for name in frame.columns if isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
        if len(times) != 1:
            raise ConfigError(
                f"{context.asset_key.to_user_string()}: expected a column `date` or one UTC time column to tell "
                f"{len(days)} partitions apart, found {len(times)} time columns among {', '.join(map(str, frame.columns))}"
            )
        row_days = frame[times[0]].dt.tz_convert("UTC").dt.date
    outside = set(row_days) - set(days)
    if outside:
        raise ConfigError(
            f"{context.asset_key.to_user_string()}: expected rows of {days[0]} … {days[-1]}, found {min(outside)}"
        )
    for day in days:
        yield day, frame[row_days == day]


def _settled(
    context: dg.InputContext,
    frame: "pd.DataFrame",
    days: list[DayCoverage],
    where: str,
    missing: Missing,
    notice: str = "",
) -> "pd.DataFrame":
    """Return the frame with its coverage after reporting incomplete days; a warning goes to the run's log."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", IncompleteDataWarning)
        what = context.asset_key.to_user_string()
        frame.attrs["coverage"] = settle(what, where, days, len(frame), missing, notice=notice)
    frame.attrs["looked_in"] = where
    for one in said:
        context.log.warning(str(one.message))
    complete = sum(day.complete for day in days)
    context.log.info(f"{what}: {len(frame)} rows of {len(days)} days from {where}; {complete} days are complete")
    return frame


_MISSING: Any = Field(
    default="raise",
    description="for days that are not complete: `raise` ends the run, `warn` logs them, `ignore` continues",
)


class LakeIOManager(dg.ConfigurableIOManager):
    """Reads lake assets; stores other assets as Parquet beside them, in a folder or on S3."""

    lake: dg.ResourceDependency[LakeResource]
    postgres_url: str | None = Field(
        default=None,
        description="of the ledger, which knows the complete days; unset: CRYPTO_ASSETS_POSTGRES_URL, else embedded if any",
    )
    missing: Missing = _MISSING

    def load_input(self, context: dg.InputContext) -> "pd.DataFrame":
        """Return the rows of the input's partitions, float64 and UTC, days in order.

        Raises:
            IncompleteData: a day is not complete, or your own asset has no stored rows for it.
        """
        lake = self.lake.lake()
        lake.require_known_format()
        path = context.asset_key.path
        if len(path) == 4 and path[0] != WAREHOUSE:
            frame, days, notice = self._collected(context, lake)
        else:
            frame, days, notice = *self._own(context, lake), ""
        return _settled(context, frame, days, f"the lake {lake.url}", self.missing, notice)

    def _collected(self, context: dg.InputContext, lake: Lake) -> "tuple[pd.DataFrame, list[DayCoverage], str]":
        from crypto_assets import datasets
        from crypto_assets.reading.stored_days import LakeQuestion, read_lake
        from crypto_assets.rows.frames import to_frame

        exchange, market_type, dataset, symbol = context.asset_key.path
        series, days = Series.named(exchange, market_type, dataset), _days(context)
        unified, columns = unified_symbol(_with_date(symbol), market_type), datasets.get(series.table).schema.names
        url = self.postgres_url or database_that_is_there(settings())

        def records() -> DayRecords | None:
            return read_records(url, series, unified, days[0], days[-1], [dataset]) if url else None

        found = read_lake(lake, records, LakeQuestion(series, unified, days, columns))
        return to_frame(found.rows), found.coverage, found.notice

    def _own(self, context: dg.InputContext, lake: Lake) -> "tuple[pd.DataFrame, list[DayCoverage]]":
        import pandas as pd

        frames, coverage = [], []
        for day in _days(context):
            try:
                frame = lake.read_frame(self._path(context, day))
            except StoredDataError as error:
                coverage.append(DayCoverage(day, State.MISSING, str(error)))
                continue
            if frame is None:
                coverage.append(DayCoverage(day, State.MISSING, "no file is stored; materialise that partition first"))
                continue
            frames.append(frame)
            coverage.append(DayCoverage(day, STORED, "", len(frame), complete=True))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(), coverage

    def handle_output(self, context: dg.OutputContext, obj: "pd.DataFrame | None") -> None:
        """Store the rows of each partition as one file, replaced whole."""
        if obj is None:
            return
        lake = self.lake.lake()
        self._require_lake(lake)
        rows = {}
        for day, frame in _by_day(context, obj):
            lake.put_frame(self._path(context, day), frame)
            rows[day.isoformat()] = len(frame)
        context.add_output_metadata({"dagster/row_count": sum(rows.values())})

    def _require_lake(self, lake: Lake) -> None:
        """Raise if a ledger is reachable and knows this lake's place as that of another lake; nothing is written then."""
        from crypto_assets.ledger.lakes import require_lake
        from crypto_assets.ledger.partitions import Ledger

        if url := self.postgres_url or database_that_is_there(settings()):
            with suppress(PostgresUnavailable), Ledger(url) as ledger:
                require_lake(ledger, lake)

    def _path(self, context: dg.InputContext | dg.OutputContext, day: date) -> str:
        return f"assets/{'/'.join(context.asset_key.path)}/date={day}/data.parquet"


class WarehouseIOManager(dg.ConfigurableIOManager):
    """Reads warehouse assets; stores other assets as tables of the schema `assets`."""

    postgres: dg.ResourceDependency[PostgresResource]
    timeframe: str | None = Field(default=None, description="bars to load from `ohlcv`; unset: all timeframes")
    missing: Missing = _MISSING

    def load_input(self, context: dg.InputContext) -> "pd.DataFrame":
        """Return the rows of the input's partitions from Postgres, float64 and UTC, in time order.

        Raises:
            IncompleteData: a day is not complete, or your own asset has no stored rows for it.
        """
        from crypto_assets.reading.loaded_days import where_is

        of_ours = context.asset_key.path[0] == WAREHOUSE
        frame, days = self._collected(context) if of_ours else self._own(context)
        return _settled(context, frame, days, where_is(self.postgres.resolved_url()), self.missing)

    def _collected(self, context: dg.InputContext) -> "tuple[pd.DataFrame, list[DayCoverage]]":
        from crypto_assets.reading.loaded_days import TableQuestion, read_days

        _, exchange, market_type, table, symbol = context.asset_key.path
        upstream = context.upstream_output
        timeframe = (upstream.definition_metadata or {}).get("timeframe") if upstream else None
        timeframe = (timeframe or self.timeframe) if table == "ohlcv" else None
        days = _days(context)
        asked = TableQuestion(
            Series(exchange, market_type, table, timeframe),
            unified_symbol(_with_date(symbol), market_type),
            table,
            Partition("", days[0]).start,
            Partition("", days[-1]).end,
            days,
        )
        return read_days(self.postgres.resolved_url(), asked)

    def _own(self, context: dg.InputContext) -> "tuple[pd.DataFrame, list[DayCoverage]]":
        import pandas as pd
        import sqlalchemy

        table, days = _table(context), _days(context)
        with self._engine().connect() as connection:
            stored = asset_days(connection, table)
            coverage = [
                DayCoverage(day, STORED, "", stored[day], complete=True)
                if day in stored
                else DayCoverage(day, State.MISSING, "no rows were stored; materialise that partition first")
                for day in days
            ]
            if not sqlalchemy.inspect(connection).has_table(table, schema="assets"):
                return pd.DataFrame(), coverage
            found = sqlalchemy.text(f'SELECT * FROM assets."{table}" WHERE partition_day BETWEEN :a AND :b')
            frame = pd.read_sql(found, connection, params={"a": days[0], "b": days[-1]})
        return frame.drop(columns="partition_day"), coverage

    def handle_output(self, context: dg.OutputContext, obj: "pd.DataFrame | None") -> None:
        """Replace the rows of each partition in one transaction; the table is created by its first rows."""
        if obj is None:
            return
        import sqlalchemy

        table = _table(context)
        engine = self._engine()
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS assets"))
            connection.execute(sqlalchemy.text(readable("assets")))
            exists = sqlalchemy.inspect(connection).has_table(table, schema="assets")
            for day, frame in _by_day(context, obj):
                if exists:
                    connection.execute(
                        sqlalchemy.text(f'DELETE FROM assets."{table}" WHERE partition_day = :day'), {"day": day}
                    )
                frame.assign(partition_day=day).to_sql(
                    table, connection, schema="assets", if_exists="append", index=False
                )
                exists = True
                write_asset_day(connection, table, day, len(frame))
        context.add_output_metadata({"dagster/row_count": len(obj), "dagster/table_name": f"assets.{table}"})

    def _engine(self) -> Any:
        import psycopg
        import sqlalchemy

        url = self.postgres.resolved_url()
        return sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sqlalchemy.NullPool
        )


def _table(context: dg.InputContext | dg.OutputContext) -> str:
    return "__".join(context.asset_key.path).replace('"', "")


def _with_date(symbol: str) -> str:
    """Return a path symbol in a form that `unified_symbol` reads: `BTC-USDT-240628` has its date after a settle currency."""
    base, quote, *expiry = symbol.split("-")
    return f"{base}/{quote}" + (f":{quote}-{expiry[0]}" if expiry else "")
