"""IO managers, for assets that build on the collected ones.

The collecting op writes as it goes (a year of days does not fit in one output). These give your own assets the collected
rows as a DataFrame, of exactly the partitions of the run, and keep what your assets return: in the lake under
`assets/{key}/date={day}/data.parquet`, or in Postgres as `assets.{key joined by __}`, one day replaced in one transaction.

    @dg.asset(partitions_def=daily(date(2024, 1, 1)), io_manager_key="warehouse_io_manager",
              backfill_policy=dg.BackfillPolicy.single_run(),
              ins={"bars": dg.AssetIn(key=["binance", "spot", "BTC-USDT", "ohlcv_1m"])})
    def volatility(bars: pd.DataFrame) -> pd.DataFrame: ...

A DataFrame that is returned for several partitions at once needs a `date` column of days, or one UTC time column.
"""

import io
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from crypto_assets.errors import ConfigError
from crypto_assets.model import Series
from crypto_assets.partitions import WAREHOUSE, day_of
from crypto_assets.resources import LakeResource, PostgresResource


def _days(context: dg.InputContext | dg.OutputContext) -> list[date]:
    if not context.has_asset_partitions:
        raise ConfigError(
            f"{context.asset_key.to_user_string()}: expected a daily partitioned asset; give it "
            "partitions_def=crypto_assets.partitions.daily(start)"
        )
    return sorted(day_of(key) for key in context.asset_partition_keys)


def _by_day(context: dg.OutputContext, frame: pd.DataFrame) -> Iterator[tuple[date, pd.DataFrame]]:
    """Yield the rows of each partition of the run; days without rows are yielded empty, so that they replace old rows."""
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


class LakeIOManager(dg.ConfigurableIOManager):
    """Reads lake assets; keeps other assets as Parquet beside them, on a folder or S3."""

    lake: dg.ResourceDependency[LakeResource]

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Return the rows of the input's partitions, float64 and UTC, days in order.

        Raises:
            StoredDataError: an asset of your own has not been stored for one of the days.
        """
        from crypto_assets.rows.frames import to_frame

        lake = self.lake.lake()
        days = _days(context)
        path = context.asset_key.path
        if len(path) == 4 and path[0] != WAREHOUSE:
            exchange, market_type, symbol, dataset = path
            return to_frame(lake.read(Series.named(exchange, market_type, dataset), symbol, days[0], days[-1]))
        return pd.concat(
            [pd.read_parquet(io.BytesIO(lake.get_bytes(self._path(context, day)))) for day in days], ignore_index=True
        )

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame | None) -> None:
        """Store the rows of each partition as one file, replaced whole."""
        if obj is None:
            return
        lake = self.lake.lake()
        rows = {}
        for day, frame in _by_day(context, obj):
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False, compression="zstd")
            lake.put_bytes(self._path(context, day), buffer.getvalue())
            rows[day.isoformat()] = len(frame)
        context.add_output_metadata({"dagster/row_count": sum(rows.values())})

    def _path(self, context: dg.InputContext | dg.OutputContext, day: date) -> str:
        return f"assets/{'/'.join(context.asset_key.path)}/date={day}/data.parquet"


class WarehouseIOManager(dg.ConfigurableIOManager):
    """Reads warehouse assets; keeps other assets as tables of the schema `assets`."""

    postgres: dg.ResourceDependency[PostgresResource]
    timeframe: str | None = Field(default=None, description="bars to load from `ohlcv`; unset: all timeframes")

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Return the rows of the input's partitions from Postgres, float64 and UTC, in the order of time."""
        days = _days(context)
        path = context.asset_key.path
        if path[0] == WAREHOUSE:
            from crypto_assets.model import unified_symbol

            _, exchange, market_type, symbol, table = path
            timeframe = (
                (context.upstream_output.definition_metadata or {}).get("timeframe")
                if context.upstream_output
                else None
            )
            with self.postgres.warehouse() as warehouse:
                return warehouse.read(
                    table,
                    exchange,
                    market_type,
                    unified_symbol(_with_date(symbol), market_type),
                    days[0],
                    days[-1] + timedelta(days=1),
                    timeframe=timeframe or self.timeframe,
                )
        import sqlalchemy

        engine = self._engine()
        with engine.connect() as connection:
            return pd.read_sql(
                sqlalchemy.text(f'SELECT * FROM assets."{_table(context)}" WHERE partition_day BETWEEN :a AND :b'),
                connection,
                params={"a": days[0], "b": days[-1]},
            ).drop(columns="partition_day")

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame | None) -> None:
        """Replace the rows of each partition in one transaction; the table is created by its first rows."""
        if obj is None:
            return
        import sqlalchemy

        table = _table(context)
        engine = self._engine()
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS assets"))
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
