"""The universe of a market as an asset, `binance/spot/universe`: every symbol that the exchange lists or ever listed.

There is one for each market whose symbols a rule chooses (`symbols: all`, `*/USDT`, `top`). It is not partitioned; its
history is in `collection.universe`. The schedule `universe` lists the symbols; what is new has its assets when the code
location is loaded the next time, which `crypto-assets up` does by itself.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.automation import KINDS, automation_of
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.addresses import Addresses
from crypto_assets.defs.asset_keys import universe_key
from crypto_assets.defs.asset_specs import tags_of
from crypto_assets.defs.code_references import code_of_source, code_references
from crypto_assets.defs.presentation import shown_metadata
from crypto_assets.defs.resources import PostgresResource
from crypto_assets.engine.universe import markets_with_rules, refresh_universe
from crypto_assets.instance.private_names import UnresolvedAssetJobDefinition
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.engine.universe import Refreshed

UNIVERSE = "universe"

LISTED_AT = "10 */6 * * *"
"""When the symbols are listed: four times a day, so that a new symbol is collected within its first day."""

_NAMED = 50


def build_universe(collection: Collection) -> list[dg.AssetsDefinition]:
    """Return one multi-asset with the universe of every market whose symbols a rule chooses; none without rules."""
    markets = markets_with_rules(collection)
    if not markets:
        return []

    @dg.multi_asset(name="list_symbols", specs=[_spec(collection, *market) for market in markets], can_subset=True)
    def list_symbols(
        context: dg.AssetExecutionContext, postgres: PostgresResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        selected = context.op_execution_context.selected_asset_keys
        wanted = [market for market in markets if universe_key(*market) in selected]
        with postgres.ledger() as ledger:
            found = refresh_universe(collection, ledger, wanted)
        for one in found:
            if one.changes:
                yield dg.MaterializeResult(
                    asset_key=universe_key(one.exchange, one.market_type), metadata=_metadata(one)
                )
        if problems := [f"{one.exchange} {one.market_type}: {problem}" for one in found for problem in one.problems]:
            raise dg.Failure(visible("; ".join(problems)), allow_retries=False)

    return [list_symbols]


def build_universe_job(collection: Collection) -> list[UnresolvedAssetJobDefinition]:
    """Return the job of the schedule; none without assets."""
    keys = [universe_key(*market) for market in markets_with_rules(collection)]
    what = "Lists the symbols of the exchanges, and ranks them where collection.yaml says `top`; collects no rows."
    return [dg.define_asset_job(UNIVERSE, selection=dg.AssetSelection.assets(*keys), description=what)] if keys else []


def build_universe_schedule(collection: Collection) -> list[dg.ScheduleDefinition]:
    """Return the schedule that lists the symbols; it is on from the start where anything is collected by itself."""
    if not markets_with_rules(collection):
        return []
    on = any(automation_of(collection, entry).has(kind) for entry in collection.ruled for kind in KINDS)
    running = on and settings().automation
    return [
        dg.ScheduleDefinition(
            name=UNIVERSE,
            job_name=UNIVERSE,
            cron_schedule=LISTED_AT,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
            description="Lists the symbols of the exchanges: new ones join the entries whose rules they match.",
        )
    ]


def _spec(collection: Collection, exchange: str, market_type: str) -> dg.AssetSpec:
    mine = [one for one in collection.ruled if (one.exchange, one.market_type) == (exchange, market_type)]
    rules = "; ".join(f"`{collection.name_of(entry)}`: {entry.rule}" for entry in mine)
    return dg.AssetSpec(
        universe_key(exchange, market_type),
        group_name="exchanges",
        skippable=True,
        description=(
            f"Every {market_type} symbol that {exchange} lists or ever listed, delisted ones included: by its archive and by "
            f"what it says. The rules of collection.yaml choose among them: {rules}."
        ),
        kinds={"postgres", "table"},
        tags=tags_of(exchange, market_type),
        owners=list(dict.fromkeys(owner for entry in mine for owner in collection.owners_of(entry))),
        metadata={
            "dagster/uri": Addresses.configured().table("collection"),
            "dagster/code_references": code_references(
                ("crypto_assets.engine.universe", "def refresh_universe", "how it is listed"), code_of_source(exchange)
            ),
        },
    )


def _metadata(one: "Refreshed") -> dict[str, Any]:
    """Return how many symbols each source lists, which are new, gone, in a top, and the names that are not read."""
    found: dict[str, Any] = {"new": len(one.added)}
    names = {"new symbols": one.added, "new in a top": one.top, "names that are no symbols": one.unread}
    names["names that can be read in several ways"] = tuple(one.undecided)
    for source, changes in one.changes.items():
        found[f"symbols by {source}"] = changes.total
        names[f"gone from {source}"] = changes.gone
    for name, symbols in names.items():
        if symbols:
            more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
            found[name] = ", ".join(symbols[:_NAMED]) + more
    return dict(shown_metadata(found))
