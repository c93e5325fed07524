"""The code location: assembles the assets, automation and resources of collection.yaml."""

import warnings
from collections.abc import Callable
from datetime import datetime

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings_at_start
from crypto_assets.defs.assets import build_assets
from crypto_assets.defs.automation import build_automation, build_jobs, utc_now
from crypto_assets.defs.instruments import build_instruments, build_instruments_job, build_instruments_schedule
from crypto_assets.defs.io_managers import LakeIOManager, WarehouseIOManager
from crypto_assets.defs.observed import build_observed
from crypto_assets.defs.observed.coverage import COVERAGE
from crypto_assets.defs.observed.health import HEALTH
from crypto_assets.defs.observed.lake import LAKE
from crypto_assets.defs.observed.quality import QUALITY
from crypto_assets.defs.observed.quarantine import QUARANTINE
from crypto_assets.defs.recovery import build_recovery
from crypto_assets.defs.resources import CollectorResource, LakeResource, PostgresResource
from crypto_assets.defs.source_assets import source_assets
from crypto_assets.defs.universe import build_universe, build_universe_job, build_universe_schedule
from crypto_assets.ledger.symbol_rules import load_known_collection
from crypto_assets.machine.garbage import no_search_for_garbage

# Dagster would log these warnings once for each asset: 40,000 lines for 4,500 assets.
for category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
    warnings.filterwarnings("ignore", category=category)


def build(collection: Collection, now: Callable[[], datetime] = utc_now) -> dg.Definitions:
    """Return the definitions of a collection; `now` is the clock of its sensors."""
    lake, postgres = LakeResource(), PostgresResource()
    sensors, schedules = build_automation(collection, now)
    observed = [build_observed(kind, collection) for kind in (COVERAGE, HEALTH, LAKE, QUARANTINE, QUALITY)]
    return dg.Definitions(
        assets=[
            *source_assets(collection),
            *build_assets(collection),
            *build_instruments(collection),
            *build_universe(collection),
            *(spec for one in observed for spec in one.assets),
        ],
        sensors=[*sensors, build_recovery(collection), *(one.sensor for one in observed)],
        asset_checks=[check for one in observed for check in one.checks],
        schedules=[*schedules, *build_instruments_schedule(collection), *build_universe_schedule(collection)],
        jobs=[*build_jobs(collection), *build_instruments_job(collection), *build_universe_job(collection)],
        resources={
            "lake": lake,
            "postgres": postgres,
            "collector": CollectorResource(),
            "lake_io_manager": LakeIOManager(lake=lake),
            "warehouse_io_manager": WarehouseIOManager(postgres=postgres),
        },
        # A step already uses the whole machine; a process for each step would cost 2.7 CPU seconds more.
        executor=dg.in_process_executor,
    )


# Definitions of 2,000 assets are a million objects that stay: searching them for garbage took 0.7 of 2.9 CPU seconds.
with no_search_for_garbage():
    defs = build(load_known_collection(settings_at_start().config))
