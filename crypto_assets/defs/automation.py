"""What is collected without anybody asking: one switch of each kind for all entries.

| switch | what it does |
|---|---|
| `new_files` | a sensor on the archive listings: the history, then every new day, and files that are published again |
| `today` | a schedule: today through REST, as it grows |
| `fill_gaps` | a schedule: exactly the days that are missing |
| `reconcile` | a schedule: compares stored days with the monthly files and with REST |

`automation:` in collection.yaml says which are on (`crypto_assets/config/automation.py`). They run from the start only where
CRYPTO_ASSETS_AUTOMATION is true, as under `crypto-assets up`: who opens the project with `dagster dev` wants to look at it.
What a person has switched in the UI is stored in the instance, and wins over both.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from crypto_assets.config.automation import switches
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.asset_keys import lake_key
from crypto_assets.defs.assets import warehouse_assets
from crypto_assets.defs.new_files import new_files_sensor
from crypto_assets.defs.requests import Part
from crypto_assets.defs.schedules import fill_gaps_schedule, reconcile_schedule, today_schedule
from crypto_assets.instance.private_names import UnresolvedAssetJobDefinition

_SCHEDULES = {"today": today_schedule, "fill_gaps": fill_gaps_schedule, "reconcile": reconcile_schedule}


def utc_now() -> datetime:
    """Return the present time, UTC."""
    return datetime.now(UTC)


def build_automation(
    collection: Collection, now: Callable[[], datetime] = utc_now
) -> tuple[list[dg.SensorDefinition], list[dg.ScheduleDefinition]]:
    """Return the sensor and the schedules of a collection.

    Args:
        now: the clock of the sensor; schedules have the time of their tick.
    """
    parts = {collection.name_of(entry): Part(collection, entry) for entry in collection.series}
    sensors: list[dg.SensorDefinition] = []
    schedules: list[dg.ScheduleDefinition] = []
    for switch in switches(collection):
        mine = [parts[collection.name_of(entry)] for entry in switch.entries]
        starts = switch.is_on and settings().automation
        if not mine:
            continue
        if switch.kind == "new_files":
            status = dg.DefaultSensorStatus.RUNNING if starts else dg.DefaultSensorStatus.STOPPED
            sensors.append(new_files_sensor(collection, mine, status, now))
        else:
            begin = dg.DefaultScheduleStatus.RUNNING if starts else dg.DefaultScheduleStatus.STOPPED
            schedules.append(_SCHEDULES[switch.kind](collection, mine, begin))
    return sensors, schedules


def build_jobs(collection: Collection) -> list[UnresolvedAssetJobDefinition]:
    """Return a job for each entry that checks stored days again: the chosen partitions, or all."""
    jobs = []
    for entry in collection.series:
        lakes = [lake_key(*track) for track in entry.tracks]
        tables = [asset.key for asset in warehouse_assets(collection, entry)]
        jobs.append(
            dg.define_asset_job(
                f"validate_{collection.name_of(entry)}",
                selection=dg.AssetSelection.checks_for_assets(*lakes, *tables),
                description="Checks stored days again, comparisons with other series and with the warehouse included; "
                "collects nothing.",
            )
        )
    return jobs
