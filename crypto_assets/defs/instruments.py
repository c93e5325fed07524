"""Instruments as assets, `binance/spot/instruments`: not partitioned, with each version in `market.instruments`.

The schedule `instruments` asks the exchanges once a day; a run that needs contract sizes asks by itself before.
"""

from collections.abc import Iterator, Sequence
from datetime import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.automation import KINDS, automation_of
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.addresses import Addresses
from crypto_assets.defs.asset_keys import instruments_key
from crypto_assets.defs.asset_specs import tags_of
from crypto_assets.defs.code_references import code_of_source, code_references
from crypto_assets.defs.presentation import shown_metadata
from crypto_assets.defs.resources import PostgresResource
from crypto_assets.instance.private_names import UnresolvedAssetJobDefinition
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.engine.instruments import Looked

INSTRUMENTS = "instruments"

ASKED_AT = time(0, 20)
"""When the exchanges are asked, UTC: soon after a day has begun, before its files come."""

_NAMED = 50


def build_instruments(collection: Collection) -> list[dg.AssetsDefinition]:
    """Return one multi-asset with the instruments of every market that can be asked; none if there is no such market."""
    from crypto_assets.engine.instruments import markets_with_instruments

    markets = markets_with_instruments(collection)
    if not markets:
        return []

    @dg.multi_asset(
        name="ask_for_instruments",  # the job has the other name, and Dagster wants each name once
        specs=[_spec(collection, *market) for market in markets],
        can_subset=True,
    )
    def ask_exchanges(
        context: dg.AssetExecutionContext, postgres: PostgresResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        from crypto_assets.engine.instruments import refresh_instruments

        selected = context.op_execution_context.selected_asset_keys
        wanted = [market for market in markets if instruments_key(*market) in selected]
        with postgres.ledger() as ledger:
            found = refresh_instruments(collection, ledger, wanted)
        for looked in found:
            if not looked.problem:
                yield dg.MaterializeResult(
                    asset_key=instruments_key(looked.exchange, looked.market_type), metadata=_metadata(looked)
                )
        if problems := [f"{one.exchange} {one.market_type}: {one.problem}" for one in found if one.problem]:
            raise dg.Failure(visible("; ".join(problems)), allow_retries=False)

    return [ask_exchanges]


def build_instruments_job(collection: Collection) -> list[UnresolvedAssetJobDefinition]:
    """Return the job of the schedule; none without assets."""
    keys = _keys(collection)
    what = "Asks the exchanges for their symbols, contract sizes and steps; collects no rows."
    return (
        [dg.define_asset_job(INSTRUMENTS, selection=dg.AssetSelection.assets(*keys), description=what)] if keys else []
    )


def build_instruments_schedule(collection: Collection) -> list[dg.ScheduleDefinition]:
    """Return the schedule that asks every day; it is on from the start where anything is collected by itself."""
    if not _keys(collection):
        return []
    on = any(automation_of(collection, entry).has(kind) for entry in collection.entries for kind in KINDS)
    running = on and settings().automation
    return [
        dg.ScheduleDefinition(
            name=INSTRUMENTS,
            job_name=INSTRUMENTS,
            cron_schedule=f"{ASKED_AT.minute} {ASKED_AT.hour} * * *",
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
            description="Asks the exchanges for their instruments: symbols, contract sizes, steps, first and last day.",
        )
    ]


def _keys(collection: Collection) -> Sequence[dg.AssetKey]:
    from crypto_assets.engine.instruments import markets_with_instruments

    return [instruments_key(*market) for market in markets_with_instruments(collection)]


def _spec(collection: Collection, exchange: str, market_type: str) -> dg.AssetSpec:
    mine = [one for one in collection.entries if (one.exchange, one.market_type) == (exchange, market_type)]
    code = "crypto_assets.engine.instruments", "def refresh_instruments", "how it is asked"
    return dg.AssetSpec(
        instruments_key(exchange, market_type),
        group_name="exchanges",
        skippable=True,
        description=(
            f"What {exchange} says about its {market_type} symbols: names, contract sizes, steps of prices and amounts, "
            "first and last day. An answer that differs makes new versions in market.instruments; earlier ones stay."
        ),
        kinds={"postgres", "table"},
        tags=tags_of(exchange, market_type),
        owners=list(dict.fromkeys(owner for entry in mine for owner in collection.owners_of(entry))),
        metadata={
            "dagster/uri": Addresses.configured().table("market.instruments"),
            "dagster/table_name": "market.instruments",
            "dagster/code_references": code_references(code, code_of_source(exchange)),
        },
    )


def _metadata(looked: "Looked") -> dict[str, Any]:
    """Return how many instruments the answer has, and which are new, changed, delisted (gone from the answer)."""
    changes = looked.changes
    found: dict[str, Any] = {
        "instruments": changes.total,
        "new": len(changes.added),
        "changed": len(changes.changed),
        "delisted": len(changes.gone),
        "asked at": looked.asked_at.isoformat(timespec="seconds"),
    }
    named = (
        ("new symbols", changes.added),
        ("changed symbols", changes.changed),
        ("delisted symbols", changes.gone),
        ("left out, two names have it", looked.twice),
        ("left out, told twice with two contents", looked.repeated),
        ("left out, cannot be read", looked.odd),
    )
    for name, symbols in named:
        if symbols:
            more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
            found[name] = ", ".join(symbols[:_NAMED]) + more
    return dict(shown_metadata(found))
