"""What an entry of collection.yaml loads into Postgres: its keys `warehouse` and `derived_timeframes`, checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from crypto_assets import datasets
from crypto_assets.model import Series
from crypto_assets.rows.loads import STATISTICS, warehouse_tables
from crypto_assets.rows.timeframes import BUILT_FROM, DERIVED_TIMEFRAMES

MINUTES = "ohlcv_1m"
"""The dataset that longer bars are built from."""


def require_switch_or_list(value: Any) -> Any:
    """Return a value of `warehouse` that is true, false or a list; raises ValueError."""
    if isinstance(value, bool) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return value
    raise ValueError(f"expected true, false (lake only) or a list of datasets such as [{MINUTES}], found {value!r}")


def require_loadable(series: Sequence[Series], warehouse: bool | list[str], derived: list[str] | None) -> None:
    """Raise ValueError if an entry's `warehouse` or `derived_timeframes` does not fit its series."""
    names = [one.dataset for one in series]
    for what, values in (("warehouse", warehouse), ("derived_timeframes", derived)):
        twice = [name for name, times in Counter(values).items() if times > 1] if isinstance(values, list) else []
        if twice:
            raise ValueError(f"{what}: {', '.join(twice)} is listed twice here")
    if isinstance(warehouse, list):
        _require_tables(series, warehouse, names)
    if derived is not None:
        _require_built(series, warehouse, derived, names)


def _require_tables(series: Sequence[Series], warehouse: Sequence[str], names: Sequence[str]) -> None:
    known = [*names, *([STATISTICS] if "trades" in names else [])]
    for name in warehouse:
        if name == STATISTICS and name not in known:
            raise ValueError(f"warehouse: {name!r} is built from trades, which this entry does not collect")
        if name not in known:
            raise ValueError(f"warehouse: {name!r} is not among the datasets of this entry ({', '.join(known)})")
    for one in series:
        if one.dataset in warehouse and datasets.get(one.table).leaf is None:
            raise ValueError(f"warehouse: {one.dataset!r} has no table in Postgres; it is in the lake only")


def _require_built(
    series: Sequence[Series], warehouse: bool | list[str], derived: Sequence[str], names: Sequence[str]
) -> None:
    for timeframe in derived:
        if timeframe not in BUILT_FROM:
            raise ValueError(
                f"derived_timeframes: expected some of {', '.join(BUILT_FROM)} (a multiple of 1m that divides a day), "
                f"found {timeframe!r}"
            )
        if f"ohlcv_{timeframe}" in names and f"ohlcv_{timeframe}" in find_loaded(series, warehouse):
            raise ValueError(
                f"derived_timeframes: {timeframe} is collected as published (ohlcv_{timeframe}) and loaded, so it is not "
                f"built; remove {timeframe} here, or ohlcv_{timeframe} from `warehouse`"
            )
    if derived and MINUTES not in names:
        raise ValueError(f"derived_timeframes: they are built from {MINUTES}, which this entry does not collect")
    if derived and MINUTES not in find_loaded(series, warehouse):
        raise ValueError(
            "derived_timeframes: built bars are in Postgres only, beside the bars that they are built from, and this entry "
            f"does not load {MINUTES} (warehouse: {_shown(warehouse)}); load it, or remove derived_timeframes"
        )


def _shown(warehouse: bool | list[str]) -> str:
    return f"[{', '.join(warehouse)}]" if isinstance(warehouse, list) else str(warehouse).lower()


def tables_of(series: Series, warehouse: bool | list[str]) -> tuple[str, ...]:
    """Return the tables that a series of an entry with this `warehouse` feeds."""
    if warehouse is False:
        return ()
    return warehouse_tables(series, None if warehouse is True else warehouse)


def find_loaded(series: Sequence[Series], warehouse: bool | list[str]) -> list[str]:
    """Return the datasets among the series whose own rows are loaded."""
    return [one.dataset for one in series if one.table in tables_of(one, warehouse)]


def find_built_timeframes(
    series: Sequence[Series], warehouse: bool | list[str], derived: list[str] | None
) -> tuple[str, ...]:
    """Return the timeframes that an entry asks for, ascending, those collected as published included."""
    if MINUTES not in find_loaded(series, warehouse):
        return ()
    wanted = DERIVED_TIMEFRAMES if derived is None else derived
    return tuple(timeframe for timeframe in BUILT_FROM if timeframe in wanted)
